/* The board on a pseudo-terminal, paced to the wall clock or as fast as it goes. */
#ifndef PORT_H
#define PORT_H

#include <stdio.h>

#include "machine.h"
#include "options.h"

/* Runs until a signal or the parent ends it; returns the exit status. */
int port_run(struct machine *machine, const struct options *options, FILE *out);

#endif
