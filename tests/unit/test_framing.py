"""Frames come back whole, and damage is noticed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilescope.core.framing import Frame, FrameError, FrameSplitter, crc16, decode_frame, encode_frame

# The same examples in each run, however busy the machine is.
STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=249))


def test_the_crc_is_ccitt_with_a_start_of_ones_and_inverted():
    assert crc16(b"123456789") == 0xD64E


@STEADY
@given(FRAMES)
def test_a_frame_comes_back_as_it_was_sent(frame):
    stuffed = encode_frame(frame)
    assert stuffed.endswith(b"\0")
    assert b"\0" not in stuffed[:-1]
    assert decode_frame(stuffed[:-1]) == frame


@STEADY
@given(FRAMES, st.data())
def test_one_changed_byte_is_never_taken_for_another_frame(frame, data):
    stuffed = bytearray(encode_frame(frame))
    place = data.draw(st.integers(0, len(stuffed) - 1))
    stuffed[place] ^= data.draw(st.integers(1, 255))
    for part in FrameSplitter().feed(bytes(stuffed) + b"\0"):
        try:
            assert decode_frame(part) == frame
        except FrameError:
            continue


@STEADY
@given(FRAMES, st.data())
def test_one_lost_byte_is_never_taken_for_another_frame(frame, data):
    stuffed = encode_frame(frame)
    place = data.draw(st.integers(0, len(stuffed) - 1))
    for part in FrameSplitter().feed(stuffed[:place] + stuffed[place + 1 :] + b"\0"):
        try:
            assert decode_frame(part) == frame
        except FrameError:
            continue


@STEADY
@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_an_error(noise):
    for part in FrameSplitter().feed(noise + b"\0"):
        try:
            frame = decode_frame(part)
        except FrameError:
            continue
        assert decode_frame(encode_frame(frame)[:-1]) == frame


@STEADY
@given(st.lists(FRAMES, max_size=4), st.data())
def test_a_stream_is_cut_into_its_frames_however_it_arrives(frames, data):
    stream = b"".join(encode_frame(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter, parts = FrameSplitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parts += splitter.feed(stream[start:end])
    assert [decode_frame(part) for part in parts] == frames


@STEADY
@given(FRAMES, st.binary(max_size=60))
def test_the_frame_after_damage_is_found(frame, noise):
    parts = FrameSplitter().feed(noise + b"\0" + encode_frame(frame))
    assert decode_frame(parts[-1]) == frame


def test_a_line_without_an_end_does_not_grow_for_ever():
    splitter = FrameSplitter()
    given_back = sum(len(part) for _ in range(100) for part in splitter.feed(b"\x55" * 100))
    assert given_back > 9_000


def test_a_payload_that_fits_no_frame_is_refused():
    with pytest.raises(ValueError, match="250 bytes"):
        encode_frame(Frame(1, 1, bytes(250)))


def test_a_byte_lost_or_a_zero_added_at_a_frames_end_is_seen():
    for number in range(1, 256):
        for command in range(64):
            body = encode_frame(Frame(number, command, bytes([command])))[:-1]
            for damaged in (body[:-1], body + b"\1"):
                with pytest.raises(FrameError):
                    decode_frame(damaged)
