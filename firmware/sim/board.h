/* One simulated board: the chip, its pins, its resets. Time is counted in cycles of 16 MHz since power-on. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include <sim_avr.h>

#include "eeprom.h"
#include "units.h"
#include "watchdog.h"


enum reset_cause { RESET_POWER = 1u << 0, RESET_EXTERNAL = 1u << 1, RESET_WATCHDOG = 1u << 3 }; /* bits of MCUSR */

struct pin {
    char port; /* 'B', 'D'; 0: the board has no such pin */
    uint8_t bit;
};

struct board_kind {
    const char *name;
    const char *chip;
    struct pin data, trigger, tx, rx, button;
    bool hardware_uart;
    uint32_t baud; /* what a program finds on the port that sets no speed of its own */
};

struct board {
    const struct board_kind *kind;
    avr_t *avr;
    struct watchdog watchdog;
    struct eeprom eeprom;
    uint64_t base;           /* cycles before the chip's own counter was last set to zero */
    unsigned pending_reset;  /* causes, 0: none */
    uint8_t input_mask, input_levels; /* pins of port B that are driven from outside */
    void (*on_reset)(void *listener, enum reset_cause cause); /* after the chip was reset */
    void *listener;
};

const struct board_kind *board_kind_named(const char *name);

/* Make the chip without a program; false with a message on standard error where simavr can't. */
bool board_make(struct board *board, const struct board_kind *kind);

/* Put a program (.elf or .hex) into flash; false with a message where it can't be read or does not fit. */
bool board_load(struct board *board, const char *path);

/* The same for a bootloader (.hex), where every reset then begins. */
bool board_load_bootloader(struct board *board, const char *path);

bool board_load_eeprom(struct board *board, const char *path); /* a missing file is a blank EEPROM */
bool board_save_eeprom(const struct board *board, const char *path);
bool board_save_flash(const struct board *board, const char *path);

uint64_t board_now(const struct board *board);
void board_reset(struct board *board, enum reset_cause cause);

/* Run to a time (an instruction may end some cycles later); false with a message where the core crashed. */
bool board_run_until(struct board *board, uint64_t when);

/* An IO module of simavr by its kind ("uart", "eeprom", "watchdog"); NULL where the chip has none. */
void *board_module(const struct board *board, const char *kind);

avr_irq_t *board_pin_irq(const struct board *board, struct pin pin);

/* Drive an input pin from outside. */
void board_drive(struct board *board, struct pin pin, bool level);

#endif
