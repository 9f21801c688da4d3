/* The pixels: colours are rendered by the settings as they are set and kept as they go over the wire. */
#ifndef LIGHT_H
#define LIGHT_H

#include <stdbool.h>
#include <stdint.h>

/* How a span of pixels is lit; bits. Without LIGHT_DRAW it is only checked. */
enum {
    LIGHT_GREEN = 0x01, /* the channels that are lit, in the wire's order */
    LIGHT_RED = 0x02,
    LIGHT_BLUE = 0x04,
    LIGHT_WHITE = LIGHT_GREEN | LIGHT_RED | LIGHT_BLUE,
    LIGHT_EACH = 0x08,  /* each pixel its own colour, not one for all */
    LIGHT_ALONE = 0x10, /* the pixels outside go dark */
    LIGHT_DRAW = 0x20,
};

/* Lights `count` pixels from `first` on, round the ring's end to pixel 0, and has them shown. Returns OK, or
 * CURRENT_LIMIT and changes nothing. */
uint8_t light_span(uint8_t first, uint8_t count, const uint8_t *rgb, uint8_t how);

/* The same with one of the patterns; returns also what is wrong with it. `how` is 0 or LIGHT_DRAW. */
uint8_t light_pattern(uint8_t pattern, uint8_t position, const uint8_t *rgb, uint8_t how);

void light_dark(void);

/* The current that the last span would have taken, and that of the light as it is. */
uint16_t light_estimated_ma(void);
uint16_t light_ma(void);

bool light_lit(void);

/* Green, red, blue of every pixel. */
const uint8_t *light_wire(void);

#endif
