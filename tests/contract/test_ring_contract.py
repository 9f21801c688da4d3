"""What every board keeps that obeys the protocol: the real firmware in simavr and its twin, in one suite."""

from __future__ import annotations

import itertools
from enum import IntEnum

import pytest
from firmware.ring_benches import BENCHES, open_bench

from mobilescope.core.errors import RefusedError
from mobilescope.core.ring_model import Rendering, estimated_ma, shown_crc
from mobilescope.core.ring_protocol import (
    SETTING_RANGES,
    Capability,
    Command,
    LightFlag,
    PatternKind,
    ResetCause,
    SelfTest,
    Setting,
    Status,
)
from mobilescope.devices.transport import Link
from mobilescope.plans.illumination import Pattern, Sequence, SequenceStep

D = (0, 0, 0)
DARK = (D,) * 12
AMBER, TEAL = (255, 128, 0), (0, 60, 90)
SETTINGS_THAT_DARKEN = [(Setting.BRIGHTNESS, 9), (Setting.GAMMA, 1), (Setting.WHITE_BLUE, 70), (Setting.SUPPLY_MA, 600)]


@pytest.fixture(params=BENCHES)
def bench(request):
    with open_bench(request.param) as bench:
        yield bench


@pytest.fixture
def ring(bench):
    with bench.ring() as ring:
        yield ring


def test_it_says_who_it_is(ring, bench):
    identity = ring.identity
    assert identity.board == bench.board
    assert identity.pixels == 12
    assert (identity.max_pixels, identity.max_payload, identity.max_steps) == (
        bench.board.max_pixels, bench.board.max_payload, bench.board.max_steps,
    )
    assert Capability.STORE in identity.capabilities


def test_pixels_show_what_they_were_told(ring, bench):
    ring.fill(AMBER)
    assert bench.shown((AMBER,) * 12) == (AMBER,) * 12
    ring.fill(TEAL, first=2, count=3)
    expected = (AMBER,) * 2 + (TEAL,) * 3 + (AMBER,) * 7
    assert bench.shown(expected) == expected
    ring.set_pixel(11, (1, 2, 3))
    expected = (*expected[:11], (1, 2, 3))
    assert bench.shown(expected) == expected
    ring.set_pixels([(7, 8, 9), (10, 11, 12)], first=5)
    expected = (*expected[:5], (7, 8, 9), (10, 11, 12), *expected[7:])
    assert bench.shown(expected) == expected
    colours = tuple((number, 3 * number, 40 - number) for number in range(12))
    ring.set_pixels(colours)
    assert bench.shown(colours) == colours
    assert ring.ring_state().pixels == colours
    assert ring.ring_state().current_ma == estimated_ma(colours)
    ring.off()
    assert bench.shown(DARK) == DARK


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Pattern.bright_field(TEAL), (TEAL,) * 12),
        (Pattern.half_ring(0, TEAL), (TEAL,) * 6 + (D,) * 6),
        (Pattern.half_ring(9, TEAL), (TEAL,) * 3 + (D,) * 6 + (TEAL,) * 3),
        (Pattern.single(11, AMBER), (D,) * 11 + (AMBER,)),
        (Pattern.channel(0, AMBER), ((255, 0, 0),) * 12),
        (Pattern.channel(1, AMBER), ((0, 128, 0),) * 12),
        (Pattern.channel(2, TEAL), ((0, 0, 90),) * 12),
    ],
    ids=["bright", "half 0", "half 9", "single 11", "red", "green", "blue"],
)
def test_patterns(ring, bench, pattern, expected):
    ring.fill((9, 9, 9))
    ring.show(pattern)
    assert bench.shown(expected) == expected


def test_settings_shape_the_light(ring, bench):
    ring.configure(Setting.GAMMA, 1)
    ring.configure(Setting.BRIGHTNESS, 100)
    for setting, value in ((Setting.WHITE_RED, 200), (Setting.WHITE_GREEN, 255), (Setting.WHITE_BLUE, 3)):
        ring.configure(setting, value)
    colours = tuple((255 - 20 * number, 21 * number, 255) for number in range(12))
    rendering = Rendering(brightness=100, gamma=True, white=(200, 255, 3))
    expected = tuple(rendering.shown(colour) for colour in colours)
    assert max(itertools.chain(*expected)) > 50
    ring.set_pixels(colours)
    assert bench.shown(expected) == expected


def test_a_range_keeps_the_light_around_it_through_a_change_of_length(ring, bench):
    ring.configure(Setting.PIXELS, 5)
    ring.fill(TEAL)
    ring.set_pixel(4, AMBER)
    shown = bench.shown((TEAL,) * 4 + (AMBER,))
    assert shown[:5] == (TEAL,) * 4 + (AMBER,)
    assert ring.identity.pixels == 5


