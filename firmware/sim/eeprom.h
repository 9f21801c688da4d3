/* The time that writing the EEPROM takes: simavr's is done at once. */
#ifndef EEPROM_H
#define EEPROM_H

#include <sim_avr.h>

struct board;

struct eeprom {
    avr_io_write_t write_control; /* simavr's own handler */
    void *module;
};

void eeprom_attach(struct eeprom *eeprom, struct board *board);

#endif
