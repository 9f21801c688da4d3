/* What the simulator tells, as JSON objects without a line's end. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "board.h"
#include "waveform.h"

void report_frame(FILE *out, const struct frame *frame);
void report_trigger(FILE *out, bool level, uint64_t when);
void report_reset(FILE *out, enum reset_cause cause, uint64_t when);

#endif
