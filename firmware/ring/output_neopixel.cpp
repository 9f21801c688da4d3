// The ring through Adafruit's library, for those who prefer it: define RING_OUTPUT_NEOPIXEL in config.h.
#include "config.h"

#ifdef RING_OUTPUT_NEOPIXEL

#include <Adafruit_NeoPixel.h>

#include "board.h"
#include "output.h"

static Adafruit_NeoPixel ring(MAX_PIXELS, RING_ARDUINO_PIN, NEO_GRB + NEO_KHZ800);

void output_start(void) { ring.begin(); }

void output_show(const uint8_t *grb, uint8_t pixels)
{
    if (ring.numPixels() != pixels)
        ring.updateLength(pixels);
    for (uint8_t pixel = 0; pixel < pixels; pixel++, grb += 3)
        ring.setPixelColor(pixel, grb[1], grb[0], grb[2]);
    ring.show();
}

#endif
