/* Arduino Uno or Nano: numbers of the board. */
#ifndef BOARD_UNO_H
#define BOARD_UNO_H

#include <avr/io.h>
#include <stdint.h>

enum { MAX_PIXELS = UNO_MAX_PIXELS, MAX_PAYLOAD = UNO_MAX_PAYLOAD, MAX_STEPS = UNO_MAX_STEPS };

#define BOARD_CODE BOARD_UNO
#define BOARD_SIGNATURE UNO_SIGNATURE
#define BOARD_CAPABILITIES (CAPABILITY_TRIGGER | CAPABILITY_STORE)
#define BOARD_HAS_BUTTON 0
#define BOARD_WATCHDOG WDTCSR

/* The ring's data line is D6. */
#define RING_PORT PORTD
#define RING_DDR DDRD
#define RING_PIN PIND
#define RING_BIT PD6
#define RING_ARDUINO_PIN 6

#endif
