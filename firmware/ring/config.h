/* What may be chosen at build time. The Makefile passes RING_PIXELS; in the Arduino IDE edit this file. */
#ifndef CONFIG_H
#define CONFIG_H

#include "protocol.h"

/* Pixels on the ring until SET_CONFIG or STORE says otherwise. */
#ifndef RING_PIXELS
#define RING_PIXELS PIXELS_DEFAULT
#endif

/* Send the pixels through the Adafruit_NeoPixel library (install it in the IDE) instead of our own output. */
/* #define RING_OUTPUT_NEOPIXEL */

#endif
