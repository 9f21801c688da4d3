/* The chip's watchdog. simavr's own forgets its time-out and can't be switched off after it has fired. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include <sim_avr.h>

struct watchdog {
    avr_io_addr_t control, status; /* WDTCSR (or WDTCR), MCUSR */
    avr_int_vector_t *interrupt;
    avr_cycle_count_t fed;         /* when the counter was last zero */
    avr_cycle_count_t change_until; /* end of the four cycles in which WDE and WDP may change */
    void (*bite)(void *owner);
    void *owner;
};

/* Take the watchdog over from simavr; bite(owner) is called from within the core when it resets the chip. */
bool watchdog_attach(struct watchdog *watchdog, avr_t *avr, void (*bite)(void *owner), void *owner);

/* After a reset of the chip: off, or at its shortest time where the watchdog itself was the cause. */
void watchdog_after_reset(struct watchdog *watchdog, avr_t *avr, bool by_watchdog);

#endif
