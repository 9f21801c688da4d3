/* Sequences: steps kept on the board and played by the millisecond, each with a pulse on the trigger output. */
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint8_t pattern;
    uint8_t position;
    uint8_t rgb[3];
    uint8_t duration_ms[2]; /* big-endian as on the wire; 0: never set */
} step_t;

step_t *sequence_step(uint8_t step);

/* Plays steps 0 to count - 1; repeats 0: until stopped. */
void sequence_start(uint8_t count, uint16_t repeats);

/* Stops; the light stays as it is. */
void sequence_stop(void);

bool sequence_running(void);

/* Whether the first step is still to come. */
bool sequence_starting(void);

/* A millisecond has passed: the next step where its time has come, or the end. */
void sequence_tick(void);

#endif
