/* When pixels go out: once the last have latched, and with nothing of ours on the serial line that it would damage. */
#ifndef SHOW_H
#define SHOW_H

#include <stdbool.h>
#include <stdint.h>

void show_start(void);
void show_poll(void);

/* Show the light as soon as it may be. */
void show_request(void);

/* Hold the show requested back until it is released; it then raises the trigger output for a while when its pixels have
 * latched. */
void show_hold(void);
void show_release(void);

/* The next show reaches at least so many pixels. */
void show_reach(uint8_t pixels);

bool show_pending(void);

/* Whether the last show took the time that its pixels should take. */
bool show_took_its_time(void);

#endif
