/* Adafruit Trinket 5 V: ring on pin 0, trigger on pin 3, button on pin 4, and a serial line of 19200 8N1 in software:
 * out on pin 1, in on pin 2, one direction at a time. A falling edge (INT0) finds a start bit; the timer's compare then
 * interrupts once a bit, to sample it or to put it out. The same timer runs through as the clock. */
#if defined(__AVR_ATtiny85__)

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/power.h>
#include <util/atomic.h>

#include "board.h"

enum { TX_BIT = PB1, RX_BIT = PB2, TRIGGER_BIT = PB3, BUTTON_BIT = PB4 };

/* A bit of 13 ticks is 0.16 % short. From a falling edge it is 1.5 bits to the middle of bit 0; the edge is known to a
 * tick. */
enum { BIT_TICKS = 13, FIRST_SAMPLE_TICKS = 19 };
_Static_assert(F_CPU / 64 / BIT_TICKS - TRINKET_BAUD < TRINKET_BAUD / 500, "the line's rate has changed");

static volatile uint8_t received; /* one byte, for half a millisecond until the next */
static volatile bool full;
static volatile uint16_t overruns;

/* What interrupts count, in the chip's free registers: they reach them in one cycle, memory would take four times that.
 * LINE_LEFT counts interrupts to come, with LINE_SENDS when they send; 0: the line is free. */
#define LINE_BITS GPIOR0
#define LINE_LEFT GPIOR1
#define OVERFLOWS GPIOR2
enum { LINE_SENDS = 0x80 };

static inline void line_start(uint8_t ticks, uint8_t interrupts)
{
    GIMSK = 0; /* edges inside a byte are no start bits */
    LINE_LEFT = interrupts;
    OCR0A = TCNT0 + ticks;
    TIFR = _BV(OCF0A);
    TIMSK = _BV(OCIE0A) | _BV(TOIE0);
}

static inline void line_free(void)
{
    LINE_LEFT = 0;
    TIMSK = _BV(TOIE0);
    GIFR = _BV(INTF0);
    GIMSK = _BV(INT0);
}

void board_start(void)
{
    clock_prescale_set(clock_div_1); /* the bootloader hands over at 8 MHz */

    PORTB = _BV(TX_BIT) | _BV(RX_BIT) | _BV(BUTTON_BIT); /* idle high; pull-ups on the inputs */
    DDRB = _BV(RING_BIT) | _BV(TX_BIT) | _BV(TRIGGER_BIT);

    TCCR0B = _BV(CS01) | _BV(CS00); /* 16 MHz / 64: ticks of 4 us */
    MCUCR = _BV(ISC01);             /* INT0 at falling edges */
    line_free();
}

/* Once in 1.02 ms. The longest time without interrupts, MAX_PIXELS going out, is shorter: no overflow is lost. */
ISR(TIM0_OVF_vect, ISR_NAKED)
{
    __asm__ volatile("push r24              \n\t"
                     "in   r24, __SREG__    \n\t"
                     "push r24              \n\t"
                     "in   r24, %[count]    \n\t"
                     "inc  r24              \n\t"
                     "out  %[count], r24    \n\t"
                     "pop  r24              \n\t"
                     "out  __SREG__, r24    \n\t"
                     "pop  r24              \n\t"
                     "reti                  \n\t" ::[count] "I"(_SFR_IO_ADDR(OVERFLOWS)));
}

ticks_t board_ticks(void)
{
    uint8_t low = 0;
    uint8_t high = 0;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        low = TCNT0;
        high = OVERFLOWS;
        if (TIFR & _BV(TOV0) && low < 0x80)
            high++;
    }
    return (uint16_t)high << 8 | low;
}

ISR(INT0_vect) { line_start(FIRST_SAMPLE_TICKS, 9); }

/* Once a bit: puts out or samples the lowest of the bits to go. The ninth is the stop bit; ones fill up behind ours. A
 * byte come in whose stop bit is low is left out, so that its frame fails its CRC. When the line is free, a stop bit of
 * ours has just begun: the host may answer before it ends. */
ISR(TIM0_COMPA_vect)
{
    const uint8_t high = PINB & _BV(RX_BIT) ? 0x80 : 0;
    const uint8_t bits = LINE_BITS;
    const uint8_t left = LINE_LEFT - 1;
    OCR0A += BIT_TICKS;
    LINE_LEFT = left;
    if (left & LINE_SENDS) {
        if (bits & 1)
            PORTB |= _BV(TX_BIT);
        else
            PORTB &= (uint8_t)~_BV(TX_BIT);
        LINE_BITS = bits >> 1 | 0x80;
    } else if (left) {
        LINE_BITS = bits >> 1 | high;
    } else if (high) {
        if (full && overruns < UINT16_MAX)
            overruns++;
        received = bits;
        full = true;
    }
    if ((left & ~LINE_SENDS) == 0)
        line_free();
}

bool serial_can_read(void) { return full; }

uint8_t serial_read(void)
{
    const uint8_t byte = received;
    full = false;
    return byte;
}

/* Not before the compare has come that follows the last byte's stop bit, where nothing interrupts any more. */
bool serial_can_write(void) { return LINE_LEFT == 0 && TIFR & _BV(OCF0A); }

void serial_write(uint8_t byte)
{
    /* A start bit since serial_can_write gives way: the host must not talk while we do. */
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        PORTB &= (uint8_t)~_BV(TX_BIT);
        LINE_BITS = byte;
        line_start(BIT_TICKS, LINE_SENDS | 9);
    }
}

bool serial_allows_pause(void) { return !(LINE_LEFT & LINE_SENDS); }

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

bool board_button_down(void) { return !(PINB & _BV(BUTTON_BIT)); }

#endif
