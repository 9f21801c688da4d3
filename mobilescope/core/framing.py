"""Frames on a serial wire: sequence number, command, payload and CRC, stuffed so that zero marks the end alone."""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass

_CRC_START = 0xFFFF
# Without it a zero byte lost or added at a frame's end would leave the CRC right.
_CRC_INVERTED = 0xFFFF
_LEAST_BODY = 4
_GREATEST_BODY = 253


@dataclass(frozen=True)
class Frame:
    """One frame: ``sequence`` and ``command`` 0-255, ``payload`` of at most 249 bytes."""

    sequence: int
    command: int
    payload: bytes


class FrameError(ValueError):
    """Bytes between two zeros that are no frame; the message says why."""


def crc16(data: bytes) -> int:
    """Return the CRC-16-CCITT (polynomial 0x1021, start 0xFFFF, inverted) of bytes."""
    return crc_hqx(data, _CRC_START) ^ _CRC_INVERTED


def encode_frame(frame: Frame) -> bytes:
    """Return a frame as it goes over the wire, its closing zero included."""
    body = bytes([frame.sequence, frame.command]) + frame.payload
    body += crc16(body).to_bytes(2, "big")
    if len(body) > _GREATEST_BODY:
        raise ValueError(f"a payload of {len(frame.payload)} bytes does not fit a frame")
    # Bodies are shorter than 254 bytes, so each block between zeros is one COBS block.
    return b"".join(bytes([len(part) + 1]) + part for part in body.split(b"\0")) + b"\0"


def decode_frame(stuffed: bytes) -> Frame:
    """Return the frame in the bytes between two zeros; FrameError where they are damaged."""
    body = _unstuffed(stuffed)
    if len(body) < _LEAST_BODY:
        raise FrameError(f"{len(body)} bytes are too short for a frame")
    if crc16(body[:-2]) != int.from_bytes(body[-2:], "big"):
        raise FrameError("the CRC does not match")
    return Frame(body[0], body[1], body[2:-2])


def _unstuffed(stuffed: bytes) -> bytes:
    parts, place = [], 0
    while place < len(stuffed):
        end = place + stuffed[place]
        if stuffed[place] == 0 or end > len(stuffed):
            raise FrameError("a block reaches beyond the frame")
        parts.append(stuffed[place + 1 : end])
        place = end
    return b"\0".join(parts)


class FrameSplitter:
    """Cuts a stream of bytes at its zeros; longer runs than any frame are given back in pieces as they are."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the stuffed bodies completed by ``data``, empty ones left out."""
        self._pending += data
        *whole, rest = bytes(self._pending).split(b"\0")
        if len(rest) > _GREATEST_BODY + 1:
            whole, rest = [*whole, rest], b""
        self._pending = bytearray(rest)
        return [part for part in whole if part]

    def clear(self) -> None:
        """Forget a frame begun."""
        self._pending.clear()
