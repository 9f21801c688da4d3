#include "button.h"

#include "board.h"

#if BOARD_HAS_BUTTON

#include "light.h"
#include "link.h"
#include "sequence.h"
#include "store.h"
#include "timeout.h"

enum { SETTLE_MS = 20, DIM = 40 };

/* The presets, in dim white: the patterns in the order of their codes, CHANNEL thrice, then dark. */
static uint8_t chosen; /* presets passed since dark */
static bool held;
static uint8_t differs_ms; /* for how long the pin has not agreed with that */

static bool pressed(void)
{
    const bool down = board_button_down();
    if (down == held)
        differs_ms = 0;
    else
        differs_ms++;
    if (differs_ms < SETTLE_MS)
        return false;
    held = down;
    return down;
}

void button_tick(void)
{
    if (store_busy() || !pressed())
        return;
    if (!timeout_local())
        chosen = 0;
    sequence_stop();
    light_dark();
    timeout_local_light();
    link_forget();
    const uint8_t preset = chosen++;
    uint8_t white[3];
    white[0] = white[1] = white[2] = DIM;
    /* Above the supply's rating the ring stays dark. */
    if (preset < PATTERN_CHANNEL)
        light_pattern(preset, 0, white, LIGHT_DRAW);
    else if (light_pattern(PATTERN_CHANNEL, preset - PATTERN_CHANNEL, white, LIGHT_DRAW) == STATUS_PIXEL_OUT_OF_RANGE)
        chosen = 0;
}

#else

void button_tick(void) {}

#endif
