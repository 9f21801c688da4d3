"""Anything on the line: the board stays usable, and the light stays what it was or goes off."""

from __future__ import annotations

import pytest
from firmware.talking_board import TalkingBoard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mobilescope.core.framing import Frame, FrameError, decode_frame, encode_frame
from mobilescope.core.ring_model import estimated_ma, shown_crc
from mobilescope.core.ring_protocol import Command, LightFlag, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

TEAL_RING = ((0, 60, 90),) * 12
BYTE_US = {"uno": 87, "trinket": 521}
# What a command sent at random can leave behind without harm to the next example.
HARMLESS = sorted(set(Command) - {Command.SET_CONFIG, Command.STORE})

garbage = st.binary(max_size=300) | st.lists(st.sampled_from(b"\0\x01\x02\x03\xff"), max_size=60).map(bytes)
frames = st.builds(
    Frame, st.integers(0, 255), st.sampled_from(HARMLESS) | st.integers(0x43, 0xFF), st.binary(max_size=40)
)


@pytest.fixture(scope="module", params=["uno", "trinket"])
def board(request, built):
    with TalkingBoard(request.param, built[request.param]) as board:
        board.configure(Setting.HOST_TIMEOUT_MS, 0)
        board.insists = True
        yield board


def send_and_settle(board, data):
    """Send bytes, end what they have begun, and let all replies come."""
    board.run(30_000 + len(data) * BYTE_US[board.kind.name], data)
    board.run(60_000, b"\0")
    board.run(20_000, b"\0")
    return board.replies()


def is_whole(stuffed):
    """Tell whether bytes between two zeros are a frame whose CRC is right."""
    try:
        decode_frame(stuffed)
    except FrameError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(data=garbage)
def test_garbage_leaves_the_light_and_the_link(board, data):
    # Of so many bytes alike, some make a whole frame (03 ff ff 03 ff ff): that is no garbage.
    assume(not any(map(is_whole, data.split(b"\0"))))
    board.fill(TEAL_RING[0])
    shows = len(board.frames)
    replies = send_and_settle(board, data)
    assert all(reply.status == Status.BAD_FRAME for _, _, reply in replies)
    assert bool(replies) == bool(data.strip(b"\0"))
    assert len(board.frames) == shows
    assert board.do(Command.KEEP_ALIVE).crc == shown_crc(TEAL_RING)


@settings(max_examples=60, deadline=None)
@given(frame=frames)
def test_any_whole_frame_has_one_reply_and_what_it_says_is_shown(board, frame):
    board.do(Command.OFF)
    assert board.send(encode_frame(frame))[:2] == (frame.sequence, frame.command)
    light = board.do(Command.KEEP_ALIVE)
    while LightFlag.SEQUENCE in light.flags:
        light = board.do(Command.SEQUENCE_STOP)
    assert light.crc == shown_crc(board.shown)
    assert light.current_ma == estimated_ma(board.shown) <= 500


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 40), flips=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 255)), max_size=3))
def test_a_damaged_command_never_shows_another_light(board, cut, flips):
    before = board.fill((3, 2, 1))
    request = bytearray(board.frame(Command.SET_ALL, bytes(range(36))))
    # The zero at its end is sent afterwards anyhow.
    whole = bytes(request[:-1])
    for place, flip in flips:
        request[place % len(request)] ^= flip
    del request[len(request) - cut % len(request) :]
    send_and_settle(board, bytes(request))
    after = board.do(Command.KEEP_ALIVE)
    if bytes(request).rstrip(b"\0") == whole:
        assert after.crc != before.crc
    else:
        assert after.crc in (before.crc, shown_crc(((0, 0, 0),) * 12))
    assert after.crc == shown_crc(board.shown)
