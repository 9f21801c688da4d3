#include "port.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "terminal.h"

enum { SLICE_US = 500, MOST_LAG_US = 100000, OUTBOX = 4096 };

struct port {
    struct machine *machine;
    const struct options *options;
    FILE *out;
    struct terminal terminal;
    uint8_t outbox[OUTBOX];
    size_t filled;
    bool open; /* some program has the terminal open */
    /* Watching its number, not PR_SET_PDEATHSIG: that fires when the thread ends that started this process. */
    pid_t parent;
};

static volatile sig_atomic_t asked_to_end, asked_to_reset, asked_to_dump;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        asked_to_reset = 1;
    else if (number == SIGUSR2)
        asked_to_dump = 1;
    else
        asked_to_end = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a signal ends the wait for bytes */
    static const int caught[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        sigaction(caught[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void end_line(struct port *port)
{
    if (fputc('\n', port->out) == EOF || fflush(port->out) != 0)
        asked_to_end = 1; /* nobody reads any more */
}

static void on_byte(void *self, uint8_t byte)
{
    struct port *port = self;
    if (port->open && port->filled < OUTBOX)
        port->outbox[port->filled++] = byte;
}

static void on_frame(void *self, const struct frame *frame)
{
    struct port *port = self;
    report_frame(port->out, frame);
    end_line(port);
}

static void on_trigger(void *self, bool level, uint64_t when)
{
    struct port *port = self;
    if (!port->options->events)
        return;
    report_trigger(port->out, level, when);
    end_line(port);
}

static void on_reset(void *self, enum reset_cause cause, uint64_t when)
{
    struct port *port = self;
    if (cause != RESET_POWER && port->options->eeprom)
        board_save_eeprom(&port->machine->board, port->options->eeprom);
    if (!port->options->events)
        return;
    report_reset(port->out, cause, when);
    end_line(port);
}

/* What crosses a line whose ends have different rates is noise. */
static void garble_foreign_rate(const struct port *port, uint8_t *bytes, size_t count)
{
    const uint32_t host = terminal_baud(&port->terminal), board = serial_baud(&port->machine->serial);
    if (host >= board - board / 20 && host <= board + board / 20)
        return;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(bytes[i] * 0x6d) ^ 0xa8;
}

static void listen_to_host(struct port *port)
{
    uint8_t bytes[256];
    size_t room = serial_room(&port->machine->serial);
    const bool opened = terminal_was_opened(&port->terminal), open = terminal_is_open(&port->terminal);
    if (opened && port->options->reset_on_open)
        asked_to_reset = 1;
    room = room < sizeof bytes ? room : sizeof bytes;
    if (asked_to_reset) {
        asked_to_reset = 0;
        machine_reset(port->machine, RESET_EXTERNAL);
    }
    /* Bytes of a program whose opening was not told yet wait for the reset that it brings. */
    const size_t got = port->terminal.users > 0 || !open ? terminal_read(&port->terminal, bytes, room) : 0;
    garble_foreign_rate(port, bytes, got);
    serial_feed(&port->machine->serial, bytes, got);
    if (!open && port->open)
        terminal_flush(&port->terminal);
    port->open = open;
}

static void tell_host(struct port *port)
{
    garble_foreign_rate(port, port->outbox, port->filled);
    const size_t told = terminal_write(&port->terminal, port->outbox, port->filled);
    memmove(port->outbox, port->outbox + told, port->filled - told);
    port->filled -= told;
}

static uint64_t wall_cycles(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CYCLES_PER_SECOND + (uint64_t)now.tv_nsec * CYCLES_PER_US / 1000;
}

/* The time to run to. A machine held up for long goes on from where it was, rather than racing through time-outs. */
static uint64_t target(const struct port *port, uint64_t *start)
{
    const uint64_t now = machine_now(port->machine);
    if (port->options->free_running)
        return now + us_to_cycles(SLICE_US);
    uint64_t due = wall_cycles() - *start;
    if (due > now + us_to_cycles(MOST_LAG_US)) {
        *start += due - now - us_to_cycles(SLICE_US);
        due = now + us_to_cycles(SLICE_US);
    }
    return due;
}

static bool run(struct port *port)
{
    uint64_t start = wall_cycles() - machine_now(port->machine);
    while (!asked_to_end && getppid() == port->parent) {
        listen_to_host(port);
        if (!machine_run_until(port->machine, target(port, &start)))
            return false;
        tell_host(port);
        if (asked_to_dump && port->options->flash_dump)
            board_save_flash(&port->machine->board, port->options->flash_dump);
        asked_to_dump = 0;
        if (!port->options->free_running)
            terminal_wait(&port->terminal, SLICE_US);
    }
    return true;
}

int port_run(struct machine *machine, const struct options *options, FILE *out)
{
    static struct port port;
    port = (struct port){.machine = machine, .options = options, .out = out, .parent = getppid()};
    catch_signals();
    if (!machine_wire(machine, (struct observer){&port, on_byte, on_frame, on_trigger, on_reset}))
        return EXIT_FAILURE;
    if (!terminal_open(&port.terminal, machine->board.kind->baud)) {
        perror("ringsim: pseudo-terminal");
        return EXIT_FAILURE;
    }
    fprintf(out, "{\"port\": \"%s\", \"board\": \"%s\", \"pid\": %d}", port.terminal.name, machine->board.kind->name,
            (int)getpid());
    end_line(&port);
    machine_reset(machine, RESET_POWER);
    const bool well = run(&port);
    terminal_close(&port.terminal);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
