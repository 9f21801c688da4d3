/* The command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

#include "board.h"

struct options {
    const struct board_kind *kind;
    const char *firmware, *bootloader, *eeprom, *flash_dump; /* paths, NULL: not given */
    bool lockstep, free_running, reset_on_open, events;
};

/* False with a message on standard error where the command line makes no sense. */
bool options_read(struct options *options, int argc, char **argv);

#endif
