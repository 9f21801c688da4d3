#include "report.h"

#include <inttypes.h>

#include "units.h"

static void report_range(FILE *out, const char *name, const struct range *range)
{
    if (range->least > range->greatest)
        fprintf(out, ", \"%s\": null", name);
    else
        fprintf(out, ", \"%s\": [%" PRIu32 ", %" PRIu32 "]", name, cycles_to_ns(range->least),
                cycles_to_ns(range->greatest));
}

void report_frame(FILE *out, const struct frame *frame)
{
    const unsigned bits = frame->bits < FRAME_BITS ? frame->bits : FRAME_BITS;
    char error[FRAME_ERROR];

    fprintf(out, "{\"t_s\": %.6f, \"pixels\": [", cycles_to_s(frame->shown));
    for (unsigned pixel = 0; pixel < bits / 24; pixel++) {
        const uint8_t *sent = frame->bytes + 3 * pixel;
        fprintf(out, "%s\"%02x%02x%02x\"", pixel ? ", " : "", sent[1], sent[0], sent[2]);
    }
    fputc(']', out);
    report_range(out, "t0h_ns", &frame->zero_high);
    report_range(out, "t1h_ns", &frame->one_high);
    report_range(out, "bit_ns", &frame->period);
    fprintf(out, ", \"latch_us\": %" PRIu64, cycles_to_us(frame->low_before));
    frame_error(frame, error);
    if (error[0])
        fprintf(out, ", \"error\": \"%s\"", error);
    fputc('}', out);
}

void report_trigger(FILE *out, bool level, uint64_t when)
{
    fprintf(out, "{\"t_s\": %.6f, \"event\": \"trigger\", \"level\": %d}", cycles_to_s(when), level);
}

void report_reset(FILE *out, enum reset_cause cause, uint64_t when)
{
    const char *name = cause == RESET_POWER ? "power" : cause == RESET_EXTERNAL ? "external" : "watchdog";
    fprintf(out, "{\"t_s\": %.6f, \"event\": \"reset\", \"cause\": \"%s\"}", cycles_to_s(when), name);
}
