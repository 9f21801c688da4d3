#include "show.h"

#include "board.h"
#include "light.h"
#include "output.h"
#include "settings.h"
#include "statistics.h"

/* A difference of ticks may be one more than the time that it stands for. */
#define TICKS(us) ((ticks_t)(((us) + TICK_US - 1) / TICK_US + 1))

enum { LATCH_US = 300, TRIGGER_US = 100, LEAST_PIXEL_US = 27, GREATEST_PIXEL_US = 36 };

static enum { NOTHING, HELD, PLAIN, TRIGGERING } pending;
static enum { READY, LATCHING, LATCHING_TO_TRIGGER, TRIGGER_HIGH } phase;
static ticks_t phase_began;
static bool took_its_time;

/* Pixels that may be lit. It outlives a reset, after which the ring may be set shorter than it was. */
static uint8_t reach __attribute__((section(".noinit")));

static void enter(uint8_t next)
{
    phase = next;
    phase_began = board_ticks();
}

void show_start(void)
{
    output_start();
    if (statistics_power_on())
        reach = 0;
    enter(LATCHING); /* what was sent before a reset */
}

void show_request(void) { pending = PLAIN; }

void show_hold(void) { pending = HELD; }

void show_release(void) { pending = TRIGGERING; }

void show_reach(uint8_t pixels)
{
    if (reach < pixels)
        reach = pixels;
}

bool show_pending(void) { return pending != NOTHING; }

bool show_took_its_time(void) { return took_its_time; }

static void send(void)
{
    show_reach(ring_pixels());
    const uint8_t pixels = reach < MAX_PIXELS ? reach : MAX_PIXELS;
    const ticks_t began = board_ticks();
    output_show(light_wire(), pixels);
    enter(pending == TRIGGERING ? LATCHING_TO_TRIGGER : LATCHING);
    const uint16_t took_us = (ticks_t)(phase_began - began) * TICK_US;
    /* Too short wraps to more than any. */
    took_its_time = (uint16_t)(took_us - pixels * LEAST_PIXEL_US) <= pixels * (GREATEST_PIXEL_US - LEAST_PIXEL_US);
    reach = ring_pixels();
    pending = NOTHING;
}

void show_poll(void)
{
    const ticks_t passed = board_ticks() - phase_began;
    if (phase == READY) {
        if (pending > HELD && serial_allows_pause())
            send();
    } else if (phase == TRIGGER_HIGH) {
        if (passed < TICKS(TRIGGER_US))
            return;
        board_trigger(false);
        phase = READY;
    } else if (passed >= TICKS(LATCH_US)) {
        if (phase == LATCHING) {
            phase = READY;
        } else {
            board_trigger(true);
            enter(TRIGGER_HIGH);
        }
    }
}
