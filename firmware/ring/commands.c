#include "commands.h"

#include <avr/pgmspace.h>
#include <stdbool.h>
#include <stddef.h>

#include "board.h"
#include "light.h"
#include "link.h"
#include "reports.h"
#include "selftest.h"
#include "sequence.h"
#include "settings.h"
#include "show.h"
#include "statistics.h"
#include "store.h"
#include "timeout.h"

enum { ANY_LENGTH = 0xff, LEAST_DURATION_MS = 10 };

typedef uint8_t (*execute_t)(const uint8_t *payload, uint8_t length);

typedef struct {
    uint8_t code;
    uint8_t length; /* of the payload */
    execute_t execute;
} command_t;

/* The command in hand: executed, its reply still to come. */
static bool waiting;
static uint8_t status;

static uint16_t word_at(const uint8_t *bytes) { return (uint16_t)bytes[0] << 8 | bytes[1]; }

/* The host has changed the light. */
static void take_over(void)
{
    sequence_stop();
    timeout_host_light();
}

static uint8_t taken_over(uint8_t outcome)
{
    if (outcome == STATUS_OK)
        take_over();
    return outcome;
}

static uint8_t draw(uint8_t first, uint8_t count, const uint8_t *rgb, uint8_t how)
{
    const uint8_t pixels = ring_pixels();
    if (first >= pixels || count > pixels - first)
        return STATUS_PIXEL_OUT_OF_RANGE;
    return taken_over(light_span(first, count, rgb, how | LIGHT_WHITE | LIGHT_DRAW));
}

static uint8_t keep_alive(const uint8_t *payload, uint8_t length)
{
    (void)payload, (void)length;
    return STATUS_OK;
}

static uint8_t identify(const uint8_t *payload, uint8_t length)
{
    report_identified();
    return keep_alive(payload, length);
}

static uint8_t set_all(const uint8_t *payload, uint8_t length)
{
    if (length != 3 * ring_pixels())
        return STATUS_BAD_LENGTH;
    return draw(0, ring_pixels(), payload, LIGHT_EACH);
}

static uint8_t set_range(const uint8_t *payload, uint8_t length)
{
    uint8_t count = 0;
    for (; length > 3; length -= 3)
        count++;
    if (length != 1 || count == 0)
        return STATUS_BAD_LENGTH;
    return draw(payload[0], count, payload + 1, LIGHT_EACH);
}

static uint8_t fill(const uint8_t *payload, uint8_t length)
{
    (void)length;
    if (payload[1] == 0)
        return STATUS_VALUE_OUT_OF_RANGE;
    return draw(payload[0], payload[1], payload + 2, 0);
}

static uint8_t off(const uint8_t *payload, uint8_t length)
{
    light_dark();
    take_over();
    return keep_alive(payload, length);
}

static uint8_t pattern(const uint8_t *payload, uint8_t length)
{
    (void)length;
    return taken_over(light_pattern(payload[0], payload[1], payload + 2, LIGHT_DRAW));
}

static uint8_t check_step(const step_t *step)
{
    return light_pattern(step->pattern, step->position, step->rgb, 0);
}

static uint8_t keep_step(const uint8_t *payload, uint8_t length)
{
    (void)length;
    const step_t *const step = (const step_t *)(payload + 1);
    if (sequence_running())
        return STATUS_SEQUENCE_RUNNING;
    if (payload[0] >= MAX_STEPS)
        return STATUS_TOO_MANY_STEPS;
    const uint8_t refusal = check_step(step);
    if (refusal != STATUS_OK && refusal != STATUS_CURRENT_LIMIT)
        return refusal;
    if (word_at(step->duration_ms) < LEAST_DURATION_MS)
        return STATUS_VALUE_OUT_OF_RANGE;
    if (refusal == STATUS_OK)
        *sequence_step(payload[0]) = *step;
    return refusal;
}

static uint8_t start_sequence(const uint8_t *payload, uint8_t length)
{
    (void)length;
    const uint8_t steps = payload[0];
    if (steps == 0)
        return STATUS_VALUE_OUT_OF_RANGE;
    if (steps > MAX_STEPS)
        return STATUS_TOO_MANY_STEPS;
    const step_t *step = sequence_step(0);
    for (uint8_t left = steps; left; left--, step++) {
        if (word_at(step->duration_ms) == 0)
            return STATUS_NO_SEQUENCE;
        const uint8_t refusal = check_step(step); /* settings may have changed since it was set */
        if (refusal != STATUS_OK)
            return refusal;
    }
    take_over();
    sequence_start(steps, word_at(payload + 1));
    return STATUS_OK;
}

