/* What happened on the link since the last reset, why that was, and how many there were since power-on. */
#ifndef STATISTICS_H
#define STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t frames;
    uint16_t bad_frames;
    uint16_t timeouts;
} statistics_t;

/* Counts the reset. */
void statistics_start(void);

/* Whether power was applied, so that nothing in .noinit holds. */
bool statistics_power_on(void);

uint8_t statistics_reset_cause(void);
uint16_t statistics_resets(void);
const statistics_t *statistics(void);

/* Counters stop at their greatest value. */
void statistics_frame(void);
void statistics_bad_frame(void);
void statistics_timeout(void);

#endif