@pytest.mark.parametrize("setting", Setting)
def test_settings_are_kept_within_their_limits(ring, bench, setting):
    limits = SETTING_RANGES[setting]
    greatest = bench.board.max_pixels if setting == Setting.PIXELS else limits.greatest
    assert ring.setting(setting) == limits.default
    for value in {limits.least, greatest} | ({0} if limits.zero else set()):
        ring.configure(setting, value)
        assert ring.setting(setting) == value
    link = Link(bench.wire)
    for wrong in {greatest + 1, limits.least - 1} & set(range(0 if not limits.zero else 1, 65_536)):
        with pytest.raises(RefusedError) as refused:
            link.request(Command.SET_CONFIG, bytes([setting]) + wrong.to_bytes(2, "big"))
        assert refused.value.status == Status.VALUE_OUT_OF_RANGE


@pytest.mark.parametrize(("setting", "value"), SETTINGS_THAT_DARKEN, ids=str)
def test_settings_of_the_light_switch_it_off(ring, bench, setting, value):
    ring.fill(TEAL)
    ring.configure(setting, value)
    assert bench.shown(DARK) == DARK
    assert ring.state().on is False


def test_time_outs_leave_the_light(ring, bench):
    ring.fill(TEAL)
    ring.configure(Setting.HOST_TIMEOUT_MS, 5000)
    ring.configure(Setting.LOCAL_TIMEOUT_S, 0)
    assert bench.shown((TEAL,) * 12) == (TEAL,) * 12
    assert ring.state().on


class Unknown(IntEnum):
    LATER = 0x7F


def colours(count):
    return bytes(3 * count)


