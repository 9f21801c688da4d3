/* Settings and light in the EEPROM, for the next start. The record is void while it is written: where power fails there
 * is none. One byte a pass, unchanged bytes not at all. */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stdint.h>

/* Brings back settings and light; false where there is no record. */
bool store_load(void);

/* Begins to write; until store_busy ends, settings and light must stay as they are. False within 10 s of the last. */
bool store_begin(void);
bool store_busy(void);
void store_poll(void);

/* A millisecond has passed. */
void store_tick(void);

/* Whether the last record read back as it was written. */
bool store_succeeded(void);

/* Records ever written. */
uint16_t store_count(void);

/* Whether the record is whole, or there is none. */
bool store_sound(void);

#endif
