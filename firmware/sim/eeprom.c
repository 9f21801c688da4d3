#include "eeprom.h"

#include <stdbool.h>

#include <avr_eeprom.h>

#include "board.h"

enum { EEPE = 1u << 1, EEMPE = 1u << 2, SPLIT = 0x30u }; /* EECR; SPLIT: erase only or write only */
enum { WRITE_US = 3400, SPLIT_WRITE_US = 1800 };

static avr_cycle_count_t written(avr_t *avr, avr_cycle_count_t when, void *param)
{
    const struct eeprom *eeprom = param;
    (void)when;
    avr->data[((avr_eeprom_t *)eeprom->module)->r_eecr] &= (uint8_t)~EEPE;
    return 0;
}

static void write_control(avr_t *avr, avr_io_addr_t address, uint8_t value, void *param)
{
    struct eeprom *eeprom = param;
    const bool busy = avr_cycle_timer_status(avr, written, eeprom) != 0;
    const bool starts = !busy && (avr->data[address] & EEMPE) && (value & EEPE);
    eeprom->write_control(avr, address, busy ? value & (uint8_t)~EEPE : value, eeprom->module);
    if (starts)
        avr_cycle_timer_register(avr, us_to_cycles(value & SPLIT ? SPLIT_WRITE_US : WRITE_US), written, eeprom);
    if (busy || starts)
        avr->data[address] |= EEPE;
}

void eeprom_attach(struct eeprom *eeprom, struct board *board)
{
    eeprom->module = board_module(board, "eeprom");
    const unsigned place = AVR_DATA_TO_IO(((avr_eeprom_t *)eeprom->module)->r_eecr);
    eeprom->write_control = board->avr->io[place].w.c;
    board->avr->io[place].w.c = write_control;
    board->avr->io[place].w.param = eeprom;
}
