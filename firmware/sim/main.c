/* ringsim: the illumination firmware in a simulated chip. See README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lockstep.h"
#include "machine.h"
#include "options.h"
#include "port.h"

/* simavr prints; what it says belongs to standard error, our lines alone to standard output. */
static FILE *own_output(void)
{
    const int kept = dup(STDOUT_FILENO);
    if (kept < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return NULL;
    return fdopen(kept, "w");
}

static void log_errors_only(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr;
    if (level == LOG_ERROR)
        vfprintf(stderr, format, arguments);
}

static bool load(struct board *board, const struct options *options)
{
    return board_make(board, options->kind)
        && (!options->firmware || board_load(board, options->firmware))
        && (!options->bootloader || board_load_bootloader(board, options->bootloader))
        && (!options->eeprom || board_load_eeprom(board, options->eeprom));
}

static bool save(const struct board *board, const struct options *options)
{
    return (!options->eeprom || board_save_eeprom(board, options->eeprom))
        && (!options->flash_dump || board_save_flash(board, options->flash_dump));
}

int main(int argc, char **argv)
{
    static struct machine machine;
    struct options options;
    if (!options_read(&options, argc, argv))
        return 2;
    FILE *out = own_output();
    if (!out) {
        perror("ringsim: standard output");
        return EXIT_FAILURE;
    }
    avr_global_logger_set(log_errors_only);
    if (!load(&machine.board, &options))
        return 2;
    const int status = options.lockstep ? lockstep_run(&machine, stdin, out) : port_run(&machine, &options, out);
    return save(&machine.board, &options) ? status : EXIT_FAILURE;
}
