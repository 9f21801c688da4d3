"""The firmware's light: the waveform on the data line, rendering, patterns, the supply's limit, and time-outs."""

from __future__ import annotations

import itertools

import pytest
from firmware.talking_board import KINDS, TalkingBoard, colours_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilescope.core.ring_model import Rendering, estimated_ma, pattern_colours, shown_crc
from mobilescope.core.ring_protocol import Command, LightFlag, PatternKind, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

TEAL = (0, 60, 90)
DARK = (0, 0, 0)
DARK_RING = (DARK,) * 12
LEVELS = (0x00, 0x01, 0x55, 0x7F, 0x80, 0xAA, 0xFE, 0xFF)
LATCH_US = 280


@pytest.fixture(params=["uno", "trinket"])
def board(request, built):
    with TalkingBoard(request.param, built[request.param]) as board:
        yield board


@pytest.fixture(scope="module", params=["uno", "trinket"])
def kept_board(request, built):
    """One board for all of a property's examples."""
    with TalkingBoard(request.param, built[request.param]) as board:
        board.configure(Setting.SUPPLY_MA, 5000)
        yield board


def test_every_pixel_is_dark_after_power_on(board):
    (frame,) = board.frames
    assert colours_of(frame) == DARK_RING
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH


@pytest.mark.parametrize("name", ["uno", "trinket"])
def test_the_waveform_at_all_colours_and_lengths(name, built):
    with TalkingBoard(name, built[name]) as board:
        board.configure(Setting.SUPPLY_MA, 5000)
        greatest = KINDS[name].max_pixels
        for pixels in (1, 2, 12, greatest):
            board.configure(Setting.PIXELS, pixels)
            for colour in itertools.product(LEVELS, repeat=3):
                board.fill(colour, count=pixels)
                assert board.shown[:pixels] == (colour,) * pixels
        # Neighbours that differ, so that each level meets each other at the borders of bytes and pixels.
        run = [colour for pair in itertools.permutations(LEVELS, 2) for colour in (pair[0], pair[1], pair[0])]
        for start in range(0, len(run) - 36, 36):
            board.configure(Setting.PIXELS, 12)
            board.do(Command.SET_ALL, bytes(run[start : start + 36]))
        frames = board.frames
    assert len(frames) > 2000
    for frame in frames:
        colours_of(frame)
        if frame.t0h_ns:
            assert 200 <= frame.t0h_ns[0] <= frame.t0h_ns[1] <= 500
        if frame.t1h_ns:
            assert 550 <= frame.t1h_ns[0] <= frame.t1h_ns[1] <= 850
        assert frame.bit_ns is not None
        assert 1150 <= frame.bit_ns[0] <= frame.bit_ns[1] <= 1650
    assert min(frame.latch_us for frame in frames[1:]) >= LATCH_US


def test_shows_that_follow_at_once_wait_for_the_latch(built):
    with TalkingBoard("uno", built["uno"]) as board:
        for level in range(40):
            _, _, reply = board.send(board.frame(Command.SET_ONE, bytes([0, level + 1, 0, 0])))
            assert reply.status == Status.OK
        assert min(frame.latch_us for frame in board.frames[1:]) >= LATCH_US


def test_the_reply_follows_the_pixels(built):
    with TalkingBoard("uno", built["uno"]) as board:
        board.configure(Setting.PIXELS, 60)
        board.run(1_000_000)
        board.run(700, board.frame(Command.FILL, bytes([0, 60, 1, 1, 1])))
        shows = len(board.frames)
        # The request takes 0.7 ms on the wire, the pixels 1.8 ms.
        while len(board.frames) == shows:
            assert not board.run(100).received
        board.run(5_000)
        assert board.replies()[0][2].status == Status.OK


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    colours=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=12, max_size=12),
    brightness=st.integers(0, 255),
    gamma=st.booleans(),
    white=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_rendering_is_the_models(kept_board, colours, brightness, gamma, white):
    board = kept_board
    asked = zip(Setting, (brightness, int(gamma), *white), strict=False)
    for setting, value in asked:
        board.configure(setting, value)
    reply = board.do(Command.SET_ALL, bytes(itertools.chain(*colours)))
    expected = tuple(Rendering(brightness, gamma, white).shown(colour) for colour in colours)
    assert board.shown == expected
    assert (reply.crc, reply.current_ma) == (shown_crc(expected), estimated_ma(expected))
    assert (LightFlag.LIT in reply.flags) == any(map(any, expected))


@pytest.mark.parametrize("pixels", [1, 2, 5, 12, 24])
def test_patterns_are_the_models(board, pixels):
    board.configure(Setting.PIXELS, pixels)
    colour = (30, 20, 10)
    for kind in PatternKind:
        positions = {PatternKind.BRIGHT_FIELD: 1, PatternKind.CHANNEL: 3}.get(kind, pixels)
        for position in range(positions):
            board.do(Command.PATTERN, bytes([kind, position, *colour]))
            assert board.shown == tuple(pattern_colours(kind, position, colour, pixels))


