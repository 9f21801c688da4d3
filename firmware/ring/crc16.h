/* CRC-16-CCITT (polynomial 0x1021, no reflection). */
#ifndef CRC16_H
#define CRC16_H

#include <stdint.h>

#define CRC16_START 0xffffu

/* What `crc16` gives for data followed by their CRC. */
#define CRC16_RESIDUE 0xe2f0u

/* The bare division, from CRC16_START: over data followed by its result it is zero. */
uint16_t crc16_add(uint16_t crc, uint8_t byte);

/* The protocol's CRC: inverted, so that a zero byte lost or added at the end does not go unnoticed. */
uint16_t crc16(const uint8_t *data, uint8_t length);

#endif
