/* The whole arrangement: board, serial line, pixels and trigger, run together to a given time. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "serial.h"
#include "waveform.h"

/* What happens while the machine runs; any may be NULL. */
struct observer {
    void *self;
    void (*byte)(void *self, uint8_t byte);
    void (*frame)(void *self, const struct frame *frame);
    void (*trigger)(void *self, bool level, uint64_t when);
    void (*reset)(void *self, enum reset_cause cause, uint64_t when);
};

struct machine {
    struct board board;
    struct serial serial;
    struct waveform waveform;
    struct observer observer;
    bool trigger;
};

/* Wire a machine around a board that has its program; power goes on with machine_reset(). */
bool machine_wire(struct machine *machine, struct observer observer);
void machine_reset(struct machine *machine, enum reset_cause cause);
bool machine_run_until(struct machine *machine, uint64_t when); /* false: the core crashed */
uint64_t machine_now(const struct machine *machine);
bool machine_press(struct machine *machine, bool pressed); /* false: this board has no button */

#endif
