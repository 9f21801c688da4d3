/* The exchangeable end: sends pixels to the ring. One of output_ws2812.c and output_neopixel.cpp, see config.h. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void output_start(void);

/* Sends green, red, blue of each pixel; returns when the last bit is out. The caller keeps the latch's pause. */
void output_show(const uint8_t *grb, uint8_t pixels);

#ifdef __cplusplus
}
#endif

#endif
