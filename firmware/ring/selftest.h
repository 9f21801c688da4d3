/* The self-test: begin it, and when the dark pixels it asks for have been shown, look. */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdint.h>

typedef struct {
    uint8_t run;
    uint8_t passed;
} selftest_t;

/* Switches the light off. */
void selftest_begin(void);

/* Once the ring has been shown dark. */
selftest_t selftest_result(void);

#endif
