/* The chip's UART. simavr keeps 64 received bytes, spaces its reads and counts eleven bits a byte; here the receiver is
   the real one, two bytes and a shift register deep, so that bytes are lost while a program does not listen. */
#include "serial.h"

#include <stdio.h>

DEFINE_FIFO(uint16_t, uart_fifo);

enum { RECEIVER_DEPTH = 3 };

static uint32_t bit_cycles(const struct serial *serial)
{
    const avr_uart_t *uart = serial->uart;
    avr_t *avr = serial->board->avr;
    const uint32_t divider = avr->data[uart->ubrrl.reg] | (avr->data[uart->ubrrh.reg] & 0x0fu) << 8;
    return (divider + 1) * (avr_regbit_get(avr, uart->u2x) ? 8u : 16u);
}

static bool listening(const struct serial *serial)
{
    return avr_regbit_get(serial->board->avr, serial->uart->rxen);
}

uint32_t hardware_uart_baud(const struct serial *serial)
{
    return listening(serial) ? CYCLES_PER_SECOND / bit_cycles(serial) : serial->board->kind->baud;
}

static uint64_t byte_cycles(const struct serial *serial)
{
    return (uint64_t)BITS_PER_BYTE * CYCLES_PER_SECOND / hardware_uart_baud(serial);
}

static uint8_t read_data(avr_t *avr, avr_io_addr_t address, void *param)
{
    struct serial *serial = param;
    avr_uart_t *uart = serial->uart;
    const avr_cycle_count_t kept = uart->cycles_per_byte;
    uart->cycles_per_byte = 0; /* else simavr hides the second byte for the time that a byte takes */
    const uint8_t value = serial->read_data(avr, address, uart);
    uart->cycles_per_byte = kept;
    if (!uart_fifo_isempty(&uart->input))
        avr_raise_interrupt(avr, &uart->rxc);
    return value;
}

static void write_data(avr_t *avr, avr_io_addr_t address, uint8_t value, void *param)
{
    struct serial *serial = param;
    serial->uart->cycles_per_byte = (avr_cycle_count_t)BITS_PER_BYTE * bit_cycles(serial);
    serial->write_data(avr, address, value, serial->uart);
}

static void deliver(struct serial *serial)
{
    const uint8_t byte = serial->leaving[0];
    serial->on_wire--;
    for (unsigned i = 0; i < serial->on_wire; i++) {
        serial->leaving[i] = serial->leaving[i + 1];
        serial->arrives[i] = serial->arrives[i + 1];
    }
    serial->on_byte(serial->listener, byte);
}

/* simavr tells of a byte when it is written; here it reaches the host when its last bit does. */
static void from_chip(avr_irq_t *irq, uint32_t value, void *param)
{
    struct serial *serial = param;
    const uint64_t now = board_now(serial->board);
    (void)irq;
    if (serial->on_wire == LEAVING)
        deliver(serial);
    const uint64_t last = serial->on_wire ? serial->arrives[serial->on_wire - 1] : now;
    serial->leaving[serial->on_wire] = (uint8_t)value;
    serial->arrives[serial->on_wire++] = last + (uint64_t)BITS_PER_BYTE * bit_cycles(serial);
}

bool hardware_uart_attach(struct serial *serial)
{
    avr_t *avr = serial->board->avr;
    avr_uart_t *uart = serial->uart = board_module(serial->board, "uart");
    if (!uart) {
        fprintf(stderr, "ringsim: this simavr's %s has no UART\n", serial->board->kind->chip);
        return false;
    }
    uint32_t flags = 0; /* no sleeping in real time, no text on standard output */
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS(uart->name), &flags);
    avr_irq_register_notify(uart->io.irq + UART_IRQ_OUTPUT, from_chip, serial);
    const unsigned place = AVR_DATA_TO_IO(uart->r_udr);
    serial->read_data = avr->io[place].r.c;
    serial->write_data = avr->io[place].w.c;
    avr->io[place].r.c = read_data;
    avr->io[place].r.param = serial;
    avr->io[place].w.c = write_data;
    avr->io[place].w.param = serial;
    return true;
}

static uint64_t sent_due(const struct serial *serial)
{
    if (serial->sending)
        return serial->began + byte_cycles(serial);
    return serial->waiting ? 0 : UINT64_MAX;
}

uint64_t hardware_uart_due(const struct serial *serial)
{
    const uint64_t sent = sent_due(serial), arrives = serial->on_wire ? serial->arrives[0] : UINT64_MAX;
    return sent < arrives ? sent : arrives;
}

static void start_bit(struct serial *serial)
{
    avr_uart_t *uart = serial->uart;
    if (!listening(serial) || uart_fifo_get_read_size(&uart->input) < RECEIVER_DEPTH)
        return;
    uart_fifo_write_offset(&uart->input, (uint16_t)-1); /* overwrites the byte that waits in the shift register */
    avr_regbit_set(serial->board->avr, uart->dor);
}

static void received(struct serial *serial)
{
    avr_uart_t *uart = serial->uart;
    if (!listening(serial))
        return;
    uart_fifo_write(&uart->input, serial->outgoing);
    avr_raise_interrupt(serial->board->avr, &uart->rxc);
}

static void send(struct serial *serial, uint64_t now)
{
    uint64_t next = now;
    if (serial->sending) {
        received(serial);
        next = sent_due(serial); /* a byte follows without a gap, though the instruction has ended some cycles later */
    }
    if (serial_take(serial)) {
        serial->began = next;
        start_bit(serial);
    }
}

void hardware_uart_step(struct serial *serial, uint64_t now)
{
    if (serial->on_wire && serial->arrives[0] <= now)
        deliver(serial);
    if (sent_due(serial) <= now)
        send(serial, now);
}
