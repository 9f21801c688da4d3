"""Commands over a line that loses, repeats, changes and delays bytes: answered once, or failed by name."""

from __future__ import annotations

import pytest
from firmware.lockstep_wire import FaultyWire, NoisyLine, TwinWire

from mobilescope.core.errors import LinkError, LinkLostError, RefusedError
from mobilescope.core.framing import Frame, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.ring_protocol import Command, Status
from mobilescope.devices.ring_link import identify
from mobilescope.devices.transport import ATTEMPTS, Link
from mobilescope.twin.ring_firmware import RingFirmware

FILL = bytes([0, 12, 1, 2, 3])


class ScriptedWire(TwinWire):
    """Answers with what the test says: for each frame sent, bytes made of it."""

    def __init__(self, answer):
        super().__init__(RingFirmware())
        self.sent = []
        self._answer = answer

    def write(self, data):
        (frame,) = [decode_frame(part) for part in FrameSplitter().feed(data)]
        self.sent.append(frame)
        self._arrived += self._answer(frame, len(self.sent))


def reply(frame, payload=bytes(6)):
    return encode_frame(Frame(frame.sequence, frame.command, payload))


@pytest.fixture
def wire():
    return FaultyWire(TwinWire(RingFirmware()))


@pytest.mark.parametrize("fault", ["lost", "repeated", "flipped", "cut", "delayed"])
@pytest.mark.parametrize("to_board", [True, False], ids=["to the board", "to the host"])
def test_a_damaged_exchange_is_repeated_and_executed_once(wire, fault, to_board):
    link = Link(wire)
    identify(link)
    wire.arm(fault, to_board=to_board)
    link.request(Command.FILL, FILL)
    assert wire.struck
    assert wire.firmware.shown == ((1, 2, 3),) * 12
    assert len(wire.firmware.shows) == 1
    if (fault, to_board) != ("delayed", True):
        assert link.statistics.retries >= 1
    link.request(Command.OFF)
    assert wire.firmware.shown == ((0, 0, 0),) * 12


def test_sequence_numbers_run_from_1_to_255_and_again():
    wire = ScriptedWire(lambda frame, _: reply(frame))
    link = Link(wire)
    for _ in range(256):
        link.request(Command.KEEP_ALIVE)
    assert [frame.sequence for frame in wire.sent] == [*range(1, 256), 1]


def test_a_repeat_is_the_same_bytes():
    wire = ScriptedWire(lambda frame, count: reply(frame) if count == 3 else b"")
    Link(wire).request(Command.FILL, FILL)
    assert wire.sent == [Frame(1, Command.FILL, FILL)] * 3


def test_replies_to_earlier_commands_are_passed_over():
    stale = encode_frame(Frame(9, Command.GET_CONFIG, b"\0\x12\x34"))
    wire = ScriptedWire(lambda frame, _: stale + reply(frame, b"\0\x00\x07"))
    assert Link(wire).request(Command.GET_CONFIG, b"\1") == b"\x00\x07"
    assert len(wire.sent) == 1


def test_a_board_that_never_understands_is_asked_twelve_times_without_waiting():
    wire = ScriptedWire(lambda *_: encode_frame(Frame(0, 0, bytes([Status.BAD_FRAME]))))
    with pytest.raises(LinkError, match="did not answer FILL, sent 12 times; check cable and supply"):
        Link(wire).request(Command.FILL, FILL)
    assert len(wire.sent) == ATTEMPTS
    assert wire.now_s() < 0.01


def test_a_silent_board_is_asked_twelve_times():
    wire = ScriptedWire(lambda *_: b"")
    link = Link(wire)
    with pytest.raises(LinkError, match="did not answer"):
        link.request(Command.OFF)
    assert link.statistics.sent == 1
    assert link.statistics.retries == ATTEMPTS - 1


def test_a_line_that_never_stops_talking_ends_in_an_error():
    wire = ScriptedWire(lambda *_: b"")
    wire.read = lambda timeout_s: wire.sleep(0.001) or b"\x55\0"
    with pytest.raises(LinkError, match="did not answer"):
        Link(wire).request(Command.OFF)


def test_a_reply_that_is_too_short_is_asked_for_again():
    wire = ScriptedWire(lambda frame, count: reply(frame, b"\0\x01" if count == 1 else b"\0\x01\x02"))
    link = Link(wire)
    assert link.request(Command.GET_CONFIG, b"\1") == b"\x01\x02"
    assert link.statistics.bad_replies == 1


def test_a_refusal_has_status_data_and_figures(wire):
    link = Link(wire)
    with pytest.raises(RefusedError, match=r"refused FILL: .*\(732 mA, limit 500 mA\); choose darker light") as refused:
        link.request(Command.FILL, bytes([0, 12, 255, 255, 255]))
    assert refused.value.status == Status.CURRENT_LIMIT
    assert refused.value.data == (732).to_bytes(2, "big") + (500).to_bytes(2, "big")
    assert refused.value.exit_status == 2


def test_a_status_of_a_later_protocol_is_an_error():
    wire = ScriptedWire(lambda frame, _: reply(frame, b"\x63"))
    with pytest.raises(LinkError, match="status 99, which this software does not know; update Mobilescope"):
        Link(wire).request(Command.OFF)


def test_a_lost_line_is_told_at_once():
    wire = TwinWire(RingFirmware())
    link = Link(wire)
    wire.plugged = False
    with pytest.raises(LinkLostError):
        link.request(Command.OFF)


def test_the_handshake_waits_for_a_board_that_starts():
    wire = ScriptedWire(lambda frame, count: reply(frame, IDENTITY) if count > 8 else b"\x14\x10noise")
    identity = identify(Link(wire))
    assert identity.pixels == 12
    assert wire.now_s() < 4


IDENTITY = bytes.fromhex("00" "0100" "010000" "01" "1e950f" "0c3cb810" "0005" "01")


def test_noise_both_ways_does_not_bring_a_wrong_answer():
    wire = TwinWire(RingFirmware())
    to_board, to_host = NoisyLine(0.02, seed=1), NoisyLine(0.02, seed=2)
    link = Link(wire)
    write, read = wire.write, wire.read
    wire.write, wire.read = lambda data: write(to_board(data)), lambda timeout_s: to_host(read(timeout_s))
    for number in range(300):
        colour = bytes([number % 100, 7, 200 - number % 50])
        link.request(Command.FILL, bytes([0, 12]) + colour)
        assert wire.firmware.shown == (tuple(colour),) * 12
    assert link.statistics.retries > 50
