/* Intel HEX files. simavr's reader stumbles over the records of a start address that bootloaders carry. */
#ifndef INTEL_HEX_H
#define INTEL_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Hand over a file's bytes record by record; false with a message where it is damaged or put() refuses. */
bool intel_hex_read(const char *path, bool (*put)(void *self, uint32_t address, const uint8_t *bytes, size_t count),
                    void *self);

#endif
