/* What the board's memories hold: programs and bootloaders into flash, EEPROM from and to a file. */
#include <stdio.h>
#include <string.h>

#include <avr_eeprom.h>
#include <sim_elf.h>

#include "board.h"
#include "intel_hex.h"

static bool put_in_flash(void *self, uint32_t address, const uint8_t *bytes, size_t count)
{
    avr_t *avr = ((struct board *)self)->avr;
    if (address + count > avr->flashend + 1u)
        return false;
    memcpy(avr->flash + address, bytes, count);
    return true;
}

bool board_load(struct board *board, const char *path)
{
    const size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".hex") == 0)
        return intel_hex_read(path, put_in_flash, board);
    elf_firmware_t program = {0};
    if (elf_read_firmware(path, &program) != 0 || program.flashsize == 0) {
        fprintf(stderr, "ringsim: %s is no program for an AVR\n", path);
        return false;
    }
    if (!put_in_flash(board, program.flashbase, program.flash, program.flashsize)) {
        fprintf(stderr, "ringsim: %s does not fit the %s\n", path, board->kind->chip);
        return false;
    }
    return true;
}

enum { SMALLEST_SECTION = 512, LARGEST_SECTION = 4096 };

struct boot_image {
    struct board *board;
    uint8_t code[LARGEST_SECTION];
    uint32_t start;
    size_t length;
};

/* The code is what follows the first record without a gap; the rest (optiboot's version number) stays where it says. */
static bool put_in_boot_image(void *self, uint32_t address, const uint8_t *bytes, size_t count)
{
    struct boot_image *image = self;
    if (image->length == 0)
        image->start = address;
    else if (address != image->start + image->length)
        return put_in_flash(image->board, address, bytes, count);
    if (image->length + count > sizeof image->code)
        return false;
    memcpy(image->code + image->length, bytes, count);
    image->length += count;
    return true;
}

/* Debian's optiboot is compiled 20 bytes larger than the 512 that it is linked for. Its jumps are relative: it runs
   from the next larger boot section, where the fuses of a board that has it would begin. */
bool board_load_bootloader(struct board *board, const char *path)
{
    struct boot_image image = {.board = board};
    const uint32_t end = board->avr->flashend + 1u;
    if (!intel_hex_read(path, put_in_boot_image, &image))
        return false;
    if (image.start + image.length > end) {
        uint32_t section = SMALLEST_SECTION;
        while (section < image.length)
            section *= 2;
        image.start = end - section;
    }
    board->avr->reset_pc = image.start;
    return put_in_flash(board, image.start, image.code, image.length);
}

bool board_load_eeprom(struct board *board, const char *path)
{
    avr_eeprom_t *eeprom = board_module(board, "eeprom");
    FILE *file = fopen(path, "rb");
    if (!file)
        return true;
    const size_t got = fread(eeprom->eeprom, 1, eeprom->size, file);
    const bool whole = got == eeprom->size && fgetc(file) == EOF;
    fclose(file);
    if (!whole)
        fprintf(stderr, "ringsim: %s is no EEPROM of %u bytes\n", path, eeprom->size);
    return whole;
}

static bool save(const char *path, const uint8_t *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    const bool written = file && fwrite(bytes, 1, count, file) == count;
    if (!file || fclose(file) != 0 || !written) {
        perror(path);
        return false;
    }
    return true;
}

bool board_save_eeprom(const struct board *board, const char *path)
{
    const avr_eeprom_t *eeprom = board_module(board, "eeprom");
    return save(path, eeprom->eeprom, eeprom->size);
}

bool board_save_flash(const struct board *board, const char *path)
{
    return save(path, board->avr->flash, board->avr->flashend + 1u);
}
