"""The firmware's frames: the document's examples, damage, retries, and what is refused by which name."""

from __future__ import annotations

import json

import pytest
from firmware.conftest import FIRMWARE
from firmware.talking_board import Reply, TalkingBoard

from mobilescope.core.framing import Frame, encode_frame
from mobilescope.core.ring_protocol import Command, LightFlag, PatternKind, ResetCause, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

TEAL = (0, 60, 90)
TEAL_RING = (TEAL,) * 12
DARK_RING = ((0, 0, 0),) * 12
BAD_FRAME = (0, 0, Reply(Status.BAD_FRAME))
STEP = bytes([PatternKind.SINGLE, 0, 1, 1, 1, 0, 10])


@pytest.fixture(params=["uno", "trinket"])
def board(request, built):
    with TalkingBoard(request.param, built[request.param]) as board:
        yield board


def test_example_frames_are_answered_byte_for_byte(built):
    examples = json.loads((FIRMWARE / "examples.json").read_text("utf-8"))
    with TalkingBoard("uno", built["uno"]) as board:
        for example in examples:
            received = board.run(20_000, bytes.fromhex(example["request"])).received
            assert received.hex() == example["reply"], example["text"]


def test_identity(board):
    data = board.do(Command.IDENTIFY).data
    kind = board.kind
    assert data[5:13] == bytes([kind.code, *kind.signature, 12, kind.max_pixels, kind.max_payload, kind.max_steps])
    assert data[15] == ResetCause.POWER_ON


