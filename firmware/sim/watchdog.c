#include "watchdog.h"

#include <string.h>

#include <avr_watchdog.h>

enum { WDE = 1u << 3, WDCE = 1u << 4, WDIE = 1u << 6, WDIF = 1u << 7, PRESCALER = 0x27u };
enum { WDRF = 1u << 3 };
enum { OSCILLATOR_HZ = 128000, SHORTEST = 2048, CHANGE_CYCLES = 4 };

static struct watchdog *the_watchdog; /* simavr hands its own module, not ours, to the WDR instruction */

static avr_cycle_count_t period(const struct watchdog *watchdog, const avr_t *avr)
{
    const uint8_t control = avr->data[watchdog->control];
    const unsigned exponent = (control & 0x07u) | (control & 0x20u) >> 2;
    return ((avr_cycle_count_t)SHORTEST << exponent) * avr->frequency / OSCILLATOR_HZ;
}

static avr_cycle_count_t expire(avr_t *avr, avr_cycle_count_t when, void *param)
{
    struct watchdog *watchdog = param;
    uint8_t *control = &avr->data[watchdog->control];
    (void)when;
    if (*control & WDIE) {
        *control |= WDIF;
        avr_raise_interrupt(avr, watchdog->interrupt);
        watchdog->fed = avr->cycle;
        return avr->cycle + period(watchdog, avr);
    }
    watchdog->bite(watchdog->owner);
    return 0;
}

static void arm(struct watchdog *watchdog, avr_t *avr)
{
    avr_cycle_timer_cancel(avr, expire, watchdog);
    if (!(avr->data[watchdog->control] & (WDE | WDIE)))
        return;
    const avr_cycle_count_t due = watchdog->fed + period(watchdog, avr);
    avr_cycle_timer_register(avr, due > avr->cycle ? due - avr->cycle : 1, expire, watchdog);
}

static void write_control(avr_t *avr, avr_io_addr_t address, uint8_t value, void *param)
{
    struct watchdog *watchdog = param;
    const uint8_t old = avr->data[address];
    const bool running = old & (WDE | WDIE);
    uint8_t now = (uint8_t)((old & (WDE | PRESCALER)) | (value & WDIE) | (old & WDIF & ~value));

    if ((value & WDCE) && (value & WDE)) {
        watchdog->change_until = avr->cycle + CHANGE_CYCLES + 1; /* STS stamps its first cycle */
        now |= WDE | WDCE;
    } else if (avr->cycle <= watchdog->change_until) {
        now = (uint8_t)((now & ~(WDE | PRESCALER)) | (value & (WDE | PRESCALER)));
        watchdog->change_until = 0;
    } else {
        now |= value & WDE;
    }
    if (avr->data[watchdog->status] & WDRF)
        now |= WDE;
    avr->data[address] = now;
    if (!running)
        watchdog->fed = avr->cycle;
    arm(watchdog, avr);
}

static uint8_t read_control(avr_t *avr, avr_io_addr_t address, void *param)
{
    const struct watchdog *watchdog = param;
    if (avr->cycle > watchdog->change_until)
        avr->data[address] &= (uint8_t)~WDCE;
    return avr->data[address];
}

static int feed(avr_io_t *io, uint32_t control, void *param)
{
    (void)param;
    if (control != AVR_IOCTL_WATCHDOG_RESET)
        return -1;
    the_watchdog->fed = io->avr->cycle;
    arm(the_watchdog, io->avr);
    return 0;
}

bool watchdog_attach(struct watchdog *watchdog, avr_t *avr, void (*bite)(void *owner), void *owner)
{
    avr_io_t *io = avr->io_port;
    while (io && strcmp(io->kind, "watchdog") != 0)
        io = io->next;
    if (!io)
        return false;
    avr_watchdog_t *module = (avr_watchdog_t *)io;
    *watchdog = (struct watchdog){
        .control = module->wde.reg, .status = module->wdrf.reg, .interrupt = &module->watchdog,
        .bite = bite, .owner = owner,
    };
    the_watchdog = watchdog;
    io->ioctl = feed;
    const unsigned place = AVR_DATA_TO_IO(watchdog->control);
    avr->io[place].w.c = write_control;
    avr->io[place].w.param = watchdog;
    avr->io[place].r.c = read_control;
    avr->io[place].r.param = watchdog;
    return true;
}

void watchdog_after_reset(struct watchdog *watchdog, avr_t *avr, bool by_watchdog)
{
    avr->data[watchdog->control] = by_watchdog ? WDE : 0;
    watchdog->fed = avr->cycle;
    watchdog->change_until = 0;
    arm(watchdog, avr);
}
