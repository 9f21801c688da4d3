"""The driver keeps the light as it should be: after resets, pulled cables, other boards and boards that lie."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from firmware.lockstep_wire import TwinWire

from mobilescope.core.errors import (
    DeviceError,
    FirmwareVersionError,
    LinkError,
    LinkLostError,
    MobilescopeError,
    RefusedError,
    UserError,
)
from mobilescope.core.framing import Frame, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.protocols import Illuminator
from mobilescope.core.ring_protocol import Command, LightFlag, ResetCause, Setting
from mobilescope.devices.ring import Ring
from mobilescope.plans.illumination import Pattern, Sequence, SequenceStep
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware

DARK = ((0, 0, 0),) * 12
AMBER = (255, 128, 0)
STEPS = (SequenceStep(Pattern.half_ring(0, AMBER), 100), SequenceStep(Pattern.half_ring(6, (9, 9, 9)), 200))


class AlteredWire(TwinWire):
    """A twin whose replies the test may alter."""

    def __init__(self, firmware=None):
        super().__init__(firmware or RingFirmware())
        self.alter = lambda frame: frame

    def write(self, data):
        before, self._arrived = self._arrived, b""
        super().write(data)
        replies = [self.alter(decode_frame(part)) for part in FrameSplitter().feed(self._arrived)]
        self._arrived = before + b"".join(encode_frame(frame) for frame in replies)


@pytest.fixture
def wire():
    return AlteredWire()


@pytest.fixture
def ring(wire):
    with Ring.open(wire=wire, keep_alive=False) as ring:
        yield ring


def identity_with(changes):
    def alter(frame):
        if frame.command != Command.IDENTIFY:
            return frame
        payload = bytearray(frame.payload)
        for place, value in changes.items():
            # The status stands before the identity.
            payload[1 + place] = value
        return dataclasses.replace(frame, payload=bytes(payload))

    return alter


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({0: 2}, r"protocol 2\.0 and is too new.*update Mobilescope"),
        ({0: 0}, r"protocol 0\.0 and is too old.*update the firmware: mobilescope firmware flash"),
        ({5: 9}, "unknown to this software .code 9.*update Mobilescope"),
        ({6: 0x11}, "signature 11950f"),
    ],
)
def test_a_board_of_another_version_or_kind_is_refused(wire, changes, cause):
    wire.alter = identity_with(changes)
    with pytest.raises(FirmwareVersionError, match=cause):
        Ring.open(wire=wire, keep_alive=False)


def test_a_firmware_with_more_than_is_needed_is_accepted(wire):
    wire.alter = identity_with({1: 7})
    with Ring.open(wire=wire, keep_alive=False) as ring:
        assert ring.identity.protocol == (1, 7)


def test_opening_leaves_the_ring_dark(wire):
    wire.write(encode_frame(Frame(1, Command.FILL, bytes([0, 12, 1, 2, 3]))))
    wire.read(0)
    with Ring.open(wire=wire, keep_alive=False) as ring:
        assert wire.firmware.shown == DARK
        assert ring.state().on is False


def test_it_is_an_illuminator_and_says_what_images_record(ring, wire):
    assert isinstance(ring, Illuminator)
    ring.set_colour(200, 100, 0, brightness=0.5)
    assert wire.firmware.shown == ((100, 50, 0),) * 12
    state = ring.state()
    assert (state.on, state.red, state.green, state.blue, state.brightness) == (True, 200, 100, 0, 0.5)
    assert "Arduino Uno" in state.source
    ring.configure(Setting.BRIGHTNESS, 127)
    assert ring.state().on is False
    ring.set_colour(200, 100, 0, brightness=0.5)
    assert ring.state().brightness == 0.25
    ring.show(Pattern.half_ring(3, AMBER))
    state = ring.state()
    assert (state.red, state.green, state.blue, state.brightness) == (*AMBER, 0.5)
    assert "6 lit" in state.source
    ring.off()
    assert ring.state().on is False


@pytest.mark.parametrize(("act", "pattern", "share"), [
    (lambda ring: ring.fill(AMBER), "bright-field", 1),
    (lambda ring: ring.show(Pattern.channel(0, AMBER)), "bright-field", 1),
    (lambda ring: ring.show(Pattern.single(7, AMBER)), "single 7", 1 / 12),
    (lambda ring: ring.show(Pattern.half_ring(9, AMBER)), "half-ring 9", 0.5),
    (lambda ring: ring.fill(AMBER, first=1, count=2), "1-2 {amber}", 2 / 12),
    (lambda ring: ring.set_pixels([AMBER, (0, 0, 0), AMBER, (1, 2, 3)]), "0 {amber}, 2 {amber}, 3 010203", 3 / 12),
    (lambda ring: ring.off(), "dark", 0),
])
def test_images_record_which_pixels_were_lit_and_the_firmware(ring, wire, act, pattern, share):
    act(ring)
    state = ring.state()
    assert state.pattern == pattern.format(amber=bytes(AMBER).hex())
    assert state.lit_share == pytest.approx(share)
    assert state.firmware == ".".join(map(str, ring.identity.firmware))


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (lambda ring: ring.set_pixel(12, AMBER), "no pixel 12 on this ring; its pixels are 0 to 11"),
        (lambda ring: ring.set_pixel(-1, AMBER), "no pixel -1"),
        (lambda ring: ring.set_pixel(0, (0, 300, 0)), "green is 300"),
        (lambda ring: ring.fill(AMBER, first=8, count=5), "5 pixels from pixel 8 .* give 1 to 4"),
        (lambda ring: ring.fill(AMBER, count=0), "0 pixels"),
        (lambda ring: ring.set_pixels([AMBER] * 13), "13 pixels"),
        (lambda ring: ring.set_pixels([]), "0 pixels"),
        (lambda ring: ring.show(Pattern.single(12, AMBER)), "no position 12.* positions are 0 to 11"),
        (lambda ring: ring.set_colour(0, 0, 256), "blue is 256"),
        (lambda ring: ring.set_colour(0, 0, 0, brightness=1.01), r"brightness is 1\.01"),
        (lambda ring: ring.configure(Setting.PIXELS, 61), "PIXELS is 61; give 1 to 60"),
        (lambda ring: ring.configure(Setting.HOST_TIMEOUT_MS, 99), "HOST_TIMEOUT_MS is 99; give 0 or 100 to 60000"),
        (lambda ring: ring.play(Sequence((SequenceStep(Pattern.single(12, AMBER), 10),))), "no position 12"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(ring, act, cause):
    ring.fill((1, 2, 3))
    before, sent = ring.ring_state(), ring.statistics().link.sent
    with pytest.raises(UserError, match=cause):
        act(ring)
    assert ring.statistics().link.sent == sent + 1
    assert ring.ring_state() == before


def test_a_refused_change_leaves_light_and_state(ring, wire):
    ring.fill((1, 2, 3))
    before = ring.ring_state()
    with pytest.raises(RefusedError, match="732 mA"):
        ring.fill((255, 255, 255))
    assert ring.ring_state() == before
    ring.refresh()
    assert wire.firmware.shown == ((1, 2, 3),) * 12


def test_listeners_hear_each_change_once(ring):
    heard = []
    unsubscribe = ring.subscribe(heard.append)
    ring.fill((1, 2, 3))
    ring.refresh()
    ring.off()
    assert [any(map(any, state.pixels)) for state in heard] == [True, False]
    assert heard[0].current_ma == 12 + 6
    assert heard[0].flags == LightFlag.LIT
    unsubscribe()
    ring.fill((4, 5, 6))
    assert len(heard) == 2


def test_a_reset_with_other_stored_settings_is_undone(ring, wire):
    ring.configure(Setting.BRIGHTNESS, 100)
    ring.store()
    ring.configure(Setting.BRIGHTNESS, 200)
    ring.configure(Setting.PIXELS, 20)
    ring.fill(AMBER)
    shown = wire.firmware.shown
    wire.firmware.reset(wire.now_s())
    ring.refresh()
    assert wire.firmware.shown == shown
    assert len(shown) == 20
    assert ring.setting(Setting.BRIGHTNESS) == 200


def test_a_change_just_after_a_reset_stands_on_what_was_lost(ring, wire):
    ring.fill((1, 2, 3))
    wire.firmware.reset(wire.now_s())
    ring.set_pixel(4, AMBER)
    assert wire.firmware.shown == ((1, 2, 3),) * 4 + (AMBER,) + ((1, 2, 3),) * 7


def test_what_a_reset_board_refuses_for_lost_settings_is_done_again(ring, wire):
    ring.configure(Setting.SUPPLY_MA, 1000)
    wire.firmware.reset(wire.now_s())
    ring.fill((255, 255, 255))
    assert wire.firmware.shown == ((255, 255, 255),) * 12


def test_a_light_that_timed_out_comes_back_when_the_host_does(ring, wire):
    ring.fill(AMBER)
    wire.sleep(2.5)
    assert wire.firmware.shown == DARK
    ring.refresh()
    assert wire.firmware.shown == (AMBER,) * 12


def test_a_pulled_cable_is_named_and_the_light_returns_with_it(ring, wire):
    ring.configure(Setting.BRIGHTNESS, 100)
    ring.fill(AMBER)
    shown = wire.firmware.shown
    wire.plugged = False
    for _ in range(2):
        with pytest.raises(LinkLostError, match="plug the board in"):
            ring.refresh()
    state = ring.ring_state()
    assert not state.connected
    assert "plug the board in" in state.error
    assert ring.state().on is False
    wire.firmware.reset(wire.now_s(), ResetCause.POWER_ON)
    wire.plugged = True
    ring.refresh()
    assert wire.firmware.shown == shown
    assert ring.ring_state().connected
    assert ring.ring_state().error == ""


def test_light_switched_off_while_the_cable_was_out_stays_off(ring, wire):
    ring.fill(AMBER)
    wire.plugged = False
    with pytest.raises(LinkLostError):
        ring.off()
    wire.plugged = True
    ring.refresh()
    assert wire.firmware.shown == DARK


def test_a_playing_sequence_returns_after_a_reset(ring, wire):
    ring.play(Sequence(STEPS, repeats=0))
    wire.sleep(0.15)
    wire.firmware.reset(wire.now_s())
    ring.refresh()
    assert LightFlag.SEQUENCE in ring.ring_state().flags
    wire.sleep(0.1)
    assert wire.firmware.shown == ((0, 0, 0),) * 6 + ((9, 9, 9),) * 6


def test_a_sequence_that_would_be_over_does_not_return(ring, wire):
    ring.play(Sequence(STEPS, repeats=2))
    wire.firmware.reset(wire.now_s())
    wire.sleep(0.7)
    ring.refresh()
    assert wire.firmware.shown == DARK
    assert ring.ring_state().flags == LightFlag(0)


def test_a_sequence_that_ended_is_dark_for_the_driver_too(ring, wire):
    ring.play(Sequence(STEPS, repeats=1))
    wire.sleep(0.31)
    ring.refresh()
    assert ring.ring_state().pixels == DARK
    assert ring.state().on is False


TRINKET = {5: 2, 6: 0x1E, 7: 0x93, 8: 0x0B}


@pytest.mark.parametrize("changes", [TRINKET, {9: 24}], ids=["another kind", "another length"])
def test_another_board_in_its_place_is_refused(ring, wire, changes):
    ring.fill(AMBER)
    wire.alter = identity_with(changes)
    wire.firmware.reset(wire.now_s(), ResetCause.POWER_ON)
    for _ in range(2):
        with pytest.raises(DeviceError, match="another ring is on the twin now"):
            ring.refresh()
    assert wire.firmware.shown == DARK
    assert not ring.ring_state().connected


def wrong_crc(frame):
    if frame.command not in (Command.FILL, Command.SET_ALL):
        return frame
    payload = bytearray(frame.payload)
    payload[2] ^= 1
    return dataclasses.replace(frame, payload=bytes(payload))


def test_a_board_that_shows_other_light_is_switched_off(ring, wire):
    wire.alter = wrong_crc
    with pytest.raises(DeviceError, match="shows other light than it was told and was switched off"):
        ring.fill(AMBER)
    assert wire.firmware.shown == DARK
    wire.alter = lambda frame: frame
    ring.fill(AMBER)
    assert wire.firmware.shown == (AMBER,) * 12


def test_light_that_came_out_wrong_once_is_repeated_whole(ring, wire):
    ring.fill((1, 2, 3))
    # The board shows another pixel than it was told, as after damage that its CRC missed.
    wire.firmware.feed(encode_frame(Frame(200, Command.SET_ONE, bytes([7, 9, 9, 9]))), wire.now_s())
    ring.set_pixel(0, AMBER)
    assert wire.firmware.shown == (AMBER,) + ((1, 2, 3),) * 11


def test_a_setting_that_was_not_acknowledged_is_read_again(ring, wire):
    def cut(frame):
        short = frame.command == Command.SET_CONFIG
        return dataclasses.replace(frame, payload=frame.payload[:-1]) if short else frame

    wire.alter = cut
    with pytest.raises(LinkError, match="did not answer SET_CONFIG"):
        ring.configure(Setting.BRIGHTNESS, 127)
    wire.alter = lambda frame: frame
    ring.fill((200, 100, 50))
    assert wire.firmware.shown == ((100, 50, 25),) * 12
    assert ring.ring_state().pixels == wire.firmware.shown


def test_closing_without_an_answer_says_that_the_light_may_be_on(wire):
    ring = Ring.open(wire=wire, keep_alive=False)
    ring.fill(AMBER)
    wire.plugged = False
    with pytest.raises(LinkError, match=r"did not confirm that its light is off.*HOST_TIMEOUT_MS"):
        ring.close()
    ring.close()
    with pytest.raises(DeviceError, match="is closed; open it again"):
        ring.fill(AMBER)


def test_a_failure_to_switch_off_is_added_to_what_went_wrong_before(wire):
    def fail_lit():
        with Ring.open(wire=wire, keep_alive=False) as ring:
            ring.fill(AMBER)
            wire.plugged = False
            raise ValueError("first")

    with pytest.raises(ValueError, match="first") as failed:
        fail_lit()
    assert "did not confirm" in failed.value.__notes__[0]


def test_a_long_ring_is_set_in_parts_or_not_at_all():
    wire = AlteredWire(RingFirmware(pixels=60))
    wire.alter = identity_with({11: 40})
    colours = [(number, 0, 1) for number in range(60)]
    with Ring.open(wire=wire, keep_alive=False) as ring:
        ring.set_pixels(colours)
        assert list(wire.firmware.shown) == colours
        with pytest.raises(RefusedError, match="limit 500 mA"):
            ring.set_pixels([(255, 255, 255)] * 60)
        assert list(wire.firmware.shown) == colours
        ring.set_pixels([(7, 7, 7)] * 20, first=30)
        assert list(wire.firmware.shown) == colours[:30] + [(7, 7, 7)] * 20 + colours[50:]


def test_several_threads_may_use_one_ring():
    firmware, failures = RingFirmware(), []

    def blink(ring, pixel):
        try:
            for level in range(40):
                ring.set_pixel(pixel, (level, pixel, 1))
                ring.setting(Setting.BRIGHTNESS)
        except MobilescopeError as error:
            failures.append(error)

    with FirmwarePort(firmware) as port, Ring.open(port.port) as ring:
        threads = [threading.Thread(target=blink, args=(ring, pixel)) for pixel in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert firmware.shown[:6] == tuple((39, pixel, 1) for pixel in range(6))
