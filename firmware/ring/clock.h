/* Milliseconds, counted in the loop from the board's timer: time in which interrupts are off is not lost. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* True once for each millisecond that has passed; late calls catch up, call by call. */
bool clock_tick(void);

/* Milliseconds ticked since the reset. */
uint32_t clock_ms(void);

#endif
