#include "machine.h"

static void on_byte(void *listener, uint8_t byte)
{
    const struct observer *observer = &((struct machine *)listener)->observer;
    if (observer->byte)
        observer->byte(observer->self, byte);
}

static void on_frame(void *listener, const struct frame *frame)
{
    const struct observer *observer = &((struct machine *)listener)->observer;
    if (observer->frame)
        observer->frame(observer->self, frame);
}

static void on_reset(void *listener, enum reset_cause cause)
{
    struct machine *machine = listener;
    const struct observer *observer = &machine->observer;
    if (observer->reset)
        observer->reset(observer->self, cause, machine_now(machine));
}

static void data_edge(avr_irq_t *irq, uint32_t value, void *param)
{
    struct machine *machine = param;
    (void)irq;
    waveform_edge(&machine->waveform, value & 0xff, machine_now(machine));
}

static void trigger_edge(avr_irq_t *irq, uint32_t value, void *param)
{
    struct machine *machine = param;
    const bool level = value & 0xff;
    (void)irq;
    if (level == machine->trigger)
        return;
    machine->trigger = level;
    if (machine->observer.trigger)
        machine->observer.trigger(machine->observer.self, level, machine_now(machine));
}

bool machine_wire(struct machine *machine, struct observer observer)
{
    struct board *board = &machine->board;
    machine->observer = observer;
    machine->trigger = false;
    board->on_reset = on_reset;
    board->listener = machine;
    waveform_start(&machine->waveform, on_frame, machine);
    avr_irq_register_notify(board_pin_irq(board, board->kind->data), data_edge, machine);
    avr_irq_register_notify(board_pin_irq(board, board->kind->trigger), trigger_edge, machine);
    machine_press(machine, false);
    return serial_attach(&machine->serial, board, on_byte, machine);
}

uint64_t machine_now(const struct machine *machine)
{
    return board_now(&machine->board);
}

void machine_reset(struct machine *machine, enum reset_cause cause)
{
    board_reset(&machine->board, cause);
}

bool machine_press(struct machine *machine, bool pressed)
{
    const struct pin button = machine->board.kind->button;
    if (button.port)
        board_drive(&machine->board, button, !pressed);
    return button.port;
}

bool machine_run_until(struct machine *machine, uint64_t when)
{
    for (;;) {
        const uint64_t line = serial_due(&machine->serial), pixels = waveform_due(&machine->waveform);
        uint64_t next = when < line ? when : line;
        next = next < pixels ? next : pixels;
        if (!board_run_until(&machine->board, next))
            return false;
        const uint64_t now = machine_now(machine);
        waveform_poll(&machine->waveform, now);
        if (now >= line)
            serial_step(&machine->serial, now);
        if (now >= when && serial_due(&machine->serial) > now)
            return true;
    }
}