static uint8_t set_config(const uint8_t *payload, uint8_t length)
{
    const uint8_t code = payload[0];
    const uint16_t value = word_at(payload + 1);
    if (!setting_known(code))
        return STATUS_UNKNOWN_SETTING;
    if (!setting_allows(code, value))
        return STATUS_VALUE_OUT_OF_RANGE;
    setting_change(code, value);
    if (code != SETTING_HOST_TIMEOUT_MS && code != SETTING_LOCAL_TIMEOUT_S)
        off(payload, length);
    return STATUS_OK;
}

static uint8_t get_config(const uint8_t *payload, uint8_t length)
{
    (void)length;
    report_about_setting(payload[0]);
    return setting_known(payload[0]) ? STATUS_OK : STATUS_UNKNOWN_SETTING;
}

static uint8_t store(const uint8_t *payload, uint8_t length)
{
    (void)payload, (void)length;
    if (sequence_running())
        return STATUS_SEQUENCE_RUNNING;
    if (!store_begin())
        return STATUS_STORE_TOO_SOON;
    return STATUS_STORE_FAILED; /* until it has succeeded */
}

static uint8_t self_test(const uint8_t *payload, uint8_t length)
{
    off(payload, length);
    selftest_begin();
    return STATUS_OK;
}

static const command_t COMMANDS[] PROGMEM = {
    {COMMAND_IDENTIFY, 0, identify},
    {COMMAND_KEEP_ALIVE, 0, keep_alive},
    {COMMAND_SET_ALL, ANY_LENGTH, set_all},
    {COMMAND_SET_ONE, 4, set_range},
    {COMMAND_SET_RANGE, ANY_LENGTH, set_range},
    {COMMAND_FILL, 5, fill},
    {COMMAND_OFF, 0, off},
    {COMMAND_PATTERN, 5, pattern},
    {COMMAND_SEQUENCE_STEP, 8, keep_step},
    {COMMAND_SEQUENCE_START, 3, start_sequence},
    {COMMAND_SEQUENCE_STOP, 0, off},
    {COMMAND_SET_CONFIG, 3, set_config},
    {COMMAND_GET_CONFIG, 1, get_config},
    {COMMAND_STORE, 0, store},
    {COMMAND_SELF_TEST, 0, self_test},
    {COMMAND_STATISTICS, 0, keep_alive},
};
enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static uint8_t execute(uint8_t code, uint8_t length)
{
    for (const command_t *command = COMMANDS; command < COMMANDS + COMMAND_COUNT; command++) {
        if (pgm_read_byte(&command->code) != code)
            continue;
        const uint8_t expected = pgm_read_byte(&command->length);
        if (expected != ANY_LENGTH && expected != length)
            return STATUS_BAD_LENGTH;
        return ((execute_t)pgm_read_word(&command->execute))(link_frame() + LINK_PAYLOAD, length);
    }
    return STATUS_UNKNOWN_COMMAND;
}

static void take(void)
{
    const uint8_t code = link_frame()[LINK_COMMAND];
    statistics_frame();
    timeout_heard_host();
    if (code != COMMAND_IDENTIFY && link_repeats())
        return;
    link_reply_begin();
    status = execute(code, link_payload_length());
    waiting = true;
}

/* Light is acknowledged when it is on the wire, a record when it has been read back. */
static void reply(void)
{
    if (store_busy() || sequence_starting() || show_pending())
        return;
    if (status == STATUS_STORE_FAILED && store_succeeded())
        status = STATUS_OK;
    link_put8(status);
    if (status == STATUS_OK) {
        report(link_replies_to());
    } else if (status == STATUS_CURRENT_LIMIT) {
        link_put16(light_estimated_ma());
        link_put16(setting(SETTING_SUPPLY_MA));
    }
    link_reply_send();
    waiting = false;
}

void commands_poll(void)
{
    if (waiting) {
        reply();
    } else if (!link_sending() && link_state() == LINK_FRAME) {
        take();
        link_release();
    } else if (!link_sending() && link_state() == LINK_DAMAGED) {
        statistics_bad_frame();
        link_send_bad_frame();
        link_release();
    }
}
