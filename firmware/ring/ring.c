#include "ring.h"

#include <avr/interrupt.h>
#include <avr/wdt.h>

#include "board.h"
#include "button.h"
#include "clock.h"
#include "commands.h"
#include "light.h"
#include "link.h"
#include "memory.h"
#include "sequence.h"
#include "settings.h"
#include "show.h"
#include "statistics.h"
#include "store.h"
#include "timeout.h"

void ring_start(void)
{
    memory_paint();
    statistics_start();
    board_start();
    settings_defaults();
    if (store_load())
        timeout_local_light();
    show_start();
    show_request();
    wdt_enable(WDTO_250MS);
    sei();
}

void ring_pass(void)
{
    wdt_reset();
    show_poll();
    link_poll();
    store_poll();
    if (clock_tick()) {
        store_tick();
        timeout_tick();
        sequence_tick();
        button_tick();
    }
    commands_poll();
}
