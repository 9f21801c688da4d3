#include "settings.h"

#include <avr/pgmspace.h>

#include "board.h"
#include "config.h"
#include "kept.h"

typedef struct {
    uint8_t least;
    uint16_t greatest;
    uint16_t standard;
} range_t;

/* In the order of their codes, from 1. */
static const range_t RANGES[SETTINGS] PROGMEM = {
    {BRIGHTNESS_LEAST, BRIGHTNESS_GREATEST, BRIGHTNESS_DEFAULT},
    {GAMMA_LEAST, GAMMA_GREATEST, GAMMA_DEFAULT},
    {WHITE_RED_LEAST, WHITE_RED_GREATEST, WHITE_RED_DEFAULT},
    {WHITE_GREEN_LEAST, WHITE_GREEN_GREATEST, WHITE_GREEN_DEFAULT},
    {WHITE_BLUE_LEAST, WHITE_BLUE_GREATEST, WHITE_BLUE_DEFAULT},
    {SUPPLY_MA_LEAST, SUPPLY_MA_GREATEST, SUPPLY_MA_DEFAULT},
    {HOST_TIMEOUT_MS_LEAST, HOST_TIMEOUT_MS_GREATEST, HOST_TIMEOUT_MS_DEFAULT},
    {LOCAL_TIMEOUT_S_LEAST, LOCAL_TIMEOUT_S_GREATEST, LOCAL_TIMEOUT_S_DEFAULT},
    {PIXELS_LEAST, MAX_PIXELS, RING_PIXELS},
};

_Static_assert(RING_PIXELS >= 1 && RING_PIXELS <= MAX_PIXELS, "RING_PIXELS is beyond what this board can drive");

void settings_defaults(void)
{
    for (uint8_t place = 0; place < SETTINGS; place++)
        kept.settings[place] = pgm_read_word(&RANGES[place].standard);
}

bool setting_known(uint8_t code) { return code >= 1 && code <= SETTINGS; }

bool setting_allows(uint8_t code, uint16_t value)
{
    const range_t *range = &RANGES[code - 1];
    if (value == 0 && (code == SETTING_HOST_TIMEOUT_MS || code == SETTING_LOCAL_TIMEOUT_S))
        return true; /* never */
    return value >= pgm_read_byte(&range->least) && value <= pgm_read_word(&range->greatest);
}

uint16_t setting(uint8_t code) { return kept.settings[code - 1]; }

void setting_change(uint8_t code, uint16_t value) { kept.settings[code - 1] = value; }

uint8_t ring_pixels(void) { return kept.settings[SETTING_PIXELS - 1]; }
