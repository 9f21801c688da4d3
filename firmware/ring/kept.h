/* What STORE keeps, as one piece so that it can be copied as one: settings and light. */
#ifndef KEPT_H
#define KEPT_H

#include <stdint.h>

#include "board.h"

enum { SETTINGS = SETTING_PIXELS, LIGHT_SIZE = 3 * MAX_PIXELS };

typedef struct {
    uint16_t stores;             /* store.c: records ever written */
    uint16_t settings[SETTINGS]; /* settings.c: by code, from 1 */
    uint8_t wire[LIGHT_SIZE];    /* light.c: green, red, blue of every pixel; what lies beyond the ring is dark */
} __attribute__((packed)) kept_t;

extern kept_t kept;

#endif
