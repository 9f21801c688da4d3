/* The settings of the protocol, by their codes. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

void settings_defaults(void);

bool setting_known(uint8_t code);
bool setting_allows(uint8_t code, uint16_t value);
uint16_t setting(uint8_t code);
void setting_change(uint8_t code, uint16_t value);

/* Pixels on the ring. */
uint8_t ring_pixels(void);

#endif