def test_fresh_until_identified_and_again_after_a_reset(board):
    assert LightFlag.FRESH in board.do(Command.KEEP_ALIVE).flags
    board.do(Command.IDENTIFY)
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag(0)
    board.reset()
    assert LightFlag.FRESH in board.do(Command.KEEP_ALIVE).flags
    assert board.do(Command.IDENTIFY).data[15] == ResetCause.EXTERNAL


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (0x00, b"", Status.UNKNOWN_COMMAND),
        (0xFF, b"\x01\x02", Status.UNKNOWN_COMMAND),
        (Command.KEEP_ALIVE, b"\0", Status.BAD_LENGTH),
        (Command.SET_ALL, bytes(33), Status.BAD_LENGTH),
        (Command.SET_ALL, bytes(39), Status.BAD_LENGTH),
        (Command.SET_ONE, bytes(5), Status.BAD_LENGTH),
        (Command.SET_ONE, bytes([12, 0, 0, 0]), Status.PIXEL_OUT_OF_RANGE),
        (Command.SET_RANGE, b"", Status.BAD_LENGTH),
        (Command.SET_RANGE, bytes(1), Status.BAD_LENGTH),
        (Command.SET_RANGE, bytes(6), Status.BAD_LENGTH),
        (Command.SET_RANGE, bytes([11]) + bytes(6), Status.PIXEL_OUT_OF_RANGE),
        (Command.SET_RANGE, bytes([250]) + bytes(36), Status.PIXEL_OUT_OF_RANGE),
        (Command.FILL, bytes([0, 0, 1, 2, 3]), Status.VALUE_OUT_OF_RANGE),
        (Command.FILL, bytes([0, 13, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
        (Command.FILL, bytes([255, 255, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
        (Command.FILL, bytes([11, 2, 255, 255, 255]), Status.PIXEL_OUT_OF_RANGE),
        (Command.PATTERN, bytes([4, 0, 1, 2, 3]), Status.VALUE_OUT_OF_RANGE),
        (Command.PATTERN, bytes([PatternKind.BRIGHT_FIELD, 1, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
        (Command.PATTERN, bytes([PatternKind.SINGLE, 12, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
        (Command.PATTERN, bytes([PatternKind.CHANNEL, 3, 1, 2, 3]), Status.PIXEL_OUT_OF_RANGE),
        (Command.SEQUENCE_STEP, bytes([255]) + STEP, Status.TOO_MANY_STEPS),
        (Command.SEQUENCE_STEP, bytes([0, 9]) + STEP[1:], Status.VALUE_OUT_OF_RANGE),
        (Command.SEQUENCE_STEP, bytes([0]) + STEP[:-1] + b"\x09", Status.VALUE_OUT_OF_RANGE),
        (Command.SEQUENCE_STEP, bytes([0, 0, 0, 255, 255, 255, 0, 9]), Status.VALUE_OUT_OF_RANGE),
        (Command.SEQUENCE_STEP, bytes([0, 0, 0, 255, 255, 255, 0, 10]), Status.CURRENT_LIMIT),
        (Command.SEQUENCE_START, bytes([0, 0, 1]), Status.VALUE_OUT_OF_RANGE),
        (Command.SEQUENCE_START, bytes([17, 0, 1]), Status.TOO_MANY_STEPS),
        (Command.SEQUENCE_START, bytes([1, 0, 1]), Status.NO_SEQUENCE),
        (Command.GET_CONFIG, bytes([0]), Status.UNKNOWN_SETTING),
        (Command.GET_CONFIG, bytes([10]), Status.UNKNOWN_SETTING),
        (Command.SET_CONFIG, bytes([255, 0, 0]), Status.UNKNOWN_SETTING),
        (Command.SET_CONFIG, bytes([Setting.PIXELS, 0, 0]), Status.VALUE_OUT_OF_RANGE),
        (Command.SET_CONFIG, bytes([Setting.PIXELS, 0, 61]), Status.VALUE_OUT_OF_RANGE),
        (Command.SET_CONFIG, bytes([Setting.HOST_TIMEOUT_MS, 0, 99]), Status.VALUE_OUT_OF_RANGE),
    ],
)
def test_refusals_have_names_and_leave_the_light(board, command, payload, status):
    lit = board.fill(TEAL)
    shows = len(board.frames)
    assert board.ask(command, payload).status == status
    assert board.do(Command.KEEP_ALIVE) == lit
    assert len(board.frames) == shows


def test_damage_is_named_and_changes_nothing(board):
    lit = board.fill(TEAL)
    good = board.frame(Command.OFF)
    longest = board.kind.max_payload + 4
    damaged = [
        bytes([good[0], good[1] ^ 0x40, *good[2:]]),  # CRC
        good[:-2] + b"\0",  # a byte lost
        b"\x02\x01\0",  # too short
        b"\x09\x01\x02\0",  # COBS reaches beyond the end
        encode_frame(Frame(1, Command.OFF, bytes([7]) * (longest - 3))),  # one byte too long
        bytes([200]) * 1000 + b"\0",
    ]
    for request in damaged:
        # A line that is far too long arrives for a while before its end.
        received = board.run(10_000 + len(request) * 600, request).received
        assert board.replies() == [BAD_FRAME], (request, received)
    assert board.statistics().bad_frames == len(damaged)
    assert board.do(Command.KEEP_ALIVE) == lit
    assert board.shown == TEAL_RING


def test_the_longest_payload_is_taken(board):
    reply = board.ask(Command.SET_RANGE, bytes(board.kind.max_payload))
    assert reply.status in (Status.PIXEL_OUT_OF_RANGE, Status.BAD_LENGTH)
    assert board.statistics().bad_frames == 0


def test_empty_frames_are_ignored(board):
    board.run(20_000, b"\0\0\0\0")
    assert board.replies() == []
    assert board.send(b"\0\0" + board.frame(Command.IDENTIFY))[2].status == Status.OK


def test_a_frame_may_come_in_pieces(board):
    request = board.frame(Command.FILL, bytes([0, 12, *TEAL]))
    for byte in request[:-1]:
        board.run(50_000, bytes([byte]))
    assert board.replies() == []
    assert board.send(request[-1:])[2].status == Status.OK
    assert board.shown == TEAL_RING


def test_a_reset_inside_a_frame(board):
    request = board.frame(Command.FILL, bytes([0, 12, *TEAL]))
    board.run(20_000, request[:5])
    board.reset()
    assert board.send(request[5:]) == BAD_FRAME
    assert board.send(request)[2].status == Status.OK
    assert board.shown == TEAL_RING


def test_a_retry_gets_the_same_reply_and_executes_nothing(board):
    board.fill(TEAL)
    request = board.frame(Command.OFF)
    first = board.send(request)
    shows = len(board.frames)
    assert board.send(request) == first
    assert len(board.frames) == shows
    # A refusal is remembered as well, whatever has become possible since.
    refused = board.frame(Command.SET_ONE, bytes([12, 1, 1, 1]))
    assert board.send(refused) == board.send(refused)
    assert board.statistics().frames == 6


def test_a_damaged_retry_does_not_lose_the_reply(board):
    board.do(Command.STORE)
    request = board.frame(Command.STORE)
    first = board.send(request)
    assert first[2].status == Status.STORE_TOO_SOON
    assert board.send(request[:3] + bytes([request[3] ^ 1]) + request[4:]) == BAD_FRAME
    assert board.send(request) == first


def test_a_retried_store_is_written_once(board):
    request = board.frame(Command.STORE)
    first = board.send(request)
    assert first[2].status == Status.OK
    assert board.send(request) == first
    assert board.statistics().stores == 1


def test_a_retry_that_comes_while_the_board_stores(board):
    request = board.frame(Command.STORE)
    board.run(20_000, request)
    assert board.replies() == []
    board.run(600_000, request)
    first, second = board.replies()
    assert first == second
    assert board.statistics().stores == 1


def test_a_command_is_executed_anew_when_the_light_has_gone_off_by_itself(board):
    request = board.frame(Command.FILL, bytes([0, 12, *TEAL]))
    board.send(request)
    board.run(2_200_000)
    assert board.shown == DARK_RING
    assert board.send(request)[2].status == Status.OK
    assert board.shown == TEAL_RING


def test_identify_is_always_executed_and_forgets(board):
    request = board.frame(Command.FILL, bytes([0, 12, *TEAL]))
    board.send(request)
    identify = board.frame(Command.IDENTIFY)
    assert board.send(identify) == board.send(identify)
    shows = len(board.frames)
    board.send(request)
    assert len(board.frames) == shows + 1


def test_statistics(board):
    board.do(Command.KEEP_ALIVE)
    assert board.send(b"\x05\x01\0") == BAD_FRAME
    before = board.statistics()
    assert (before.frames, before.bad_frames, before.overruns, before.timeouts) == (2, 1, 0, 0)
    assert (before.resets, before.reset_cause, before.stores) == (0, ResetCause.POWER_ON, 0)
    board.run(1_000_000)
    after = board.statistics()
    assert after.uptime_ms * 1000 == pytest.approx(board.time_us, abs=15_000)
    board.reset()
    board.reset()
    again = board.statistics()
    assert (again.frames, again.bad_frames, again.resets) == (1, 0, 2)
    assert again.reset_cause == ResetCause.EXTERNAL
    board.reset("power")
    assert (board.statistics().resets, board.statistics().reset_cause) == (0, ResetCause.POWER_ON)


def test_bytes_sent_while_pixels_go_out_are_counted_as_lost(built):
    with TalkingBoard("uno", built["uno"]) as board:
        board.configure(Setting.PIXELS, 60)
        board.run(20_000, board.frame(Command.FILL, bytes([0, 60, 1, 1, 1])) + board.frame(Command.KEEP_ALIVE) * 6)
        board.run(20_000, b"\0")
        board.replies()
        assert board.statistics().overruns > 0
