/* The data line of WS2812 pixels, decoded from its edges. Pure: knows neither chip nor output. Times are in cycles. */
#ifndef WAVEFORM_H
#define WAVEFORM_H

#include <stdbool.h>
#include <stdint.h>

enum { FRAME_BITS = 64 * 24, FRAME_ERROR = 200 };

struct range {
    uint32_t least, greatest; /* least > greatest: none measured */
};

struct frame {
    uint64_t shown;                /* when the last bit had been sent */
    uint64_t low_before;           /* low time before the first bit */
    uint8_t bytes[FRAME_BITS / 8]; /* green, red, blue of each pixel, as sent */
    unsigned bits;
    struct range zero_high, one_high, period;
};

struct waveform {
    bool level;
    uint64_t rose, fell;
    struct frame frame;
    void (*on_frame)(void *listener, const struct frame *frame);
    void *listener;
};

void waveform_start(struct waveform *waveform, void (*on_frame)(void *listener, const struct frame *frame),
                    void *listener);
void waveform_edge(struct waveform *waveform, bool level, uint64_t when);

/* When the frame begun will be over if the line stays low; UINT64_MAX where none has begun. */
uint64_t waveform_due(const struct waveform *waveform);

/* Hand over the frame that is over by now. */
void waveform_poll(struct waveform *waveform, uint64_t now);

/* Write what is wrong with a frame into text (empty: nothing). */
void frame_error(const struct frame *frame, char text[FRAME_ERROR]);

#endif