def test_a_range_keeps_the_pixels_around_it_as_they_were_rendered(board):
    board.configure(Setting.BRIGHTNESS, 127)
    board.fill((200, 100, 50))
    board.do(Command.SET_RANGE, bytes([3, 10, 20, 30, 40, 50, 60]))
    assert board.shown == ((100, 50, 25),) * 3 + ((5, 10, 15), (20, 25, 30)) + ((100, 50, 25),) * 7


def test_light_above_the_supply_is_refused_with_figures(board):
    board.fill((255, 255, 255), count=8)
    reply = board.ask(Command.SET_ONE, bytes([8, 110, 0, 0]))
    assert (reply.status, reply.data.hex()) == (Status.CURRENT_LIMIT, "01f501f4")
    assert board.do(Command.SET_ONE, bytes([8, 102, 0, 0])).current_ma == 500
    # Dimmer settings let the same through: what counts is what is shown.
    board.configure(Setting.BRIGHTNESS, 100)
    assert board.fill((255, 255, 255)).status == Status.OK


def test_going_dark_is_never_refused(board):
    board.configure(Setting.SUPPLY_MA, 20)
    board.configure(Setting.PIXELS, 24)
    assert board.ask(Command.FILL, bytes([0, 24, 0, 0, 0])).status == Status.CURRENT_LIMIT
    assert board.do(Command.OFF).current_ma == 24


def test_a_shorter_ring_darkens_the_pixels_it_loses(board):
    board.fill(TEAL)
    board.configure(Setting.PIXELS, 5)
    assert board.shown == DARK_RING
    assert board.fill(TEAL, count=5).crc == shown_crc((TEAL,) * 5)
    assert board.shown == (TEAL,) * 5
    board.configure(Setting.PIXELS, 20)
    board.fill((1, 1, 1), first=19, count=1)
    # After a reset the ring is 12 pixels again, and none of the twenty stays lit.
    board.reset()
    assert board.shown == (DARK,) * 20


def test_settings_read_back_and_end_with_a_reset(board):
    greatest = {Setting.PIXELS: board.kind.max_pixels}
    values = {
        Setting.BRIGHTNESS: 7, Setting.GAMMA: 1, Setting.WHITE_RED: 1, Setting.WHITE_GREEN: 2, Setting.WHITE_BLUE: 3,
        Setting.SUPPLY_MA: 5000, Setting.HOST_TIMEOUT_MS: 60_000, Setting.LOCAL_TIMEOUT_S: 65_535, **greatest,
    }  # fmt: skip
    before = {setting: board.setting(setting) for setting in Setting}
    for setting, value in values.items():
        board.configure(setting, value)
    assert {setting: board.setting(setting) for setting in Setting} == values
    board.reset()
    assert {setting: board.setting(setting) for setting in Setting} == before


def test_time_outs_change_without_touching_the_light(board):
    board.fill(TEAL)
    board.configure(Setting.HOST_TIMEOUT_MS, 0)
    board.configure(Setting.LOCAL_TIMEOUT_S, 0)
    board.run(5_000_000)
    assert board.shown == (TEAL,) * 12
    board.configure(Setting.GAMMA, 0)
    assert board.shown == DARK_RING


@pytest.mark.parametrize(("timeout_ms", "tolerance_ms"), [(2000, 100), (100, 10)])
def test_silence_of_the_host_darkens(board, timeout_ms, tolerance_ms):
    board.configure(Setting.HOST_TIMEOUT_MS, timeout_ms)
    board.fill(TEAL)
    for _ in range(3):
        board.run(timeout_ms * 800)
        board.do(Command.KEEP_ALIVE)
    heard_us = board.time_us
    board.run(timeout_ms * 1500)
    assert board.shown == DARK_RING
    assert (board.frames[-1].t_s * 1e6 - heard_us) / 1000 == pytest.approx(timeout_ms, abs=tolerance_ms)
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH | LightFlag.TIMED_OUT
    assert board.statistics().timeouts == 1
    assert board.fill(TEAL).flags == LightFlag.FRESH | LightFlag.LIT


def test_a_dark_ring_does_not_time_out(board):
    board.fill(TEAL)
    board.do(Command.OFF)
    shows = len(board.frames)
    board.run(5_000_000)
    assert len(board.frames) == shows
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH
    assert board.statistics().timeouts == 0


def test_shows_do_not_slow_the_clock(built):
    with TalkingBoard("uno", built["uno"]) as board:
        board.configure(Setting.PIXELS, 60)
        before_ms, before_us = board.statistics().uptime_ms, board.time_us
        for _ in range(100):
            board.fill((1, 1, 1), count=60)
        passed_ms = board.statistics().uptime_ms - before_ms
        assert passed_ms == pytest.approx((board.time_us - before_us) / 1000, abs=3)
