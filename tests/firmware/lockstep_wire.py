"""Wires to simulated boards whose time the client drives, and wires that damage what goes over them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from mobilescope.core.errors import LinkLostError, PortError
from mobilescope.core.ring_model import Colour
from mobilescope.twin.ring_firmware import RingFirmware
from mobilescope.twin.ring_simulator import LockstepBoard

Damage = Callable[[bytes], bytes]

_STEP_US = 500
# What a byte takes on the twin's line, so that an exchange takes time there too.
_TWIN_BYTE_S = 87e-6


def untouched(data: bytes) -> bytes:
    """Damage nothing."""
    return data


class NoisyLine:
    """Drops or changes a share of all bytes, by a seed."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)

    def __call__(self, data: bytes) -> bytes:
        """Return what is left of the data."""
        arrived = bytearray()
        for byte in data:
            if self._random.random() >= self._share:
                arrived.append(byte)
            elif self._random.random() < 0.5:
                arrived.append(byte ^ self._random.randrange(1, 256))
        return bytes(arrived)


class LockstepWire:
    """A wire to the real firmware in simavr; time passes only while the client waits.

    Attributes
    ----------
    shows : list of (s, pixels)
        Every frame on the LEDs' data line, decoded from its waveform, with the time of its end.
    """

    name = "the simulated board"

    def __init__(self, board: LockstepBoard, to_board: Damage = untouched, to_host: Damage = untouched) -> None:
        self.shows: list[tuple[float, tuple[Colour, ...]]] = []
        self.events: list[Any] = []
        self._board = board
        self._to_board, self._to_host = to_board, to_host
        self._arrived = b""
        self._time_us = 0

    def write(self, data: bytes) -> None:
        """Send bytes at the board's rate."""
        self._advance(0, self._to_board(data))

    def read(self, timeout_s: float) -> bytes:
        """Let time pass until bytes come."""
        end_us = self._time_us + math.ceil(timeout_s * 1e6)
        while not self._arrived and self._time_us < end_us:
            self._advance(min(_STEP_US, end_us - self._time_us))
        arrived, self._arrived = self._arrived, b""
        return arrived

    def now_s(self) -> float:
        """Return the board's time."""
        return self._time_us / 1e6

    def sleep(self, duration_s: float) -> None:
        """Let the board's time pass."""
        self._advance(round(duration_s * 1e6))

    def close(self) -> None:
        """Leave the board as it is."""

    def reopen(self) -> None:
        """Go on with the same board."""

    def _advance(self, us: int, data: bytes = b"") -> None:
        report = self._board.advance(us, data)
        self._time_us = report.time_us
        self._arrived += self._to_host(report.received)
        for frame in report.frames:
            assert frame.error is None, frame
            self.shows.append((frame.t_s, tuple(_colour(pixel) for pixel in frame.pixels)))
        self.events += report.events


class TwinWire:
    """A wire to the firmware's twin in this process; time passes only while the client waits."""

    name = "the twin"

    def __init__(self, firmware: RingFirmware) -> None:
        self.firmware = firmware
        self.plugged = True
        self.reopened = 0
        self._arrived = b""
        self._now_s = 0.0

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._refuse_unplugged()
        self._now_s += len(data) * _TWIN_BYTE_S
        reply = self.firmware.feed(data, self._now_s)
        self._now_s += len(reply) * _TWIN_BYTE_S
        self._arrived += reply

    def read(self, timeout_s: float) -> bytes:
        """Return the reply, or let the time pass."""
        self._refuse_unplugged()
        if not self._arrived:
            self.sleep(timeout_s)
        arrived, self._arrived = self._arrived, b""
        return arrived

    def now_s(self) -> float:
        """Return the time."""
        return self._now_s

    def sleep(self, duration_s: float) -> None:
        """Let time pass."""
        self._now_s += duration_s
        self.firmware.tick(self._now_s)

    def close(self) -> None:
        """Leave the board as it is."""

    def reopen(self) -> None:
        """Find the board again, if it is there."""
        self._arrived = b""
        if not self.plugged:
            raise PortError("there is no port", "plug the board in")
        self.reopened += 1

    def _refuse_unplugged(self) -> None:
        if not self.plugged:
            raise LinkLostError("the connection is lost", "plug the board in again")


class FaultyWire:
    """Another wire with one fault on its first transmission after `arm`, to the board or back."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._fault: str | None = None
        self._to_board = True
        self._held = b""
        self._held_until_s = 0.0
        self.struck = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def arm(self, fault: str, *, to_board: bool) -> None:
        """Damage the next bytes: ``lost``, ``repeated``, ``flipped``, ``cut`` or ``delayed``."""
        self._fault, self._to_board, self.struck = fault, to_board, False

    def write(self, data: bytes) -> None:
        """Send bytes, perhaps damaged."""
        if self._fault is not None and self._to_board:
            data = self._strike(data)
        self._inner.write(data)

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, perhaps damaged or held back."""
        if self._held:
            wait_s = self._held_until_s - self._inner.now_s()
            if wait_s > timeout_s:
                self._inner.sleep(timeout_s)
                return b""
            self._inner.sleep(max(wait_s, 0))
            held, self._held = self._held, b""
            return held
        data: bytes = self._inner.read(timeout_s)
        if not data or self._fault is None or self._to_board:
            return data
        if self._fault == "delayed":
            # A whole reply beyond the time-out, so that it comes when the host has asked again.
            while more := self._inner.read(0.005):
                data += more
            self._held, self._held_until_s = data, self._inner.now_s() + 0.3
            self._fault, self.struck = None, True
            return b""
        return self._strike(data)

    def _strike(self, data: bytes) -> bytes:
        fault, self._fault, self.struck = self._fault, None, True
        if fault == "delayed":
            # The board waits for the rest of a frame; the host's time-out is shorter than this.
            self._inner.write(data[: len(data) // 2])
            self._inner.sleep(0.3)
            return data[len(data) // 2 :]
        middle = len(data) // 2
        return {
            "lost": data[:middle] + data[middle + 1 :],
            "repeated": data[: middle + 1] + data[middle:],
            "flipped": data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :],
            "cut": data[:-1],
        }[str(fault)]


def _colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue
