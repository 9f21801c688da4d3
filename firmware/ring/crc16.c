#include "crc16.h"

#include <util/crc16.h>

/* One copy: the library's is inlined where it is used. */
__attribute__((noinline)) uint16_t crc16_add(uint16_t crc, uint8_t byte) { return _crc_xmodem_update(crc, byte); }

uint16_t crc16(const uint8_t *data, uint8_t length)
{
    uint16_t crc = CRC16_START;
    while (length--)
        crc = crc16_add(crc, *data++);
    return ~crc;
}
