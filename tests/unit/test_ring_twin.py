"""The firmware's twin answers byte for byte as the protocol's document says."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilescope.core.firmware_files import firmware_folder
from mobilescope.core.framing import Frame, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.ring_protocol import Command, ResetCause, Status
from mobilescope.twin.ring_firmware import RingFirmware

# The same examples in each run, however busy the machine is.
STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EXAMPLES = json.loads((firmware_folder() / "examples.json").read_text(encoding="utf-8"))


def answers(firmware, stuffed, now_s=0.0):
    return [decode_frame(part) for part in FrameSplitter().feed(firmware.feed(stuffed, now_s))]


def ask(firmware, command, payload=b"", *, sequence=1, now_s=0.0):
    (answer,) = answers(firmware, encode_frame(Frame(sequence, command, payload)), now_s)
    return answer.payload


def test_the_example_exchanges():
    firmware = RingFirmware()
    for example in EXAMPLES:
        reply = firmware.feed(bytes.fromhex(example["request"]), 0.0)
        assert reply.hex() == example["reply"], example["text"]


def test_a_repeat_is_answered_alike_and_not_executed():
    firmware = RingFirmware()
    fill = encode_frame(Frame(7, Command.FILL, bytes([0, 12, 1, 2, 3])))
    first = firmware.feed(fill, 0.0)
    shows = len(firmware.shows)
    assert firmware.feed(fill, 0.1) == first
    assert len(firmware.shows) == shows
    ask(firmware, Command.OFF, sequence=8)
    assert firmware.feed(fill, 0.2) == first
    assert len(firmware.shows) == shows + 2


def test_silence_darkens_and_forgets_the_last_command():
    firmware = RingFirmware()
    fill = encode_frame(Frame(7, Command.FILL, bytes([0, 12, 1, 2, 3])))
    firmware.feed(fill, 10.0)
    firmware.tick(11.99)
    assert any(map(any, firmware.shown))
    firmware.tick(12.0)
    assert not any(map(any, firmware.shown))
    firmware.feed(fill, 12.1)
    assert firmware.shown == ((1, 2, 3),) * 12


@pytest.mark.parametrize("length", [190, 250, 400])
def test_a_line_that_is_too_long_is_refused_whole(length):
    firmware = RingFirmware()
    (answer,) = answers(firmware, b"\x01" * length + b"\0")
    assert (answer.sequence, answer.command, answer.payload) == (0, 0, bytes([Status.BAD_FRAME]))


@STEADY
@given(st.lists(st.binary(max_size=80), max_size=5))
def test_whatever_comes_each_line_is_answered_once_and_the_next_command_works(lines):
    firmware = RingFirmware()
    parts = FrameSplitter().feed(b"\0".join(lines) + b"\0")
    assert len(answers(firmware, b"\0".join(lines) + b"\0")) == len(parts)
    assert ask(firmware, Command.OFF, sequence=255)[0] == Status.OK


@STEADY
@given(st.integers(0, 255), st.binary(max_size=40))
def test_any_command_is_answered_with_a_status_of_the_table(command, payload):
    firmware = RingFirmware()
    assert ask(firmware, command, payload)[0] in set(Status)


def test_power_on_counts_resets_anew():
    firmware = RingFirmware()
    firmware.reset(1.0)
    firmware.reset(2.0)
    assert ask(firmware, Command.STATISTICS, now_s=2.5)[11:13] == (2).to_bytes(2, "big")
    firmware.reset(3.0, ResetCause.POWER_ON)
    assert ask(firmware, Command.STATISTICS, now_s=3.5)[11:13] == (0).to_bytes(2, "big")