STEP = bytes([PatternKind.SINGLE, 0, 1, 1, 1]) + (10).to_bytes(2, "big")
REFUSED = [
    (Command.SET_ONE, bytes([12, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.SET_ONE, bytes([0, 1, 2]), Status.BAD_LENGTH),
    (Command.SET_ALL, colours(11), Status.BAD_LENGTH),
    (Command.SET_ALL, colours(13), Status.BAD_LENGTH),
    (Command.SET_RANGE, bytes([0]), Status.BAD_LENGTH),
    (Command.SET_RANGE, bytes([0, 1, 2]), Status.BAD_LENGTH),
    (Command.SET_RANGE, bytes([11]) + colours(2), Status.PIXEL_OUT_OF_RANGE),
    (Command.SET_RANGE, bytes([255]) + colours(2), Status.PIXEL_OUT_OF_RANGE),
    (Command.FILL, bytes([0, 13, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.FILL, bytes([200, 100, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.FILL, bytes([0, 0, 1, 2, 3]), Status.VALUE_OUT_OF_RANGE),
    (Command.FILL, bytes([0, 12, 255, 255, 255]), Status.CURRENT_LIMIT),
    (Command.PATTERN, bytes([4, 0, 1, 2, 3]), Status.VALUE_OUT_OF_RANGE),
    (Command.PATTERN, bytes([PatternKind.BRIGHT_FIELD, 1, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.PATTERN, bytes([PatternKind.HALF_RING, 12, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.PATTERN, bytes([PatternKind.SINGLE, 12, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.PATTERN, bytes([PatternKind.CHANNEL, 3, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
    (Command.PATTERN, bytes([PatternKind.BRIGHT_FIELD, 0, 255, 255, 255]), Status.CURRENT_LIMIT),
    (Command.SEQUENCE_STEP, bytes([200]) + STEP, Status.TOO_MANY_STEPS),
    (Command.SEQUENCE_STEP, bytes([0]) + STEP[:-1] + b"\x09", Status.VALUE_OUT_OF_RANGE),
    (Command.SEQUENCE_STEP, bytes([0, 0, 0, 255, 255, 255, 0, 10]), Status.CURRENT_LIMIT),
    (Command.SEQUENCE_START, bytes([1, 0, 1]), Status.NO_SEQUENCE),
    (Command.SEQUENCE_START, bytes([200, 0, 1]), Status.TOO_MANY_STEPS),
    (Command.GET_CONFIG, bytes([0]), Status.UNKNOWN_SETTING),
    (Command.GET_CONFIG, bytes([10]), Status.UNKNOWN_SETTING),
    (Command.SET_CONFIG, bytes([10, 0, 0]), Status.UNKNOWN_SETTING),
    (Command.SET_CONFIG, bytes([Setting.GAMMA, 0, 2]), Status.VALUE_OUT_OF_RANGE),
    (Command.OFF, b"\0", Status.BAD_LENGTH),
    (Command.IDENTIFY, b"\0", Status.BAD_LENGTH),
]


@pytest.mark.parametrize("name", BENCHES)
def test_what_is_wrong_is_refused_by_name_and_changes_nothing(name):
    with open_bench(name) as bench, bench.ring() as ring:
        ring.fill(TEAL)
        link = Link(bench.wire)
        for command, payload, status in REFUSED:
            with pytest.raises(RefusedError) as refused:
                link.request(command, payload)
            assert refused.value.status == status, (command, payload.hex())
            assert link.request(Command.KEEP_ALIVE)[1:3] == shown_crc((TEAL,) * 12).to_bytes(2, "big")
        with pytest.raises(RefusedError) as refused:
            link.request(Unknown.LATER)
        assert refused.value.status == Status.UNKNOWN_COMMAND
        assert bench.shown((TEAL,) * 12) == (TEAL,) * 12


def test_the_limit_of_the_supply_is_exact(ring, bench):
    full = estimated_ma([(255, 255, 255)] * 8 + [D] * 4)
    assert full == 492
    ring.fill((255, 255, 255), count=8)
    with pytest.raises(RefusedError) as refused:
        ring.set_pixel(8, (110, 0, 0))
    assert refused.value.data == (501).to_bytes(2, "big") + (500).to_bytes(2, "big")
    ring.set_pixel(8, (102, 0, 0))
    assert ring.ring_state().current_ma == 500
    ring.configure(Setting.SUPPLY_MA, 5000)
    ring.fill((255, 255, 255))
    assert ring.ring_state().current_ma == 732


def test_a_sequence_plays_in_order_by_the_boards_clock(ring, bench):
    steps = (
        SequenceStep(Pattern.half_ring(0, TEAL), 60),
        SequenceStep(Pattern.half_ring(6, TEAL), 40),
        SequenceStep(Pattern.single(3, AMBER), 100),
    )
    looks = [(TEAL,) * 6 + (D,) * 6, (D,) * 6 + (TEAL,) * 6, (D,) * 3 + (AMBER,) + (D,) * 8]
    before = len(bench.shows())
    ring.play(Sequence(steps, repeats=2))
    assert LightFlag.SEQUENCE in ring.ring_state().flags
    bench.pass_time(0.45)
    assert bench.shown(DARK) == DARK
    # Frames that repeat what was shown are no change of light.
    changes = [next(group) for _, group in itertools.groupby(bench.shows()[max(before - 1, 0) :], lambda show: show[1])]
    assert [pixels for _, pixels in changes][-7:] == [*looks, *looks, DARK]
    if bench.exact:
        lasted_ms = [1000 * (after[0] - start[0]) for start, after in itertools.pairwise(changes[-7:])]
        assert lasted_ms == pytest.approx([60, 40, 100, 60, 40, 100], abs=2)
    ring.refresh()
    assert ring.ring_state().flags == LightFlag(0)


def test_a_sequence_without_end_stops_when_told(ring, bench):
    steps = (SequenceStep(Pattern.single(0, TEAL), 20), SequenceStep(Pattern.single(1, TEAL), 20))
    ring.play(Sequence(steps, repeats=0))
    for _ in range(4):
        bench.pass_time(0.3)
        ring.refresh()
    assert LightFlag.SEQUENCE in ring.ring_state().flags
    ring.stop()
    assert bench.shown(DARK) == DARK
    ring.stop()


def test_steps_cannot_change_while_they_play_and_light_ends_them(ring, bench):
    ring.play(Sequence((SequenceStep(Pattern.single(0, TEAL), 50),), repeats=0))
    link = Link(bench.wire)
    with pytest.raises(RefusedError) as refused:
        link.request(Command.SEQUENCE_STEP, bytes([0]) + STEP)
    assert refused.value.status == Status.SEQUENCE_RUNNING
    ring.set_pixel(5, AMBER)
    expected = (D,) * 5 + (AMBER,) + (D,) * 6
    bench.pass_time(0.2)
    assert bench.shown(expected) == expected
    ring.play(Sequence((SequenceStep(Pattern.single(1, TEAL), 50),), repeats=0))
    ring.play(Sequence((SequenceStep(Pattern.single(2, TEAL), 1000),), repeats=1))
    expected = (D,) * 2 + (TEAL,) + (D,) * 9
    assert bench.shown(expected) == expected


def test_silence_of_the_host_darkens_after_its_time(ring, bench):
    ring.fill(TEAL)
    assert bench.shown((TEAL,) * 12) == (TEAL,) * 12
    lit_s = bench.shows()[-1][0]
    bench.pass_time(2.2)
    assert bench.shown(DARK) == DARK
    dark_s = next(time_s for time_s, pixels in reversed(bench.shows()) if pixels == DARK)
    assert dark_s - lit_s == pytest.approx(2.0, abs=0.1)
    timeouts = ring.statistics().timeouts
    assert timeouts == 1
    ring.refresh()
    assert bench.shown((TEAL,) * 12) == (TEAL,) * 12


def test_words_from_the_host_hold_the_light(ring, bench):
    ring.fill(TEAL)
    for _ in range(4):
        bench.pass_time(1.2 if bench.exact else 0.8)
        ring.refresh()
        assert not ring.ring_state().flags & LightFlag.TIMED_OUT
    assert bench.shown((TEAL,) * 12) == (TEAL,) * 12
    assert ring.statistics().timeouts == 0


def test_silence_ends_a_sequence_too(ring, bench):
    ring.configure(Setting.HOST_TIMEOUT_MS, 300)
    ring.play(Sequence((SequenceStep(Pattern.single(0, TEAL), 60_000),), repeats=0))
    bench.pass_time(0.5)
    assert bench.shown(DARK) == DARK


def test_settings_and_light_return_after_a_reset(ring, bench):
    ring.configure(Setting.BRIGHTNESS, 127)
    ring.fill((200, 100, 50))
    ring.set_pixel(3, AMBER)
    expected = ((100, 50, 25),) * 3 + ((127, 64, 0),) + ((100, 50, 25),) * 8
    assert bench.shown(expected) == expected
    bench.reset()
    bench.pass_time(0.3)
    ring.refresh()
    assert bench.shown(expected) == expected
    assert ring.setting(Setting.BRIGHTNESS) == 127
    statistics = ring.statistics()
    assert (statistics.resets, statistics.reset_cause & ResetCause.EXTERNAL) == (1, ResetCause.EXTERNAL)


def test_what_was_stored_returns_at_power_on(bench):
    expected = tuple((10 * number, 0, 0) for number in range(12))
    with bench.ring() as ring:
        ring.configure(Setting.BRIGHTNESS, 127)
        ring.set_pixels([(20 * number, 0, 0) for number in range(12)])
        ring.store()
        with pytest.raises(RefusedError, match="wait 10 s") as refused:
            ring.store()
        assert refused.value.status == Status.STORE_TOO_SOON
        ring.fill(TEAL)
    bench.reset()
    bench.pass_time(0.3)
    assert bench.shown(expected) == expected
    bench.wire.reopen()
    reply = Link(bench.wire).request(Command.KEEP_ALIVE)
    assert LightFlag(reply[0]) == LightFlag.FRESH | LightFlag.LOCAL | LightFlag.LIT
    bench.pass_time(2.5)
    assert bench.shown(expected) == expected
    with bench.ring() as ring:
        assert bench.shown(DARK) == DARK
        assert ring.setting(Setting.BRIGHTNESS) == 127
        assert ring.statistics().stores == 1


def test_it_tests_itself(ring, bench):
    ring.fill(TEAL)
    report = ring.self_test()
    assert report.ok, report
    assert report.run & (SelfTest.RAM | SelfTest.EEPROM | SelfTest.SHOW) == (
        SelfTest.RAM | SelfTest.EEPROM | SelfTest.SHOW
    )
    assert report.free_ram > 0
    assert bench.shown(DARK) == DARK


def test_it_counts(ring, bench):
    before = ring.statistics()
    bench.wire.arm("flipped", to_board=True)
    ring.fill(TEAL)
    after = ring.statistics()
    assert after.bad_frames == before.bad_frames + 1
    assert after.frames == before.frames + 2
    assert after.link.retries == before.link.retries + 1
    assert after.overruns == 0
    assert after.uptime_ms >= before.uptime_ms


@pytest.mark.parametrize("fault", ["lost", "repeated", "flipped", "cut", "delayed"])
@pytest.mark.parametrize("to_board", [True, False], ids=["to the board", "to the host"])
def test_damage_is_repaired(ring, bench, fault, to_board):
    ring.fill(TEAL)
    bench.wire.arm(fault, to_board=to_board)
    ring.set_pixel(4, AMBER)
    assert bench.wire.struck
    expected = (TEAL,) * 4 + (AMBER,) + (TEAL,) * 7
    assert bench.shown(expected) == expected
    ring.off()
    assert bench.shown(DARK) == DARK


def test_a_reset_in_the_middle_of_a_frame_is_overcome(ring, bench):
    ring.fill(TEAL)
    bench.wire.write(bytes([9, 4, 0x12, 1]))
    bench.pass_time(0.01)
    bench.reset()
    bench.pass_time(0.3)
    ring.set_pixel(0, AMBER)
    expected = (AMBER,) + (TEAL,) * 11
    assert bench.shown(expected) == expected


def test_noise_between_frames_is_overcome(ring, bench):
    for noise in (b"\0\0\0", b"\x05\x07", b"\xff" * 300, bytes(range(256))):
        bench.wire.write(noise)
        bench.pass_time(0.1)
        ring.fill(TEAL)
        assert bench.shown((TEAL,) * 12) == (TEAL,) * 12
        ring.off()
