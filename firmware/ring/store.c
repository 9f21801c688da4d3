#include "store.h"

#include <avr/eeprom.h>
#include <stddef.h>

#include "crc16.h"
#include "kept.h"
#include "settings.h"

enum { INTERVAL_MS = 10000, VALID = 0x01, VOID = 0xff };

/* The record: VALID or VOID, then `kept` up to the ring's last pixel, then the CRC of that. */
enum {
    KEPT_AT = 1,
    PIXELS_AT = KEPT_AT + offsetof(kept_t, settings[SETTING_PIXELS - 1]), /* low byte of a little-endian word */
    WIRE_AT = KEPT_AT + offsetof(kept_t, wire),
    CRC_SIZE = 2,
};

_Static_assert(KEPT_AT + sizeof(kept_t) + CRC_SIZE <= UINT8_MAX, "places in the record are bytes");

kept_t kept;

static uint16_t rests_ms; /* until the next may be written */
static uint8_t next; /* place to be written, from 1; 0: all is */
static uint16_t crc;

static uint8_t *address(uint8_t at) { return (uint8_t *)(uint16_t)at; }

static uint8_t stored(uint8_t at) { return eeprom_read_byte(address(at)); }

static uint8_t crc_at(uint8_t pixels) { return WIRE_AT + 3 * pixels; }

static bool whole(void)
{
    const uint8_t pixels = stored(PIXELS_AT);
    if (stored(0) != VALID || pixels > MAX_PIXELS)
        return false;
    uint16_t remainder = CRC16_START;
    for (uint8_t at = KEPT_AT; at < crc_at(pixels) + CRC_SIZE; at++)
        remainder = crc16_add(remainder, stored(at));
    return remainder == 0;
}

bool store_load(void)
{
    if (!whole())
        return false;
    eeprom_read_block(&kept, address(KEPT_AT), crc_at(stored(PIXELS_AT)) - KEPT_AT);
    return true;
}

bool store_begin(void)
{
    if (rests_ms)
        return false;
    rests_ms = INTERVAL_MS;
    if (++kept.stores == 0)
        kept.stores--;
    next = 1;
    crc = CRC16_START;
    return true;
}

void store_tick(void)
{
    if (rests_ms)
        rests_ms--;
}

/* What belongs at a place behind the first, asked in order. */
static uint8_t content(uint8_t at)
{
    const uint8_t end = crc_at(ring_pixels());
    if (at == end)
        return crc >> 8;
    if (at > end)
        return crc;
    const uint8_t byte = ((const uint8_t *)&kept)[at - KEPT_AT];
    crc = crc16_add(crc, byte);
    return byte;
}

void store_poll(void)
{
    if (!store_busy() || !eeprom_is_ready())
        return;
    const uint8_t end = crc_at(ring_pixels()) + CRC_SIZE;
    const uint8_t at = next++ - 1;
    if (at == 0) {
        eeprom_update_byte(address(0), VOID);
    } else if (at < end) {
        eeprom_update_byte(address(at), content(at));
    } else if (at == end) {
        eeprom_update_byte(address(0), VALID);
    } else {
        next = 0;
    }
}

bool store_busy(void) { return next; }

bool store_succeeded(void) { return whole() && eeprom_read_word((uint16_t *)address(KEPT_AT)) == kept.stores; }

uint16_t store_count(void) { return kept.stores; }

bool store_sound(void) { return stored(0) == VOID || whole(); }
