/* A program for the tests of the simulator alone: each byte received asks for one thing; the answer is one byte.
   Uno: the UART by polling. Trinket: a bit-banged line at 19200 baud. */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/wdt.h>
#include <util/delay.h>

#if defined(__AVR_ATmega328P__)
#define DATA_PORT PORTD
#define DATA_DDR DDRD
#define DATA_BIT 6
#define TRIGGER_BIT 0
#define WATCHDOG_CONTROL WDTCSR
#else
#define DATA_PORT PORTB
#define DATA_DDR DDRB
#define DATA_BIT 0
#define TX_BIT 1
#define RX_BIT 2
#define TRIGGER_BIT 3
#define BUTTON_BIT 4
#define WATCHDOG_CONTROL WDTCR
#endif

#if defined(__AVR_ATmega328P__)
static void serial_begin(void)
{
    UBRR0 = 16; /* 115200 at double speed, which is set afterwards on purpose */
    UCSR0A = 1 << U2X0;
    UCSR0B = 1 << RXEN0 | 1 << TXEN0;
}

static uint8_t serial_get(void)
{
    while (!(UCSR0A & 1 << RXC0))
        ;
    return UDR0;
}

static void serial_put(uint8_t byte)
{
    while (!(UCSR0A & 1 << UDRE0))
        ;
    UDR0 = byte;
}

/* Deaf for a millisecond, then the count of bytes left in the receiver, 0x80 added for an overrun. */
static uint8_t deaf(void)
{
    uint8_t count = 0;
    _delay_ms(1);
    uint8_t lost = UCSR0A & 1 << DOR0 ? 0x80 : 0;
    for (; UCSR0A & 1 << RXC0; count++)
        (void)UDR0;
    return lost | count;
}
#else
#define BIT_US (1e6 / 19200)

static void serial_begin(void)
{
    PORTB = 1 << TX_BIT | 1 << BUTTON_BIT;
    DDRB = 1 << TX_BIT;
}

static uint8_t serial_get(void)
{
    uint8_t byte = 0;
    while (PINB & 1 << RX_BIT)
        ;
    _delay_us(BIT_US * 1.45);
    for (uint8_t bit = 0; bit < 8; bit++) {
        byte >>= 1;
        if (PINB & 1 << RX_BIT)
            byte |= 0x80;
        _delay_us(BIT_US - 0.6);
    }
    return byte;
}

static void serial_put(uint8_t byte)
{
    uint16_t bits = 0x200 | (uint16_t)byte << 1;
    for (uint8_t bit = 0; bit < 10; bit++, bits >>= 1) {
        if (bits & 1)
            PORTB |= 1 << TX_BIT;
        else
            PORTB &= ~(1 << TX_BIT);
        _delay_us(BIT_US - 0.6);
    }
}

static uint8_t deaf(void)
{
    return 0;
}
#endif

/* Send bytes, 19 cycles a bit, high for 5 of them (0) or 13 (1); the pad makes both longer by that many. */
#define SEND(name, pad) \
    static void name(const uint8_t *bytes, uint8_t count) \
    { \
        const uint8_t high = DATA_PORT | 1 << DATA_BIT, low = DATA_PORT & ~(1 << DATA_BIT); \
        uint8_t bits, value; \
        __asm__ volatile("0: ld %[value], %a[bytes]+\n" \
                         "ldi %[bits], 8\n" \
                         "1: out %[port], %[high]\n" \
                         "rjmp .+0\n nop\n" \
                         ".rept " #pad "\n nop\n .endr\n" \
                         "sbrs %[value], 7\n" \
                         "out %[port], %[low]\n" \
                         "lsl %[value]\n" \
                         "rjmp .+0\n rjmp .+0\n rjmp .+0\n" \
                         "out %[port], %[low]\n" \
                         "rjmp .+0\n" \
                         "dec %[bits]\n" \
                         "brne 1b\n" \
                         "dec %[count]\n" \
                         "brne 0b\n" \
                         : [value] "=&r"(value), [bits] "=&d"(bits), [bytes] "+e"(bytes), [count] "+r"(count) \
                         : [port] "I"(_SFR_IO_ADDR(DATA_PORT)), [high] "r"(high), [low] "r"(low) \
                         : "memory"); \
    }

SEND(send_well, 0)
SEND(send_long, 6)

static void show(void (*send)(const uint8_t *, uint8_t))
{
    static const uint8_t wire[] = {0x80, 0xff, 0x01, 0x00, 0x00, 0x7f}; /* ff8001, 00007f */
    send(wire, sizeof wire);
}

static uint8_t cause __attribute__((section(".noinit")));

static uint8_t answer(uint8_t asked)
{
    switch (asked) {
    case 'w':
        show(send_well);
        break;
    case 'l':
        show(send_long);
        break;
    case 'o': /* one bit more than a whole pixel */
        show(send_well);
        DATA_PORT |= 1 << DATA_BIT;
        DATA_PORT &= ~(1 << DATA_BIT);
        break;
    case 't':
        PORTB |= 1 << TRIGGER_BIT;
        _delay_us(100);
        PORTB &= ~(1 << TRIGGER_BIT);
        break;
    case 'r':
        return cause;
    case 'h':
        wdt_enable(WDTO_60MS);
        for (;;)
            ;
    case 'f': /* a watchdog switched off again does not bite */
        wdt_enable(WDTO_60MS);
        _delay_ms(40);
        wdt_reset();
        _delay_ms(40);
        wdt_disable();
        _delay_ms(200);
        break;
    case 'd':
        return deaf();
    case 'e':
        eeprom_write_byte((uint8_t *)3, eeprom_read_byte((uint8_t *)3) + 1);
        return eeprom_read_byte((uint8_t *)3);
#ifdef BUTTON_BIT
    case 'b':
        return PINB >> BUTTON_BIT & 1;
#endif
    case 'c':
        ((void (*)(void))0x7fff)(); /* beyond the end of flash */
    }
    return asked;
}

int main(void)
{
    cause = MCUSR;
    MCUSR = 0;
    wdt_disable();
    serial_begin();
    DATA_DDR |= 1 << DATA_BIT;
    DDRB |= 1 << TRIGGER_BIT;
    for (;;)
        serial_put(answer(serial_get()));
}
