#include "sequence.h"

#include "board.h"
#include "light.h"
#include "link.h"
#include "show.h"

/* A step is drawn ahead of its time, which drawing would delay by more or less. Before the first there is time for what
 * the command itself has taken. */
enum { AHEAD_MS = 3, START_MS = AHEAD_MS + 5 };

static step_t steps[MAX_STEPS];
static uint8_t playing;      /* steps; 0: none runs */
static uint8_t played;       /* of these in this round */
static uint16_t rounds_left; /* this one too; 0: without end */
static uint16_t left_ms;     /* of the step shown */
static uint16_t next_ms;     /* of the step drawn ahead */

step_t *sequence_step(uint8_t step) { return &steps[step]; }

void sequence_start(uint8_t count, uint16_t repeats)
{
    playing = count;
    played = 0;
    rounds_left = repeats;
    left_ms = START_MS;
}

void sequence_stop(void) { playing = 0; }

bool sequence_running(void) { return playing; }

bool sequence_starting(void) { return playing && played == 0; }

static void draw_next(void)
{
    if (played == playing) {
        if (rounds_left == 1)
            return;
        if (rounds_left)
            rounds_left--;
        played = 0;
    }
    const step_t *const step = &steps[played++];
    light_pattern(step->pattern, step->position, step->rgb, LIGHT_DRAW);
    show_hold();
    next_ms = (uint16_t)step->duration_ms[0] << 8 | step->duration_ms[1];
}

void sequence_tick(void)
{
    if (!playing)
        return;
    left_ms--;
    if (left_ms == AHEAD_MS) {
        draw_next();
    } else if (left_ms == 0) {
        if (show_pending()) {
            show_release();
            left_ms = next_ms;
        } else {
            sequence_stop();
            light_dark();
            link_forget();
        }
    }
}
