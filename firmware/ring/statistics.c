#include "statistics.h"

#include <avr/io.h>
#include <avr/wdt.h>

#include "protocol.h"

static statistics_t counters;

/* Power-on leaves memory random: the marker tells whether what is not initialised survived. */
enum { MARKER = 0x7a1d };
static uint16_t marker __attribute__((section(".noinit")));
static uint16_t resets __attribute__((section(".noinit")));
static uint8_t reset_flags __attribute__((section(".noinit")));

/* The watchdog stays armed over its own reset, with its shortest time: off before anything else (avr-libc's advice). */
void reset_early(void) __attribute__((naked, used, section(".init3")));
void reset_early(void)
{
    reset_flags = MCUSR;
    MCUSR = 0;
    wdt_disable();
}

/* Counters stop at their greatest value. */
static void count(uint16_t *counter)
{
    const uint16_t more = *counter + 1;
    if (more)
        *counter = more;
}

void statistics_start(void)
{
    uint8_t causes =
        reset_flags & (RESET_CAUSE_POWER_ON | RESET_CAUSE_EXTERNAL | RESET_CAUSE_BROWN_OUT | RESET_CAUSE_WATCHDOG);
    if (marker != MARKER)
        causes |= RESET_CAUSE_POWER_ON; /* bootloaders may have cleared MCUSR */
    reset_flags = causes;
    if (causes & RESET_CAUSE_POWER_ON) {
        marker = MARKER;
        resets = 0;
    } else {
        count(&resets);
    }
}

bool statistics_power_on(void) { return reset_flags & RESET_CAUSE_POWER_ON; }

uint8_t statistics_reset_cause(void) { return reset_flags; }

uint16_t statistics_resets(void) { return resets; }

const statistics_t *statistics(void) { return &counters; }

void statistics_frame(void)
{
    const uint32_t more = counters.frames + 1;
    if (more)
        counters.frames = more;
}

void statistics_bad_frame(void) { count(&counters.bad_frames); }

void statistics_timeout(void) { count(&counters.timeouts); }
