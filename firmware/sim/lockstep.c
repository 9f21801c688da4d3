#include "lockstep.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

struct list { /* items of a JSON array, kept as text until the answer */
    FILE *stream;
    char *text;
    size_t length;
};

struct session {
    struct machine *machine;
    FILE *answers;
    struct list received, frames, events;
    bool crashed;
    uint64_t target; /* where time stands for the client; an instruction may have ended some cycles later */
};

static bool list_open(struct list *list)
{
    list->stream = open_memstream(&list->text, &list->length);
    return list->stream;
}

static FILE *list_item(struct list *list)
{
    if (ftell(list->stream) > 0)
        fputs(", ", list->stream);
    return list->stream;
}

static void list_print(struct list *list, FILE *out)
{
    fflush(list->stream);
    fwrite(list->text, 1, (size_t)ftell(list->stream), out);
    rewind(list->stream);
}

static void list_close(struct list *list)
{
    fclose(list->stream);
    free(list->text);
}

static void on_byte(void *self, uint8_t byte)
{
    fprintf(((struct session *)self)->received.stream, "%02x", byte);
}

static void on_frame(void *self, const struct frame *frame)
{
    report_frame(list_item(&((struct session *)self)->frames), frame);
}

static void on_trigger(void *self, bool level, uint64_t when)
{
    report_trigger(list_item(&((struct session *)self)->events), level, when);
}

static void on_reset(void *self, enum reset_cause cause, uint64_t when)
{
    report_reset(list_item(&((struct session *)self)->events), cause, when);
}

static bool feed_hex(struct serial *serial, const char *hex)
{
    unsigned value;
    int used;
    for (; sscanf(hex, "%2x%n", &value, &used) == 1 && used == 2; hex += 2) {
        const uint8_t byte = (uint8_t)value;
        if (serial_feed(serial, &byte, 1) == 0)
            return false;
    }
    return *hex == 0;
}

static bool advance(struct session *session, const char *us, const char *hex)
{
    char *end;
    const uint64_t span = strtoull(us, &end, 10);
    if (*end || (strcmp(hex, "-") != 0 && !feed_hex(&session->machine->serial, hex)))
        return false;
    session->target += us_to_cycles(span);
    session->crashed = !machine_run_until(session->machine, session->target);
    if (session->crashed)
        return true;
    FILE *out = session->answers;
    fprintf(out, "{\"t_us\": %" PRIu64 ", \"rx\": \"", cycles_to_us(session->target));
    list_print(&session->received, out);
    fputs("\", \"frames\": [", out);
    list_print(&session->frames, out);
    fputs("], \"events\": [", out);
    list_print(&session->events, out);
    fputs("]}\n", out);
    return fflush(out) == 0;
}

static bool reset(struct session *session, const char *cause)
{
    if (strcmp(cause, "external") == 0)
        machine_reset(session->machine, RESET_EXTERNAL);
    else if (strcmp(cause, "power") == 0)
        machine_reset(session->machine, RESET_POWER);
    else if (strcmp(cause, "watchdog") == 0)
        machine_reset(session->machine, RESET_WATCHDOG);
    else
        return false;
    return true;
}

/* False where the line is no command. */
static bool obey(struct session *session, char *line)
{
    char *rest;
    const char *verb = strtok_r(line, " \n", &rest);
    const char *first = verb ? strtok_r(NULL, " \n", &rest) : NULL;
    const char *second = first ? strtok_r(NULL, " \n", &rest) : NULL;
    if (second && strcmp(verb, "a") == 0)
        return advance(session, first, second);
    if (first && strcmp(verb, "button") == 0)
        return (*first == '0' || *first == '1') && machine_press(session->machine, *first == '1');
    return first && strcmp(verb, "reset") == 0 && reset(session, first);
}

int lockstep_run(struct machine *machine, FILE *commands, FILE *answers)
{
    struct session session = {.machine = machine, .answers = answers};
    if (!list_open(&session.received) || !list_open(&session.frames) || !list_open(&session.events))
        return EXIT_FAILURE;
    if (!machine_wire(machine, (struct observer){&session, on_byte, on_frame, on_trigger, on_reset}))
        return EXIT_FAILURE;
    machine_reset(machine, RESET_POWER);

    char *line = NULL;
    size_t room = 0;
    int status = EXIT_SUCCESS;
    while (status == EXIT_SUCCESS && getline(&line, &room, commands) > 0 && strcmp(line, "quit\n") != 0) {
        if (!obey(&session, line)) {
            fprintf(stderr, "ringsim: not understood, or not possible on this board: %s\n", line);
            status = 2;
        } else if (session.crashed) {
            status = EXIT_FAILURE;
        }
    }
    free(line);
    list_close(&session.received);
    list_close(&session.frames);
    list_close(&session.events);
    return status;
}
