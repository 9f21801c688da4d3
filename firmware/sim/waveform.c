#include "waveform.h"

#include <stdio.h>
#include <string.h>

#include "units.h"

enum { LATCH_US = 50, ONE_FROM_NS = 525 };

static const struct range NOTHING = {UINT32_MAX, 0};

static void include(struct range *range, uint64_t value)
{
    const uint32_t clipped = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    if (clipped < range->least)
        range->least = clipped;
    if (clipped > range->greatest)
        range->greatest = clipped;
}

static void begin(struct waveform *waveform)
{
    struct frame *frame = &waveform->frame;
    memset(frame, 0, sizeof *frame);
    frame->zero_high = frame->one_high = frame->period = NOTHING;
}

void waveform_start(struct waveform *waveform, void (*on_frame)(void *, const struct frame *), void *listener)
{
    *waveform = (struct waveform){.on_frame = on_frame, .listener = listener};
    begin(waveform);
}

void waveform_edge(struct waveform *waveform, bool level, uint64_t when)
{
    struct frame *frame = &waveform->frame;
    if (level == waveform->level)
        return;
    waveform->level = level;
    if (level) {
        waveform_poll(waveform, when);
        if (frame->bits)
            include(&frame->period, when - waveform->rose);
        else
            frame->low_before = when - waveform->fell;
        waveform->rose = when;
        return;
    }
    const uint64_t high = when - waveform->rose;
    const bool one = cycles_to_ns(high) >= ONE_FROM_NS;
    include(one ? &frame->one_high : &frame->zero_high, high);
    if (one && frame->bits < FRAME_BITS)
        frame->bytes[frame->bits / 8] |= (uint8_t)(0x80u >> frame->bits % 8);
    frame->bits++;
    frame->shown = waveform->fell = when;
}

uint64_t waveform_due(const struct waveform *waveform)
{
    return waveform->level || !waveform->frame.bits ? UINT64_MAX : waveform->fell + us_to_cycles(LATCH_US);
}

void waveform_poll(struct waveform *waveform, uint64_t now)
{
    const struct frame *frame = &waveform->frame;
    if (!frame->bits || now < waveform->fell + us_to_cycles(LATCH_US))
        return;
    waveform->on_frame(waveform->listener, frame);
    begin(waveform);
}

static int outside(const struct range *range, const char *name, unsigned least, unsigned greatest, char *text, int room)
{
    if (range->least > range->greatest)
        return 0;
    const uint32_t from = cycles_to_ns(range->least), to = cycles_to_ns(range->greatest);
    if (from >= least && to <= greatest)
        return 0;
    return snprintf(text, (size_t)room, "%s %u-%u ns is outside %u-%u ns; ", name, from, to, least, greatest);
}

void frame_error(const struct frame *frame, char text[FRAME_ERROR])
{
    int used = 0;
    text[0] = 0;
    if (frame->bits > FRAME_BITS)
        used += snprintf(text, FRAME_ERROR, "%u bits are more than %d pixels; ", frame->bits, FRAME_BITS / 24);
    else if (frame->bits % 24)
        used += snprintf(text, FRAME_ERROR, "%u bits are no whole pixels; ", frame->bits);
    used += outside(&frame->zero_high, "T0H", 200, 500, text + used, FRAME_ERROR - used);
    used += outside(&frame->one_high, "T1H", 550, 850, text + used, FRAME_ERROR - used);
    used += outside(&frame->period, "bit", 1150, 1650, text + used, FRAME_ERROR - used);
    if (used)
        text[used - 2] = 0; /* the last separator */
}
