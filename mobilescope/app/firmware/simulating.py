"""A simulated ring for the command line: the real firmware in simavr, or where that can't be had its twin in Python."""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mobilescope.app.firmware.builds import board_named, build_firmware
from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import BoardKind, ResetCause
from mobilescope.twin.firmware_port import FirmwarePort
from mobilescope.twin.ring_firmware import RingFirmware
from mobilescope.twin.ring_simulator import RingSimulator, ShownFrame, simulator_missing

_POLL_S = 0.005
_BOOTLOADERS = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders")
_BOOTLOADER_FILES = {
    "new": _BOOTLOADERS / "optiboot" / "optiboot_atmega328.hex",
    "old": _BOOTLOADERS / "atmega" / "ATmegaBOOT_168_atmega328.hex",
}


class SimulatedRing(Protocol):
    """A simulated board on a port, and what its ring shows."""

    @property
    def port(self) -> str:
        """Where a program can open it."""

    def next_frame(self, timeout_s: float) -> ShownFrame | None:
        """Return the next frame on the data line, None where none came in time."""


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes
    ----------
    bootloader : str or None
        ``new`` (optiboot) or ``old`` (of old Nanos): every opening of the port resets the board into it.
    empty : bool
        Start with nothing but the bootloader.
    """

    board: str = "uno"
    pixels: int | None = None
    free_running: bool = False
    bootloader: str | None = None
    eeprom: Path | None = None
    empty: bool = False


def bootloader_file(name: str) -> Path:
    """Return the bootloader ``new`` or ``old``; UserError where it is not installed."""
    path = _BOOTLOADER_FILES.get(name)
    if path is None:
        raise UserError(f"there is no bootloader {name!r}", f"they are {', '.join(_BOOTLOADER_FILES)}")
    if not path.is_file():
        raise UserError(f"there is no {path}", "install it: sudo apt install arduino-core-avr")
    return path


@contextmanager
def simulated_ring(what: Simulation) -> Iterator[SimulatedRing]:
    """Run a simulated ring while the with-block does; firmware and simulator are built where their sources are newer.

    `in_python` tells beforehand whether it is the twin in Python.
    """
    board = board_named(what.board)
    if what.bootloader is not None and board.name != "uno":
        raise UserError(
            f"the {board.name}'s bootloader works over USB, which is not simulated", "leave --bootloader out"
        )
    if in_python():
        with _python_ring(what, board) as ring:
            yield ring
        return
    firmware = None if what.empty else build_firmware(board, pixels=what.pixels).elf_file
    bootloader = None if what.bootloader is None else bootloader_file(what.bootloader)
    with RingSimulator(
        what.board, firmware, bootloader=bootloader, eeprom=what.eeprom, free_running=what.free_running,
        reset_on_open=bootloader is not None,
    ) as simulator:
        yield _SimavrRing(simulator)


def in_python() -> str | None:
    """Return why the firmware can't run in simavr here, so that its twin in Python stands in; None where it can."""
    return simulator_missing()


def frame_json(frame: ShownFrame) -> dict[str, Any]:
    """Return a frame as plain values; the twin in Python has no waveform and so no times of it."""
    line: dict[str, Any] = {"t_s": frame.t_s, "pixels": list(frame.pixels)}
    if frame.bit_ns is not None:
        line |= {"t0h_ns": frame.t0h_ns, "t1h_ns": frame.t1h_ns, "bit_ns": frame.bit_ns}
    if frame.error is not None:
        line["error"] = frame.error
    return line


def frame_colours(frame: ShownFrame) -> list[Colour]:
    """Return a frame's pixels as numbers."""
    colours: list[Colour] = []
    for text in frame.pixels:
        red, green, blue = bytes.fromhex(text)
        colours.append((red, green, blue))
    return colours


class _SimavrRing:
    """The frames of a simulator, handed on once and then forgotten, however long it runs."""

    def __init__(self, simulator: RingSimulator) -> None:
        self._simulator = simulator
        self._pending: deque[ShownFrame] = deque()
        self.port = simulator.port

    def next_frame(self, timeout_s: float) -> ShownFrame | None:
        """Return the next frame, None where none came in time; DeviceError where the simulator has died."""
        until_s = time.monotonic() + timeout_s
        while not self._pending:
            came = len(self._simulator.frames)
            self._pending.extend(self._simulator.frames[:came])
            del self._simulator.frames[:came]
            if self._pending:
                break
            if self._has_ended():
                self._simulator.stop()
                raise DeviceError("the simulated board has ended", "start it again")
            if time.monotonic() >= until_s:
                return None
            time.sleep(_POLL_S)
        return self._pending.popleft()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._simulator.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class _Watched:
    """A firmware in Python whose shows go into a queue as they happen."""

    def __init__(self, firmware: RingFirmware, shown: queue.Queue[ShownFrame]) -> None:
        self._firmware, self._shown = firmware, shown
        self._start_s: float | None = None
        self._latest_s = float("-inf")

    def feed(self, data: bytes, now_s: float) -> bytes:
        reply = self._firmware.feed(data, now_s)
        self._collect(now_s)
        return reply

    def tick(self, now_s: float) -> None:
        self._firmware.tick(now_s)
        self._collect(now_s)

    def reset(self, now_s: float, cause: ResetCause) -> None:
        self._firmware.reset(now_s, cause)
        self._collect(now_s)

    def _collect(self, now_s: float) -> None:
        if self._start_s is None:
            self._start_s = now_s
        for show in self._firmware.shows:
            if show.time_s > self._latest_s:
                self._latest_s = show.time_s
                pixels = tuple(bytes(colour).hex() for colour in show.pixels)
                self._shown.put(ShownFrame(show.time_s - self._start_s, pixels, None, None, None, 0))


@dataclass(frozen=True)
class _PythonRing:
    port: str
    shown: queue.Queue[ShownFrame]

    def next_frame(self, timeout_s: float) -> ShownFrame | None:
        try:
            return self.shown.get(timeout=timeout_s)
        except queue.Empty:
            return None


@contextmanager
def _python_ring(what: Simulation, board: BoardKind) -> Iterator[_PythonRing]:
    if board.name != "uno" or what.bootloader is not None or what.eeprom is not None or what.free_running:
        raise UserError(
            f"without simavr only a plain Uno is simulated in real time: {in_python()}",
            "install what is missing, or leave out --board, --bootloader, --eeprom and --free-running",
        )
    shown: queue.Queue[ShownFrame] = queue.Queue()
    firmware = RingFirmware() if what.pixels is None else RingFirmware(what.pixels)
    with FirmwarePort(_Watched(firmware, shown)) as served:
        yield _PythonRing(served.port, shown)
