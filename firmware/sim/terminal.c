#include "terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const struct {
    speed_t code;
    uint32_t baud;
} RATES[] = {
    {B1200, 1200},   {B2400, 2400},     {B4800, 4800},     {B9600, 9600},     {B19200, 19200},     {B38400, 38400},
    {B57600, 57600}, {B115200, 115200}, {B230400, 230400}, {B500000, 500000}, {B1000000, 1000000},
};

enum { UNEXPLAINED_POLLS = 200 };

/* The other end is opened once and closed again: only a terminal that was closed tells that nobody has it open. */
static bool make_raw(const char *name, uint32_t baud)
{
    struct termios settings;
    const int slave = open(name, O_RDWR | O_NOCTTY);
    bool set = slave >= 0 && tcgetattr(slave, &settings) == 0;
    if (set) {
        cfmakeraw(&settings);
        for (size_t i = 0; i < sizeof RATES / sizeof *RATES; i++)
            if (RATES[i].baud == baud)
                cfsetspeed(&settings, RATES[i].code);
        set = tcsetattr(slave, TCSANOW, &settings) == 0;
    }
    if (slave >= 0)
        close(slave);
    return set;
}

static bool watch(struct terminal *terminal)
{
    terminal->users = 0;
    terminal->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return terminal->watch >= 0 && inotify_add_watch(terminal->watch, terminal->name, IN_OPEN | IN_CLOSE) >= 0;
}

bool terminal_open(struct terminal *terminal, uint32_t baud)
{
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    return terminal->master >= 0 && grantpt(terminal->master) == 0 && unlockpt(terminal->master) == 0
        && ptsname_r(terminal->master, terminal->name, sizeof terminal->name) == 0 && make_raw(terminal->name, baud)
        && watch(terminal);
}

void terminal_close(struct terminal *terminal)
{
    close(terminal->watch);
    close(terminal->master);
}

bool terminal_is_open(const struct terminal *terminal)
{
    struct pollfd state = {.fd = terminal->master};
    return poll(&state, 1, 0) >= 0 && !(state.revents & POLLHUP);
}

bool terminal_was_opened(struct terminal *terminal)
{
    _Alignas(struct inotify_event) char told[1024];
    bool opened = false;
    for (ssize_t length; (length = read(terminal->watch, told, sizeof told)) > 0;) {
        for (char *place = told; place < told + length;) {
            const struct inotify_event *event = (const struct inotify_event *)place;
            if (event->mask & IN_OPEN)
                opened |= terminal->users++ == 0;
            else if (event->mask & IN_CLOSE && terminal->users > 0)
                terminal->users--;
            place += sizeof *event + event->len;
        }
    }
    /* Equal events in a row are told as one, so the count may be too low. But an opening shows a little before it is
     * told: only one that stays unexplained is counted late, and not as an opening. */
    const bool open = terminal_is_open(terminal);
    if (!open)
        terminal->users = 0;
    terminal->unexplained = open && terminal->users == 0 ? terminal->unexplained + 1 : 0;
    if (terminal->unexplained > UNEXPLAINED_POLLS)
        terminal->users = 1;
    return opened;
}

uint32_t terminal_baud(const struct terminal *terminal)
{
    struct termios settings;
    if (tcgetattr(terminal->master, &settings) != 0)
        return 0;
    for (size_t i = 0; i < sizeof RATES / sizeof *RATES; i++)
        if (RATES[i].code == cfgetospeed(&settings))
            return RATES[i].baud;
    return 0;
}

size_t terminal_read(const struct terminal *terminal, uint8_t *bytes, size_t room)
{
    const ssize_t got = read(terminal->master, bytes, room);
    return got > 0 ? (size_t)got : 0;
}

size_t terminal_write(const struct terminal *terminal, const uint8_t *bytes, size_t count)
{
    const ssize_t gone = count ? write(terminal->master, bytes, count) : 0;
    return gone > 0 ? (size_t)gone : 0;
}

void terminal_flush(const struct terminal *terminal)
{
    tcflush(terminal->master, TCIOFLUSH);
}

void terminal_wait(const struct terminal *terminal, long us)
{
    const struct timespec span = {.tv_nsec = us * 1000};
    struct pollfd state = {.fd = terminal->master, .events = POLLIN};
    if (terminal_is_open(terminal))
        ppoll(&state, 1, &span, NULL);
    else
        nanosleep(&span, NULL); /* a closed terminal would end the poll at once */
}
