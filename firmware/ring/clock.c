#include "clock.h"

#include "board.h"

static uint32_t ticked_ms;
static ticks_t ticked_at;

bool clock_tick(void)
{
    const ticks_t millisecond = 1000 / TICK_US;
    if ((ticks_t)(board_ticks() - ticked_at) < millisecond)
        return false;
    ticked_at += millisecond;
    ticked_ms++;
    return true;
}

uint32_t clock_ms(void) { return ticked_ms; }
