#include "link.h"

#include <avr/pgmspace.h>

#include "board.h"
#include "crc16.h"

enum { CRC_SIZE = 2, BODY_LEAST = LINK_PAYLOAD + CRC_SIZE, BODY_SIZE = MAX_PAYLOAD + BODY_LEAST };
enum { REPLY_SIZE = 24 }; /* statistics, the longest */

/* The frame coming in. */
static link_state_t state;
static uint8_t body[BODY_SIZE];
static uint8_t body_length;
static uint8_t block_left; /* bytes to the next code */

/* The reply, and how far it has gone out. */
static uint8_t reply[REPLY_SIZE];
static uint8_t reply_length;
static uint8_t replied_sequence; /* what it replies to; 0: forgotten */
static uint16_t replied_crc;
static uint8_t sent;
static uint8_t run_left; /* bytes to the next code */
static bool sending;

/* As it goes over the wire, CRC included. */
static const uint8_t BAD_FRAME[] PROGMEM = BAD_FRAME_REPLY;
static uint8_t bad_frame_left;

/* -- in ------------------------------------------------------------------------------------------------------------ */

void link_release(void)
{
    state = LINK_NOTHING;
    body_length = 0;
    block_left = 0;
}

static void append(uint8_t byte)
{
    if (body_length == BODY_SIZE)
        state = LINK_OVERLONG;
    else
        body[body_length++] = byte;
}

static void end_frame(void)
{
    const bool whole =
        state == LINK_PART && block_left == 0 && body_length >= BODY_LEAST && crc16(body, body_length) == CRC16_RESIDUE;
    state = whole ? LINK_FRAME : LINK_DAMAGED;
}

static void receive(uint8_t byte)
{
    if (byte == 0) {
        if (state != LINK_NOTHING)
            end_frame();
    } else if (block_left) {
        block_left--;
        append(byte);
    } else {
        /* A code: it stands for the zero before its block, but at the frame's beginning. */
        block_left = byte - 1;
        if (state == LINK_NOTHING)
            state = LINK_PART;
        else
            append(0);
    }
}

link_state_t link_state(void) { return state; }

const uint8_t *link_frame(void) { return body; }

uint8_t link_payload_length(void) { return body_length - BODY_LEAST; }

/* -- out ----------------------------------------------------------------------------------------------------------- */

bool link_sending(void) { return sending || bad_frame_left; }

static uint16_t frame_crc(void) { return (uint16_t)body[body_length - 2] << 8 | body[body_length - 1]; }

void link_reply_begin(void)
{
    replied_sequence = body[LINK_SEQUENCE];
    replied_crc = frame_crc();
    reply_length = 0;
    link_put8(body[LINK_SEQUENCE]);
    link_put8(body[LINK_COMMAND]);
}

uint8_t link_replies_to(void) { return reply[LINK_COMMAND]; }

void link_put8(uint8_t value) { reply[reply_length++] = value; }

void link_put16(uint16_t value)
{
    link_put8(value >> 8);
    link_put8(value);
}

void link_put32(uint32_t value)
{
    link_put16(value >> 16);
    link_put16(value);
}

static void reply_start(void)
{
    sent = UINT8_MAX; /* where a zero before the first byte would be */
    run_left = 0;
    sending = true;
}

void link_reply_send(void)
{
    link_put16(crc16(reply, reply_length));
    reply_start();
}

bool link_repeats(void)
{
    if (replied_sequence == 0 || body[LINK_SEQUENCE] != replied_sequence || frame_crc() != replied_crc)
        return false;
    reply_start();
    return true;
}

void link_forget(void) { replied_sequence = 0; }

void link_send_bad_frame(void) { bad_frame_left = sizeof BAD_FRAME; }

/* Each run of bytes between zeros goes out behind a code of its length + 1, which stands for the zero before it too. */
static uint8_t next_stuffed(void)
{
    if (run_left) {
        run_left--;
        return reply[sent++];
    }
    if (sent == reply_length) {
        sending = false;
        return 0;
    }
    sent++;
    while (sent + run_left < reply_length && reply[sent + run_left])
        run_left++;
    return run_left + 1;
}

void link_poll(void)
{
    while (state < LINK_FRAME && serial_can_read())
        receive(serial_read());
    if (!serial_can_write())
        return;
    if (sending)
        serial_write(next_stuffed());
    else if (bad_frame_left)
        serial_write(pgm_read_byte(&BAD_FRAME[sizeof BAD_FRAME - bad_frame_left--]));
}
