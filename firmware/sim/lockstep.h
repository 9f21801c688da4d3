/* Time that moves on request only: commands on standard input, one JSON line an answer. */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include <stdio.h>

#include "machine.h"

/* Returns the exit status. */
int lockstep_run(struct machine *machine, FILE *commands, FILE *answers);

#endif
