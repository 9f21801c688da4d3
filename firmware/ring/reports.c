#include "reports.h"

#include <avr/pgmspace.h>

#include "board.h"
#include "clock.h"
#include "crc16.h"
#include "light.h"
#include "link.h"
#include "memory.h"
#include "selftest.h"
#include "sequence.h"
#include "settings.h"
#include "statistics.h"
#include "store.h"
#include "timeout.h"

static bool identified;
static uint8_t asked_setting;

void report_identified(void) { identified = true; }

void report_about_setting(uint8_t code) { asked_setting = code; }

static uint8_t flags(void)
{
    uint8_t set = 0;
    if (light_lit())
        set |= timeout_local() ? FLAG_LIT | FLAG_LOCAL : FLAG_LIT;
    if (sequence_running())
        set |= FLAG_SEQUENCE;
    if (timeout_passed())
        set |= FLAG_TIMED_OUT;
    if (!identified)
        set |= FLAG_FRESH;
    return set;
}

static void report_light(void)
{
    link_put8(flags());
    link_put16(crc16(light_wire(), 3 * ring_pixels()));
    link_put16(light_ma());
}

static void report_identity(void)
{
    static const struct {
        uint8_t versions[5];
        uint8_t board;
        uint8_t signature[3];
    } FIXED PROGMEM = {
        {PROTOCOL_MAJOR, PROTOCOL_MINOR, FIRMWARE_MAJOR, FIRMWARE_MINOR, FIRMWARE_PATCH}, BOARD_CODE, BOARD_SIGNATURE,
    };
    for (uint8_t place = 0; place < sizeof FIXED; place++)
        link_put8(pgm_read_byte((const uint8_t *)&FIXED + place));
    link_put8(ring_pixels());
    link_put8(MAX_PIXELS);
    link_put8(MAX_PAYLOAD);
    link_put8(MAX_STEPS);
    link_put16(BOARD_CAPABILITIES);
    link_put8(statistics_reset_cause());
}

static void report_setting(void) { link_put16(setting(asked_setting)); }

static void report_selftest(void)
{
    const selftest_t result = selftest_result();
    link_put16(result.run);
    link_put16(result.passed);
    link_put16(memory_untouched());
}

static void report_statistics(void)
{
    const statistics_t *const counters = statistics();
    link_put32(counters->frames);
    link_put16(counters->bad_frames);
    link_put16(serial_overruns());
    link_put16(counters->timeouts);
    link_put16(statistics_resets());
    link_put8(statistics_reset_cause());
    link_put32(clock_ms());
    link_put16(store_count());
}

void report(uint8_t command)
{
    if (command == COMMAND_IDENTIFY)
        report_identity();
    else if (command == COMMAND_GET_CONFIG)
        report_setting();
    else if (command == COMMAND_SELF_TEST)
        report_selftest();
    else if (command == COMMAND_STATISTICS)
        report_statistics();
    else
        report_light();
}
