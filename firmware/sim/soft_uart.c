/* A line whose ends are pins: the board bit-bangs it, this side drives and samples it by the clock. */
#include "serial.h"

static uint64_t bit_time(const struct serial *serial, uint64_t start, unsigned half_bits)
{
    return start + (uint64_t)half_bits * CYCLES_PER_SECOND / (2u * serial->board->kind->baud);
}

static uint64_t sample_due(const struct serial *serial)
{
    return serial->receiving ? bit_time(serial, serial->heard, 2 * serial->sample + 1) : UINT64_MAX;
}

/* Bits 0 (start) to 9 (stop); a glitch and a byte without its stop bit are dropped. */
static void sample(struct serial *serial)
{
    const unsigned bit = serial->sample++;
    if (bit == 0 && serial->line) {
        serial->receiving = false;
    } else if (bit == BITS_PER_BYTE - 1) {
        serial->receiving = false;
        if (serial->line)
            serial->on_byte(serial->listener, serial->incoming);
    } else if (bit > 0 && serial->line) {
        serial->incoming |= (uint8_t)(1u << (bit - 1));
    }
}

/* Take the samples due before a time, at the level that the line had until then. */
static void listen(struct serial *serial, uint64_t until)
{
    while (sample_due(serial) <= until)
        sample(serial);
}

static void edge_from_board(avr_irq_t *irq, uint32_t value, void *param)
{
    struct serial *serial = param;
    const bool level = value & 0xff;
    (void)irq;
    listen(serial, board_now(serial->board));
    if (serial->line && !level && !serial->receiving) {
        serial->receiving = true;
        serial->heard = board_now(serial->board);
        serial->incoming = 0;
        serial->sample = 0;
    }
    serial->line = level;
}

void soft_uart_attach(struct serial *serial)
{
    serial->line = true;
    avr_irq_register_notify(board_pin_irq(serial->board, serial->board->kind->tx), edge_from_board, serial);
    board_drive(serial->board, serial->board->kind->rx, true);
}

static uint64_t drive_due(const struct serial *serial)
{
    if (serial->sending)
        return bit_time(serial, serial->began, 2 * serial->bit);
    return serial->waiting ? 0 : UINT64_MAX;
}

uint64_t soft_uart_due(const struct serial *serial)
{
    const uint64_t sample = sample_due(serial), drive = drive_due(serial);
    return sample < drive ? sample : drive;
}

static void drive(struct serial *serial, uint64_t now)
{
    if (!serial->sending || serial->bit == BITS_PER_BYTE) {
        const uint64_t start = serial->sending ? drive_due(serial) : now;
        if (!serial_take(serial))
            return;
        serial->began = start;
        serial->bit = 0;
    }
    const unsigned bit = serial->bit++;
    const bool level = bit == BITS_PER_BYTE - 1 || (bit > 0 && serial->outgoing >> (bit - 1) & 1);
    board_drive(serial->board, serial->board->kind->rx, level);
}

void soft_uart_step(struct serial *serial, uint64_t now)
{
    listen(serial, now);
    if (now >= drive_due(serial))
        drive(serial, now);
}
