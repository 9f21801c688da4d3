#include "light.h"

#include <avr/pgmspace.h>
#include <string.h>

#include "kept.h"
#include "settings.h"
#include "show.h"

enum { IDLE_MA = 1, PARTS_MA = 4, SUM_OF_PARTS = 51 }; /* 20 mA / 255 = 4 mA / 51 */

static uint16_t estimated_ma;

static const uint8_t GAMMA[256] PROGMEM = GAMMA_TABLE;

static uint8_t scaled(uint8_t value, uint8_t by) { return (uint16_t)value * (uint16_t)(by + 1) >> 8; }

static uint8_t rendered(uint8_t channel, uint8_t value)
{
    if (setting(SETTING_GAMMA))
        value = pgm_read_byte(&GAMMA[value]);
    value = scaled(value, setting(SETTING_WHITE_RED + channel));
    return scaled(value, setting(SETTING_BRIGHTNESS));
}

static uint16_t sum_shown(void)
{
    uint16_t sum = 0;
    for (uint8_t place = 0; place < LIGHT_SIZE; place++)
        sum += kept.wire[place];
    return sum;
}

/* Goes along a span and puts it into the pixels if asked; returns the sum of all channels of the ring that it makes.
 * Rendering twice, to estimate and to draw, is cheaper than a second copy of the pixels. */
static uint16_t trace(uint8_t first, uint8_t count, const uint8_t *rgb, uint8_t how)
{
    uint16_t sum = how & LIGHT_ALONE ? 0 : sum_shown();
    uint8_t *shown = kept.wire + (uint8_t)(3 * first);
    for (; count; count--, first++) {
        if (first >= ring_pixels()) {
            first = 0;
            shown = kept.wire;
        }
        uint8_t channels = how;
        for (uint8_t place = 0; place < 3; place++, channels >>= 1) {
            const uint8_t channel = place == 2 ? 2 : place ^ 1; /* on the wire green goes before red */
            const uint8_t value = channels & 1 ? rendered(channel, rgb[channel]) : 0;
            sum += value;
            if (!(how & LIGHT_ALONE))
                sum -= *shown;
            if (how & LIGHT_DRAW)
                *shown = value;
            shown++;
        }
        if (how & LIGHT_EACH)
            rgb += 3;
    }
    return sum;
}

/* ceil(20 mA * sum / 255) + 1 mA a pixel: 4 mA for each whole 51, then 1 mA for each quarter of it begun. No division,
 * which takes more flash. */
static uint16_t current_ma(uint16_t sum)
{
    uint16_t ma = IDLE_MA * ring_pixels();
    for (; sum >= SUM_OF_PARTS; sum -= SUM_OF_PARTS)
        ma += PARTS_MA;
    for (uint8_t parts = sum * PARTS_MA; parts; parts = parts > SUM_OF_PARTS ? parts - SUM_OF_PARTS : 0)
        ma++;
    return ma;
}

uint8_t light_span(uint8_t first, uint8_t count, const uint8_t *rgb, uint8_t how)
{
    estimated_ma = current_ma(trace(first, count, rgb, how & ~LIGHT_DRAW));
    if (estimated_ma > setting(SETTING_SUPPLY_MA))
        return STATUS_CURRENT_LIMIT;
    if (how & LIGHT_DRAW) {
        if (how & LIGHT_ALONE)
            light_dark();
        trace(first, count, rgb, how);
        show_request();
    }
    return STATUS_OK;
}

uint8_t light_pattern(uint8_t pattern, uint8_t position, const uint8_t *rgb, uint8_t how)
{
    const uint8_t pixels = ring_pixels();
    uint8_t positions = pixels;
    uint8_t count = pixels;
    uint8_t channels = LIGHT_WHITE;
    if (pattern == PATTERN_BRIGHT_FIELD) {
        positions = 1;
    } else if (pattern == PATTERN_HALF_RING) {
        count = pixels > 1 ? pixels / 2 : 1;
    } else if (pattern == PATTERN_SINGLE) {
        count = 1;
    } else if (pattern == PATTERN_CHANNEL) {
        positions = 3;
        channels = position == 2 ? LIGHT_BLUE : position == 1 ? LIGHT_GREEN : LIGHT_RED;
    } else {
        return STATUS_VALUE_OUT_OF_RANGE;
    }
    if (position >= positions)
        return STATUS_PIXEL_OUT_OF_RANGE;
    /* Where all pixels are lit it does not matter with which they begin. */
    return light_span(position, count, rgb, how | LIGHT_ALONE | channels);
}

void light_dark(void)
{
    memset(kept.wire, 0, sizeof kept.wire);
    show_request();
}

uint16_t light_estimated_ma(void) { return estimated_ma; }

uint16_t light_ma(void) { return current_ma(sum_shown()); }

bool light_lit(void) { return sum_shown() != 0; }

const uint8_t *light_wire(void) { return kept.wire; }
