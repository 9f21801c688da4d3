/* The data of replies, see PROTOCOL.md; each puts its fields into the reply being built. */
#ifndef REPORTS_H
#define REPORTS_H

#include <stdint.h>

/* Puts what a command is answered with behind OK. */
void report(uint8_t command);

/* The host knows from now on that the board was reset. */
void report_identified(void);

/* The setting that GET_CONFIG reports. */
void report_about_setting(uint8_t code);

#endif
