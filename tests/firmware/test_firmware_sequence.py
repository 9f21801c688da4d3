"""Sequences: what is shown and when, the trigger output, and what ends them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from firmware.talking_board import TalkingBoard, colours_of

from mobilescope.core.ring_model import pattern_colours
from mobilescope.core.ring_protocol import Command, LightFlag, PatternKind, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

TEAL = (0, 60, 90)
DARK_RING = ((0, 0, 0),) * 12
STEPS = [
    (PatternKind.BRIGHT_FIELD, 0, (9, 9, 9), 10),
    (PatternKind.SINGLE, 3, (200, 0, 0), 25),
    (PatternKind.HALF_RING, 8, (0, 40, 0), 40),
    (PatternKind.CHANNEL, 2, (1, 2, 77), 17),
]


@pytest.fixture(params=["uno", "trinket"])
def board(request, built):
    with TalkingBoard(request.param, built[request.param]) as board:
        board.insists = True
        yield board


def keep(board, number, kind, position, colour, duration_ms):
    payload = bytes([number, kind, position, *colour]) + duration_ms.to_bytes(2, "big")
    return board.ask(Command.SEQUENCE_STEP, payload)


def keep_all(board):
    for number, step in enumerate(STEPS):
        assert keep(board, number, *step).status == Status.OK


def start(board, steps=4, repeats=1):
    return board.ask(Command.SEQUENCE_START, bytes([steps]) + repeats.to_bytes(2, "big"))


def rises(board):
    return [event.t_s for event in board.events if event.kind == "trigger" and event.level]


@pytest.mark.parametrize("pixels", [12, 24])
def test_steps_are_shown_on_time_each_with_a_trigger(board, pixels):
    board.configure(Setting.PIXELS, pixels)
    keep_all(board)
    shows = len(board.frames)
    reply = start(board, repeats=2)
    assert reply.flags & (LightFlag.LIT | LightFlag.SEQUENCE) == LightFlag.LIT | LightFlag.SEQUENCE
    board.run(300_000)

    frames = board.frames[shows:]
    looks = [tuple(pattern_colours(kind, position, colour, pixels)) for kind, position, colour, _ in STEPS]
    assert [colours_of(frame) for frame in frames] == [*looks, *looks, ((0, 0, 0),) * pixels]

    lasted_ms = [1000 * (after - before) for before, after in pairwise(frame.t_s for frame in frames)]
    assert lasted_ms == pytest.approx([duration_ms for *_, duration_ms in STEPS] * 2, abs=0.3)
    edges = [event for event in board.events if event.kind == "trigger"]
    assert [edge.level for edge in edges] == [1, 0] * 8
    # A pulse rises when the pixels have latched and is long enough to be seen; darkness has none.
    for frame, rise, fall in zip(frames, edges[::2], edges[1::2], strict=False):
        assert 280e-6 <= rise.t_s - frame.t_s < 500e-6
        assert fall.t_s - rise.t_s >= 100e-6
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH


def test_the_first_reply_follows_the_first_show(board):
    keep(board, 0, PatternKind.BRIGHT_FIELD, 0, TEAL, 60_000)
    start(board, steps=1)
    assert board.shown == (TEAL,) * 12


def test_without_end_until_stopped(board):
    keep_all(board)
    start(board, repeats=0)
    for _ in range(5):
        board.run(400_000)
        assert LightFlag.SEQUENCE in board.do(Command.KEEP_ALIVE).flags
    assert len(rises(board)) > 80
    assert board.do(Command.SEQUENCE_STOP).flags == LightFlag.FRESH
    pulses = len(rises(board))
    board.run(200_000)
    assert board.shown == DARK_RING
    assert len(rises(board)) == pulses
    assert board.do(Command.SEQUENCE_STOP).status == Status.OK


def test_replies_tell_what_is_on_the_wire_while_steps_go_by(built):
    with TalkingBoard("uno", built["uno"]) as board:
        board.insists = True
        keep_all(board)
        looks = {start(board, repeats=0).crc}
        for _ in range(60):
            looks.add(board.do(Command.KEEP_ALIVE).crc)
            board.run(1_500)
        assert len(looks) == len(STEPS)


def test_a_running_sequence_keeps_its_steps(board):
    keep_all(board)
    start(board, repeats=0)
    assert keep(board, 0, *STEPS[0]).status == Status.SEQUENCE_RUNNING
    assert board.ask(Command.STORE).status == Status.SEQUENCE_RUNNING
    # What is refused leaves it running.
    assert start(board, steps=200).status == Status.TOO_MANY_STEPS
    assert board.ask(Command.SET_ONE, bytes([99, 0, 0, 0])).status == Status.PIXEL_OUT_OF_RANGE
    assert LightFlag.SEQUENCE in board.do(Command.KEEP_ALIVE).flags


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (Command.OFF, b""),
        (Command.FILL, bytes([0, 12, *TEAL])),
        (Command.PATTERN, bytes([PatternKind.SINGLE, 1, *TEAL])),
        (Command.SET_CONFIG, bytes([Setting.BRIGHTNESS, 0, 255])),
        (Command.SELF_TEST, b""),
    ],
)
def test_other_light_ends_a_sequence(board, command, payload):
    keep_all(board)
    start(board, repeats=0)
    board.run(30_000)
    board.do(command, payload)
    shown, pulses = board.shown, len(rises(board))
    board.run(200_000)
    assert board.shown == shown
    assert len(rises(board)) <= pulses + 1
    assert LightFlag.SEQUENCE not in board.do(Command.KEEP_ALIVE).flags


def test_time_outs_may_change_while_it_plays(board):
    keep_all(board)
    start(board, repeats=0)
    board.configure(Setting.HOST_TIMEOUT_MS, 300)
    assert LightFlag.SEQUENCE in board.do(Command.KEEP_ALIVE).flags
    heard_us = board.time_us
    board.run(600_000)
    assert board.shown == DARK_RING
    assert board.frames[-1].t_s * 1e6 - heard_us == pytest.approx(300_000, abs=10_000)
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH | LightFlag.TIMED_OUT


def test_steps_are_checked_again_at_the_start(board):
    keep(board, 0, PatternKind.SINGLE, 11, TEAL, 10)
    keep(board, 1, PatternKind.BRIGHT_FIELD, 0, (150, 150, 0), 10)
    assert start(board, steps=3).status == Status.NO_SEQUENCE
    board.configure(Setting.PIXELS, 8)
    assert start(board, steps=2).status == Status.PIXEL_OUT_OF_RANGE
    board.configure(Setting.PIXELS, 12)
    board.configure(Setting.SUPPLY_MA, 200)
    reply = start(board, steps=2)
    assert (reply.status, reply.data[2:]) == (Status.CURRENT_LIMIT, (200).to_bytes(2, "big"))
    assert board.shown == DARK_RING


def test_all_steps_of_the_board_and_no_more(board):
    greatest = board.kind.max_steps
    for number in range(greatest):
        assert keep(board, number, PatternKind.SINGLE, number % 12, TEAL, 10).status == Status.OK
    assert keep(board, greatest, PatternKind.SINGLE, 0, TEAL, 10).status == Status.TOO_MANY_STEPS
    assert start(board, steps=greatest).status == Status.OK
    board.run(200_000)
    assert len(rises(board)) == greatest


def test_a_retried_start_plays_once(board):
    keep_all(board)
    keep(board, 0, PatternKind.SINGLE, 0, TEAL, 50)
    request = board.frame(Command.SEQUENCE_START, bytes([2, 0, 1]))
    first = board.send(request)
    assert board.send(request) == first
    board.run(100_000)
    assert len(rises(board)) == 2
