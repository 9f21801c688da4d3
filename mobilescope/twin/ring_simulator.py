"""The illumination board and its real firmware, simulated by ``firmware/sim``: on a port, or in lock-step."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from mobilescope.core.errors import DeviceError
from mobilescope.twin.simulator_process import (
    END_S,
    BoardEvent,
    ShownFrame,
    SimulatorProcess,
    build_simulator,
    end_after,
    read_event,
    read_frame,
    simulator_missing,
)

__all__ = [
    "BoardEvent",
    "LockstepBoard",
    "LockstepReport",
    "ResetCause",
    "RingSimulator",
    "ShownFrame",
    "build_simulator",
    "simulator_missing",
]

ResetCause = Literal["power", "external", "watchdog"]


@dataclass(frozen=True)
class LockstepReport:
    """What happened until ``time_us``: bytes from the board, frames on its data line, events."""

    time_us: int
    received: bytes
    frames: tuple[ShownFrame, ...]
    events: tuple[BoardEvent, ...]


class LockstepBoard:
    """A simulated board whose time moves only in :meth:`advance`: the same calls give the same answers to the bit.

    Parameters
    ----------
    board : str
        ``uno`` or ``trinket``.
    firmware : Path
        The program, ``.hex`` or ``.elf``.
    eeprom : Path, optional
        The EEPROM's bytes, read at the start where the file exists and written at the end.
    """

    def __init__(self, board: str, firmware: Path, *, eeprom: Path | None = None) -> None:
        self._arguments = ["--board", board, "--firmware", str(firmware), "--lockstep"]
        if eeprom is not None:
            self._arguments += ["--eeprom", str(eeprom)]
        self._process: SimulatorProcess | None = None

    def __enter__(self) -> Self:
        """Power the board; its program has not run yet."""
        self._process = SimulatorProcess(self._arguments, with_input=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the simulator."""
        process, self._process = self._running(), None
        end_after(process.end, error)

    def _running(self) -> SimulatorProcess:
        if self._process is None:
            raise RuntimeError("a LockstepBoard runs inside its with statement")
        return self._process

    def advance(self, us: int, data: bytes = b"") -> LockstepReport:
        """Send bytes, one after the other at the board's rate from now on, and let ``us`` microseconds pass."""
        process = self._running()
        process.ask(f"a {us} {data.hex() or '-'}")
        line = process.line()
        if line is None:
            raise process.failure()
        return LockstepReport(
            time_us=line["t_us"],
            received=bytes.fromhex(line["rx"]),
            frames=tuple(map(read_frame, line["frames"])),
            events=tuple(map(read_event, line["events"])),
        )

    def press_button(self) -> None:
        """Hold the button (the Trinket's; an Uno has none) from now on."""
        self._running().ask("button 1")

    def release_button(self) -> None:
        """Let the button go."""
        self._running().ask("button 0")

    def reset(self, cause: ResetCause = "external") -> None:
        """Reset the chip now: its pin, its power (which clears RAM), or as its watchdog does."""
        self._running().ask(f"reset {cause}")


class RingSimulator:
    """A simulated board on a pseudo-terminal that any program can open as it would open the real board's port.

    Parameters
    ----------
    board : str
        ``uno`` or ``trinket``.
    firmware : Path, optional
        The program, ``.hex`` or ``.elf``; may be left out where there is a bootloader.
    bootloader : Path, optional
        A bootloader (``.hex``) that every reset enters; avrdude can then write a program.
    eeprom : Path, optional
        The EEPROM's bytes, read at the start where the file exists and written at resets and at the end.
    free_running : bool
        As fast as it goes instead of at the wall clock's pace.
    reset_on_open : bool
        Reset the chip when a program opens the port, as an Arduino does.
    events : bool
        Collect trigger edges and resets.
    flash_dump : Path, optional
        Where the flash memory is written at the end.

    Attributes
    ----------
    port : str
        The pseudo-terminal.
    pid : int
        The simulator's process.
    frames, events : list
        All that was shown and that happened so far, growing from a thread.
    """

    def __init__(
        self,
        board: str,
        firmware: Path | None = None,
        *,
        bootloader: Path | None = None,
        eeprom: Path | None = None,
        free_running: bool = False,
        reset_on_open: bool = False,
        events: bool = False,
        flash_dump: Path | None = None,
    ) -> None:
        paths = {"firmware": firmware, "bootloader": bootloader, "eeprom": eeprom, "flash-dump": flash_dump}
        flags = {"free-running": free_running, "reset-on-open": reset_on_open, "events": events}
        self._arguments = ["--board", board]
        self._arguments += [word for name, path in paths.items() if path for word in (f"--{name}", str(path))]
        self._arguments += [f"--{name}" for name, wanted in flags.items() if wanted]
        self.frames: list[ShownFrame] = []
        self.events: list[BoardEvent] = []
        self.port = ""
        self.pid = 0
        self._taken = 0
        self._ended = False
        self._news = threading.Condition()
        self._process: SimulatorProcess | None = None

    def __enter__(self) -> Self:
        """Start it; the port is there when this returns."""
        self._process = process = SimulatorProcess(self._arguments, with_input=False)
        first = process.line()
        if first is None:
            self._process = None
            error = process.failure()
            end_after(process.end, error)
            raise error
        self.port, self.pid = first["port"], first["pid"]
        self._reader = threading.Thread(target=self._read, args=(process,), name="ring simulator", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        end_after(self.stop, error)

    def _read(self, process: SimulatorProcess) -> None:
        while (line := process.line()) is not None:
            with self._news:
                if "event" in line:
                    self.events.append(read_event(line))
                else:
                    self.frames.append(read_frame(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def next_frame(self, timeout_s: float) -> ShownFrame:
        """Return the next frame that this method has not returned yet; DeviceError where none comes in time."""
        until = time.monotonic() + timeout_s
        with self._news:
            while len(self.frames) <= self._taken:
                left_s = until - time.monotonic()
                if self._ended or left_s <= 0:
                    what = "the simulated board has ended" if self._ended else f"no frame within {timeout_s} s"
                    raise DeviceError(f"{what}, after {self._taken} frames")
                self._news.wait(left_s)
            self._taken += 1
            return self.frames[self._taken - 1]

    def reset(self) -> None:
        """Pull the reset pin."""
        self._running().signal(signal.SIGUSR1)

    def stop(self) -> None:
        """End the simulator; DeviceError where it had failed (its program crashed). A second call does nothing."""
        if self._process is None:
            return
        process, self._process = self._running(), None
        if not process.ended():
            process.signal(signal.SIGTERM)
        self._reader.join(END_S)
        process.end()

    def _running(self) -> SimulatorProcess:
        if self._process is None:
            raise RuntimeError("a RingSimulator runs inside its with statement")
        return self._process
