/* Arduino Uno or Nano: hardware UART at 115200 8N1, ring on D6, trigger on D8, clock on Timer1. */
#if defined(__AVR_ATmega328P__)

#include <avr/interrupt.h>
#include <avr/io.h>
#include <util/atomic.h>

#include "board.h"

enum { TRIGGER_BIT = PB0, RECEIVED_SIZE = 32 };

static volatile uint8_t received[RECEIVED_SIZE];
static volatile uint8_t received_head;
static uint8_t received_tail;
static volatile uint16_t overruns;

void board_start(void)
{
    RING_PORT &= (uint8_t)~_BV(RING_BIT);
    RING_DDR |= _BV(RING_BIT);
    PORTB &= (uint8_t)~_BV(TRIGGER_BIT);
    DDRB |= _BV(TRIGGER_BIT);

    TCCR1A = 0;
    TCCR1B = _BV(CS11) | _BV(CS10); /* 16 MHz / 64: ticks of 4 us */

    UCSR0A = _BV(U2X0);
    UBRR0 = (F_CPU / 4 / UNO_BAUD - 1) / 2; /* rounded: 16, 2.1 % fast, what the bootloader uses too */
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
}

ticks_t board_ticks(void) { return TCNT1; }

ISR(USART_RX_vect)
{
    const uint8_t flags = UCSR0A; /* before UDR0: reading that moves the flags on */
    const uint8_t byte = UDR0;
    const uint8_t next = (received_head + 1) % RECEIVED_SIZE;
    const bool full = next == received_tail;
    if ((full || flags & _BV(DOR0)) && overruns < UINT16_MAX)
        overruns++;
    if (full)
        return;
    received[received_head] = byte;
    received_head = next;
}

bool serial_can_read(void) { return received_tail != received_head; }

uint8_t serial_read(void)
{
    const uint8_t byte = received[received_tail];
    received_tail = (received_tail + 1) % RECEIVED_SIZE;
    return byte;
}

bool serial_can_write(void) { return UCSR0A & _BV(UDRE0); }

void serial_write(uint8_t byte) { UDR0 = byte; }

bool serial_allows_pause(void) { return true; }

uint16_t serial_overruns(void)
{
    uint16_t count = 0;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { count = overruns; }
    return count;
}

void board_trigger(bool high)
{
    if (high)
        PORTB |= _BV(TRIGGER_BIT);
    else
        PORTB &= (uint8_t)~_BV(TRIGGER_BIT);
}

#endif
