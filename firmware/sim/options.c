#include "options.h"

#include <getopt.h>
#include <stdio.h>

static const char USAGE[] =
    "usage: ringsim --board uno|trinket [--firmware FILE.elf|.hex] [--bootloader FILE.hex] [--eeprom FILE]\n"
    "               [--lockstep | --free-running] [--reset-on-open] [--events] [--flash-dump FILE]\n";

static const struct option NAMES[] = {
    {"board", required_argument, NULL, 'b'},       {"firmware", required_argument, NULL, 'f'},
    {"bootloader", required_argument, NULL, 'l'},  {"eeprom", required_argument, NULL, 'e'},
    {"flash-dump", required_argument, NULL, 'd'},  {"lockstep", no_argument, NULL, 's'},
    {"free-running", no_argument, NULL, 'r'},      {"reset-on-open", no_argument, NULL, 'o'},
    {"events", no_argument, NULL, 'v'},            {NULL, 0, NULL, 0},
};

static bool complain(const char *what)
{
    fprintf(stderr, "ringsim: %s\n%s", what, USAGE);
    return false;
}

bool options_read(struct options *options, int argc, char **argv)
{
    const char *board = NULL;
    *options = (struct options){0};
    for (int option; (option = getopt_long(argc, argv, "", NAMES, NULL)) != -1;) {
        switch (option) {
        case 'b': board = optarg; break;
        case 'f': options->firmware = optarg; break;
        case 'l': options->bootloader = optarg; break;
        case 'e': options->eeprom = optarg; break;
        case 'd': options->flash_dump = optarg; break;
        case 's': options->lockstep = true; break;
        case 'r': options->free_running = true; break;
        case 'o': options->reset_on_open = true; break;
        case 'v': options->events = true; break;
        default: return complain("unknown option");
        }
    }
    if (optind < argc)
        return complain("everything is given by options");
    options->kind = board ? board_kind_named(board) : NULL;
    if (!options->kind)
        return complain("give --board uno or --board trinket");
    if (!options->firmware && !options->bootloader)
        return complain("give a program, a bootloader or both");
    if (options->bootloader && !options->kind->hardware_uart)
        return complain("the trinket's bootloader is USB, which is not simulated");
    if (options->lockstep && (options->free_running || options->reset_on_open))
        return complain("--lockstep has no port and no pace");
    return true;
}
