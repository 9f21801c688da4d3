#include "memory.h"

#include <avr/io.h>

enum { PAINT = 0xa5, MARGIN = 8 };

extern uint8_t __heap_start; /* the linker's: first byte behind the static data */

void memory_paint(void)
{
    uint8_t *const top = (uint8_t *)SP - MARGIN;
    for (uint8_t *byte = &__heap_start; byte < top; byte++)
        *byte = PAINT;
}

uint16_t memory_untouched(void)
{
    const uint8_t *byte = &__heap_start;
    while (byte < (const uint8_t *)SP && *byte == PAINT)
        byte++;
    return byte - &__heap_start;
}
