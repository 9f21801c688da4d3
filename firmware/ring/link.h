/* Frames on the serial line, COBS and CRC both ways. They come in one at a time; the last reply is kept for retries. */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stdint.h>

/* Moves bytes both ways. */
void link_poll(void);

/* What has come in; a frame stays, and what comes after it waits, until link_release. */
typedef enum { LINK_NOTHING, LINK_PART, LINK_OVERLONG, LINK_FRAME, LINK_DAMAGED } link_state_t;
link_state_t link_state(void);
void link_release(void);

/* The frame: sequence number, command, payload, CRC. */
enum { LINK_SEQUENCE, LINK_COMMAND, LINK_PAYLOAD };
const uint8_t *link_frame(void);
uint8_t link_payload_length(void);

/* Builds a reply to the frame: begin, put, send. Begin only where nothing is being sent. */
bool link_sending(void);
void link_reply_begin(void);
uint8_t link_replies_to(void); /* the command */
void link_put8(uint8_t value);
void link_put16(uint16_t value);
void link_put32(uint32_t value);
void link_reply_send(void);

/* Whether the frame is the last one replied to, come again; its reply is sent again. */
bool link_repeats(void);

/* The light has changed by itself: what comes again is new. */
void link_forget(void);

/* Sends BAD_FRAME; the last reply is kept. */
void link_send_bad_frame(void);

#endif
