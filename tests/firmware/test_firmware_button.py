"""The Trinket's button: presets without a host, debounced, and who owns the light."""

from __future__ import annotations

import pytest
from firmware.talking_board import TalkingBoard

from mobilescope.core.ring_model import pattern_colours
from mobilescope.core.ring_protocol import Command, LightFlag, PatternKind, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

DIM = (40, 40, 40)
DARK_RING = ((0, 0, 0),) * 12
PRESETS = [
    tuple(pattern_colours(kind, position, DIM, 12))
    for kind, position in [
        (PatternKind.BRIGHT_FIELD, 0),
        (PatternKind.HALF_RING, 0),
        (PatternKind.SINGLE, 0),
        (PatternKind.CHANNEL, 0),
        (PatternKind.CHANNEL, 1),
        (PatternKind.CHANNEL, 2),
    ]
]


@pytest.fixture
def board(built):
    with TalkingBoard("trinket", built["trinket"]) as board:
        yield board


def test_each_press_shows_the_next_preset(board):
    for expected in [*PRESETS, DARK_RING, *PRESETS[:2]]:
        board.press()
        assert board.shown == expected
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.LIT | LightFlag.LOCAL | LightFlag.FRESH


def test_a_contact_that_bounces_is_one_press(board):
    shows = len(board.frames)
    for _ in range(5):
        board.bounce(2_000)
    assert len(board.frames) == shows
    for _ in range(5):
        board.bounce(1_000)
    board.press(500_000)
    for _ in range(5):
        board.bounce(1_000)
    board.run(100_000)
    assert board.shown == PRESETS[0]


def test_presets_need_no_host_and_end_after_their_own_time(board):
    board.configure(Setting.LOCAL_TIMEOUT_S, 4)
    board.press()
    board.run(3_500_000)
    assert board.shown == PRESETS[0]
    board.run(700_000)
    assert board.shown == DARK_RING
    assert board.statistics().timeouts == 0
    board.press()
    assert board.shown == PRESETS[1]


def test_the_host_takes_over_and_the_button_begins_anew(board):
    board.press()
    board.press()
    assert board.fill((1, 2, 3)).flags == LightFlag.LIT | LightFlag.FRESH
    board.press()
    assert board.shown == PRESETS[0]


def test_a_press_ends_a_sequence_and_what_the_host_knew(board):
    step = bytes([0, PatternKind.SINGLE, 3, 9, 9, 9]) + (500).to_bytes(2, "big")
    board.do(Command.SEQUENCE_STEP, step)
    request = board.frame(Command.SEQUENCE_START, bytes([1, 0, 0]))
    board.send(request)
    board.press()
    board.run(1_000_000)
    assert board.shown == PRESETS[0]
    # The same request again is a new one: the light is another.
    assert board.send(request)[2].status == Status.OK
    assert board.shown != PRESETS[0]


def test_presets_follow_the_settings_and_the_supply(board):
    board.configure(Setting.BRIGHTNESS, 127)
    board.press()
    assert board.shown == ((20, 20, 20),) * 12
    board.configure(Setting.SUPPLY_MA, 20)
    board.press()
    assert board.shown == DARK_RING
