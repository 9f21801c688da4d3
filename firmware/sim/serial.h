/* The serial line between host and board: bytes that wait for the board, and what the chip does with them. */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <avr_uart.h>

#include "board.h"

enum { SERIAL_QUEUE = 4096, BITS_PER_BYTE = 10, LEAVING = 2 };

struct serial {
    struct board *board;
    void (*on_byte)(void *listener, uint8_t byte); /* a byte from the board */
    void *listener;

    uint8_t queue[SERIAL_QUEUE]; /* to the board */
    size_t head, waiting;

    bool sending;    /* a byte is on its way to the board */
    uint8_t outgoing;
    uint64_t began;  /* when its start bit began */
    unsigned bit;    /* of a bit-banged byte: the next to drive */

    avr_uart_t *uart;
    avr_io_read_t read_data;   /* simavr's own handlers of the data register */
    avr_io_write_t write_data;
    uint8_t leaving[LEAVING];      /* bytes from the UART that are still on the wire */
    uint64_t arrives[LEAVING];
    unsigned on_wire;

    bool receiving;    /* a bit-banged byte is on its way from the board */
    bool line;         /* level of the board's bit-banged output */
    uint8_t incoming;
    uint64_t heard;    /* when its start bit began */
    unsigned sample;   /* the next bit to sample */
};

bool serial_attach(struct serial *serial, struct board *board, void (*on_byte)(void *, uint8_t), void *listener);

/* Queue bytes for the board; returns how many found room. */
size_t serial_feed(struct serial *serial, const uint8_t *bytes, size_t count);
size_t serial_room(const struct serial *serial);
bool serial_take(struct serial *serial); /* the next byte of the queue becomes the outgoing one; false: none waits */

uint64_t serial_due(const struct serial *serial); /* when serial_step is to be called next; UINT64_MAX: no need */
void serial_step(struct serial *serial, uint64_t now);
uint32_t serial_baud(const struct serial *serial); /* what the board has set, its usual rate where it has set none */

/* The two kinds of line, for serial.c. */
bool hardware_uart_attach(struct serial *serial);
uint64_t hardware_uart_due(const struct serial *serial);
void hardware_uart_step(struct serial *serial, uint64_t now);
uint32_t hardware_uart_baud(const struct serial *serial);

void soft_uart_attach(struct serial *serial);
uint64_t soft_uart_due(const struct serial *serial);
void soft_uart_step(struct serial *serial, uint64_t now);

#endif
