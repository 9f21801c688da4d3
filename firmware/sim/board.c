#include "board.h"

#include <stdio.h>
#include <string.h>

#include <avr_ioport.h>

enum { BURST_CYCLES = 16000 }; /* instructions between two looks at the timers; 1, the default, is ten times slower */

static const struct board_kind KINDS[] = {
    {.name = "uno", .chip = "atmega328p", .data = {'D', 6}, .trigger = {'B', 0}, .hardware_uart = true, .baud = 115200},
    {.name = "trinket", .chip = "attiny85", .data = {'B', 0}, .trigger = {'B', 3}, .tx = {'B', 1}, .rx = {'B', 2},
     .button = {'B', 4}, .baud = 19200},
};

const struct board_kind *board_kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, name) == 0)
            return &KINDS[i];
    return NULL;
}

static void no_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr, (void)cycles;
}

static avr_cycle_count_t end_burst(avr_t *avr, avr_cycle_count_t when, void *param)
{
    (void)avr, (void)when, (void)param;
    return 0;
}

static void bite(void *owner)
{
    struct board *board = owner;
    board->pending_reset |= RESET_WATCHDOG;
}

bool board_make(struct board *board, const struct board_kind *kind)
{
    *board = (struct board){.kind = kind, .avr = avr_make_mcu_by_name(kind->chip)};
    if (!board->avr) {
        fprintf(stderr, "ringsim: this simavr does not know the %s\n", kind->chip);
        return false;
    }
    avr_init(board->avr);
    board->avr->frequency = CYCLES_PER_SECOND;
    board->avr->run_cycle_limit = BURST_CYCLES;
    board->avr->sleep = no_sleep;
    board->avr->codeend = board->avr->flashend; /* else a jump into what a bootloader wrote counts as a crash */
    if (!watchdog_attach(&board->watchdog, board->avr, bite, board)) {
        fprintf(stderr, "ringsim: this simavr's %s has no watchdog\n", kind->chip);
        return false;
    }
    eeprom_attach(&board->eeprom, board);
    return true;
}

void *board_module(const struct board *board, const char *kind)
{
    for (avr_io_t *io = board->avr->io_port; io; io = io->next)
        if (strcmp(io->kind, kind) == 0)
            return io;
    return NULL;
}

uint64_t board_now(const struct board *board)
{
    return board->base + board->avr->cycle;
}

avr_irq_t *board_pin_irq(const struct board *board, struct pin pin)
{
    return avr_io_getirq(board->avr, AVR_IOCTL_IOPORT_GETIRQ(pin.port), pin.bit);
}

void board_drive(struct board *board, struct pin pin, bool level)
{
    const uint8_t bit = (uint8_t)(1u << pin.bit);
    board->input_mask |= bit;
    board->input_levels = level ? board->input_levels | bit : board->input_levels & (uint8_t)~bit;
    /* Told to the port too: it would raise the pin again with each write to PORT where the pull-up is on. */
    avr_ioport_external_t outside = {
        .name = (unsigned char)pin.port & 0x7f, .mask = board->input_mask, .value = board->input_levels};
    avr_ioctl(board->avr, AVR_IOCTL_IOPORT_SET_EXTERNAL(pin.port), &outside);
    avr_raise_irq(board_pin_irq(board, pin), level);
}

/* A reset clears the port's registers but not the values that simavr keeps for its pins, which are passed on only when
   they change. */
static void settle_pin(struct board *board, struct pin pin, bool level)
{
    if (!pin.port)
        return;
    avr_irq_t *irq = board_pin_irq(board, pin);
    if (irq->value == (uint32_t)level)
        irq->value = !level;
    avr_raise_irq(irq, level);
}

void board_reset(struct board *board, enum reset_cause cause)
{
    avr_t *avr = board->avr;
    const struct board_kind *kind = board->kind;
    const uint8_t kept = cause == RESET_POWER ? 0 : avr->data[board->watchdog.status];
    const uint64_t now = board_now(board);

    board->pending_reset = 0;
    if (cause == RESET_POWER)
        memset(avr->data, 0, avr->ramend + 1u);
    avr_reset(avr);
    board->base = now - avr->cycle;
    avr->data[board->watchdog.status] = (uint8_t)(kept | cause);
    watchdog_after_reset(&board->watchdog, avr, cause == RESET_WATCHDOG);

    settle_pin(board, kind->data, false);
    settle_pin(board, kind->trigger, false);
    settle_pin(board, kind->tx, true);
    settle_pin(board, kind->rx, !(board->input_mask & 1u << kind->rx.bit) || board->input_levels & 1u << kind->rx.bit);
    settle_pin(board, kind->button,
               !(board->input_mask & 1u << kind->button.bit) || board->input_levels & 1u << kind->button.bit);
    if (board->on_reset)
        board->on_reset(board->listener, cause);
}

bool board_run_until(struct board *board, uint64_t when)
{
    avr_t *avr = board->avr;
    while (board_now(board) < when) {
        avr_cycle_timer_register(avr, when - board_now(board), end_burst, board);
        while (board_now(board) < when && !board->pending_reset) {
            const int state = avr_run(avr);
            if (state == cpu_Crashed || state == cpu_Done || state == cpu_Stopped) {
                fprintf(stderr, "ringsim: the %s %s after %.6f s\n", board->kind->chip,
                        state == cpu_Done ? "went to sleep for ever" : "crashed",
                        cycles_to_s(board_now(board)));
                return false;
            }
        }
        avr_cycle_timer_cancel(avr, end_burst, board);
        if (board->pending_reset)
            board_reset(board, RESET_WATCHDOG);
    }
    return true;
}
