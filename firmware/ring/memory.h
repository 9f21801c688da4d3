/* How far the stack ever came down: the free memory is painted at the start and looked at later. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

void memory_paint(void);

/* Bytes between the static data and the deepest stack so far; 0 where they may have met. */
uint16_t memory_untouched(void);

#endif
