#include "serial.h"

bool serial_attach(struct serial *serial, struct board *board, void (*on_byte)(void *, uint8_t), void *listener)
{
    *serial = (struct serial){.board = board, .on_byte = on_byte, .listener = listener};
    if (board->kind->hardware_uart)
        return hardware_uart_attach(serial);
    soft_uart_attach(serial);
    return true;
}

size_t serial_room(const struct serial *serial)
{
    return SERIAL_QUEUE - serial->waiting;
}

size_t serial_feed(struct serial *serial, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;
    for (; taken < count && serial->waiting < SERIAL_QUEUE; taken++)
        serial->queue[(serial->head + serial->waiting++) % SERIAL_QUEUE] = bytes[taken];
    return taken;
}

bool serial_take(struct serial *serial)
{
    serial->sending = serial->waiting > 0;
    if (!serial->sending)
        return false;
    serial->outgoing = serial->queue[serial->head];
    serial->head = (serial->head + 1) % SERIAL_QUEUE;
    serial->waiting--;
    return true;
}

uint64_t serial_due(const struct serial *serial)
{
    return serial->uart ? hardware_uart_due(serial) : soft_uart_due(serial);
}

void serial_step(struct serial *serial, uint64_t now)
{
    if (serial->uart)
        hardware_uart_step(serial, now);
    else
        soft_uart_step(serial, now);
}

uint32_t serial_baud(const struct serial *serial)
{
    return serial->uart ? hardware_uart_baud(serial) : serial->board->kind->baud;
}
