/* Whose the light is, and when it goes off by itself: after the host's silence, or after local light's time. */
#ifndef TIMEOUT_H
#define TIMEOUT_H

#include <stdbool.h>

/* A valid frame has come. */
void timeout_heard_host(void);

/* The light is the host's, or local (stored, or chosen by the button), from now on. */
void timeout_host_light(void);
void timeout_local_light(void);

/* Whether the light is local. */
bool timeout_local(void);

/* Whether the host was silent and its light went off; until the light is changed again. */
bool timeout_passed(void);

/* A millisecond has passed: switches off light whose time is up. */
void timeout_tick(void);

#endif
