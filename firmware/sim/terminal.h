/* A pseudo-terminal whose other end some program may or may not have open. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct terminal {
    int master;
    int watch; /* inotify: tells of each opening and closing, however short */
    int users; /* how many have it open, as far as they were told */
    int unexplained; /* how often in a row it was open though nobody was told to have opened it */
    char name[64];
};

/* False with errno set. A program that sets no rate finds this one. */
bool terminal_open(struct terminal *terminal, uint32_t baud);
void terminal_close(struct terminal *terminal);

bool terminal_is_open(const struct terminal *terminal);
bool terminal_was_opened(struct terminal *terminal); /* by a first user, since the last call */
uint32_t terminal_baud(const struct terminal *terminal); /* the rate that the program has set */

/* Neither waits; both return the bytes that went. */
size_t terminal_read(const struct terminal *terminal, uint8_t *bytes, size_t room);
size_t terminal_write(const struct terminal *terminal, const uint8_t *bytes, size_t count);

void terminal_flush(const struct terminal *terminal); /* forget bytes on the way, both ways */
void terminal_wait(const struct terminal *terminal, long us); /* until bytes come, a signal, or the time is up */

#endif
