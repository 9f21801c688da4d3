#include "selftest.h"

#include <avr/io.h>
#include <avr/pgmspace.h>
#include <stdbool.h>

#include "board.h"
#include "crc16.h"
#include "light.h"
#include "memory.h"
#include "show.h"
#include "store.h"

/* Fewer would be too short for the slower board's timer. */
enum { TIMED_PIXELS = 8 };

/* The end of the program and its CRC, written into the linked program by boards/stamp.py. The CRC begins behind the
 * vectors, which USB bootloaders change, and leaves out this record. */
typedef struct {
    uint16_t begin;
    uint16_t end;
    uint16_t crc;
} program_t;
enum { UNSTAMPED = 0xffff };
const program_t program_stamp PROGMEM __attribute__((used)) = {_VECTORS_SIZE, UNSTAMPED, UNSTAMPED};

static uint16_t program_end(void) { return pgm_read_word(&program_stamp.end); }

static bool flash_is_whole(void)
{
    const uint16_t end = program_end();
    uint16_t crc = CRC16_START;
    for (uint16_t at = _VECTORS_SIZE; at < end; at++) {
        if (at - (uint16_t)&program_stamp < sizeof program_stamp)
            continue;
        crc = crc16_add(crc, pgm_read_byte(at));
    }
    return crc == pgm_read_word(&program_stamp.crc);
}

void selftest_begin(void)
{
    light_dark();
    show_reach(TIMED_PIXELS);
}

selftest_t selftest_result(void)
{
    selftest_t result = {.run = TEST_RAM | TEST_EEPROM | TEST_LINE | TEST_SHOW | TEST_WATCHDOG, .passed = 0};
    if (memory_untouched())
        result.passed |= TEST_RAM;
    if (store_sound())
        result.passed |= TEST_EEPROM;
    if (!(RING_PIN & _BV(RING_BIT)))
        result.passed |= TEST_LINE;
    if (show_took_its_time())
        result.passed |= TEST_SHOW;
    if (BOARD_WATCHDOG & _BV(WDE))
        result.passed |= TEST_WATCHDOG;
    if (program_end() != UNSTAMPED) {
        result.run |= TEST_FLASH;
        if (flash_is_whole())
            result.passed |= TEST_FLASH;
    }
    return result;
}
