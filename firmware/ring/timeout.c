#include "timeout.h"

#include <stdint.h>

#include "light.h"
#include "link.h"
#include "sequence.h"
#include "settings.h"
#include "statistics.h"
#include "store.h"

static bool local;
static bool passed;
static uint16_t since; /* ms since the host's last frame, or s since local light was chosen */
static uint16_t part_ms; /* of a second, for local light */

void timeout_heard_host(void)
{
    if (!local)
        since = 0;
}

static void begin(bool is_local)
{
    local = is_local;
    passed = false;
    since = 0;
}

void timeout_host_light(void) { begin(false); }

void timeout_local_light(void) { begin(true); }

bool timeout_local(void) { return local; }

bool timeout_passed(void) { return passed; }

static bool time_is_up(void)
{
    if (local && ++part_ms < 1000)
        return false;
    part_ms = 0;
    const uint16_t limit = setting(local ? SETTING_LOCAL_TIMEOUT_S : SETTING_HOST_TIMEOUT_MS);
    if (since < limit && ++since < limit)
        return false;
    return limit != 0;
}

void timeout_tick(void)
{
    if (!time_is_up() || store_busy() || (!sequence_running() && !light_lit()))
        return;
    if (!local) {
        passed = true;
        statistics_timeout();
    }
    sequence_stop();
    light_dark();
    link_forget();
}
