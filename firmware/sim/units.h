/* Cycles of the simulated 16 MHz clock as times. */
#ifndef UNITS_H
#define UNITS_H

#include <stdint.h>

#define CYCLES_PER_US 16u
#define CYCLES_PER_SECOND (1000000u * CYCLES_PER_US)

static inline uint64_t us_to_cycles(uint64_t us)
{
    return us * CYCLES_PER_US;
}

static inline uint64_t cycles_to_us(uint64_t cycles)
{
    return cycles / CYCLES_PER_US;
}

/* 62.5 ns a cycle, rounded down; spans longer than 4 s are cut there. */
static inline uint32_t cycles_to_ns(uint64_t cycles)
{
    const uint64_t ns = cycles * 1000 / CYCLES_PER_US;
    return ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static inline double cycles_to_s(uint64_t cycles)
{
    return (double)cycles / CYCLES_PER_SECOND;
}

#endif
