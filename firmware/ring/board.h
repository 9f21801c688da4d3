/* What a board does for the rest of the firmware. Numbers stand in board_<name>.h, code in board_<name>.c. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

#if defined(__AVR_ATmega328P__)
#include "board_uno.h"
#elif defined(__AVR_ATtiny85__)
#include "board_trinket.h"
#else
#error "this firmware runs on the ATmega328P (Arduino Uno or Nano) and the ATtiny85 (Adafruit Trinket)"
#endif

#if F_CPU != 16000000
#error "the pixels' timing is counted in cycles of 16 MHz"
#endif

/* Pins, timer and serial line; interrupts are enabled later. */
void board_start(void);

/* A free-running timer; it wraps after 262 ms, as do differences of ticks. */
typedef uint16_t ticks_t;
#define TICK_US 4u
ticks_t board_ticks(void);

/* The serial line. Nothing here waits: read and write only where that can be done. */
bool serial_can_read(void);
uint8_t serial_read(void);
bool serial_can_write(void);
void serial_write(uint8_t byte);

/* Whether interrupts may be off for some pixels' time without damage to a byte on its way out. */
bool serial_allows_pause(void);

/* Bytes lost since the reset because nobody fetched them in time; stops at its greatest value. */
uint16_t serial_overruns(void);

/* The trigger output of sequences. */
void board_trigger(bool high);

#if BOARD_HAS_BUTTON
/* Whether the button is down now, bounces included. */
bool board_button_down(void);
#endif

#endif
