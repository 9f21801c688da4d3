"""Building and running ``ringsim``, the simulator of the illumination board, and reading the lines it prints.

Needs gcc, simavr and Linux; :func:`simulator_missing` tells what is not there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.firmware_files import firmware_folder

RangeNs = tuple[int, int]

_SIMAVR_HEADER = Path("/usr/include/simavr/sim_avr.h")
_AVR_HEADER = Path("/usr/lib/avr/include/avr/io.h")
_PACKAGES = "gcc make libsimavr-dev gcc-avr avr-libc"
_SAY_LINES = 4
END_S = 5.0


@dataclass(frozen=True)
class ShownFrame:
    """What the data line told the pixels, decoded from its edges.

    Attributes
    ----------
    t_s : float
        Simulated time since power-on at which the last bit had been sent.
    pixels : tuple of str
        Colours as ``rrggbb``, first pixel first.
    t0h_ns, t1h_ns, bit_ns : tuple of int or None
        Least and greatest high time of zeros, of ones, and time from bit to bit; None where there was none.
    latch_us : int
        How long the line had been low before this frame.
    error : str or None
        What is not WS2812's: incomplete pixels, times outside the limits.
    """

    t_s: float
    pixels: tuple[str, ...]
    t0h_ns: RangeNs | None
    t1h_ns: RangeNs | None
    bit_ns: RangeNs | None
    latch_us: int
    error: str | None = None


@dataclass(frozen=True)
class BoardEvent:
    """An edge of the trigger output (``kind`` "trigger" and its ``level``) or a reset ("reset" and its ``cause``)."""

    t_s: float
    kind: str
    level: int | None = None
    cause: str | None = None


def simulator_missing() -> str | None:
    """Return what keeps the simulator or its firmware from being built here, None where all is there."""
    there = {
        "make": shutil.which("make"),
        "gcc": shutil.which("gcc"),
        "simavr": _SIMAVR_HEADER.is_file(),
        "avr-gcc": shutil.which("avr-gcc"),
        "avr-libc": _AVR_HEADER.is_file(),
    }
    missing = [name for name, found in there.items() if not found]
    return f"{', '.join(missing)} not found (apt-get install {_PACKAGES})" if missing else None


def build_simulator() -> Path:
    """Build the simulator where its sources are newer, and return the program.

    Raises
    ------
    UserError
        Tools are missing.
    DeviceError
        The compiler refused; the message has its last lines.
    """
    if missing := simulator_missing():
        raise UserError(f"the board can't be simulated here: {missing}", "install what is missing")
    folder = firmware_folder()
    done = subprocess.run(["make", "-C", str(folder / "sim")], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"the simulator did not build: {_last_lines(done.stderr)}", "see firmware/sim/README.md")
    return folder / "build" / "ringsim"


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-_SAY_LINES:]) or "it said nothing"


def _range(values: Sequence[int] | None) -> RangeNs | None:
    return (values[0], values[1]) if values else None


def read_frame(line: dict[str, Any]) -> ShownFrame:
    """Return the frame that a line tells of."""
    return ShownFrame(
        t_s=line["t_s"],
        pixels=tuple(line["pixels"]),
        t0h_ns=_range(line["t0h_ns"]),
        t1h_ns=_range(line["t1h_ns"]),
        bit_ns=_range(line["bit_ns"]),
        latch_us=line["latch_us"],
        error=line.get("error"),
    )


def read_event(line: dict[str, Any]) -> BoardEvent:
    """Return the event that a line tells of."""
    return BoardEvent(line["t_s"], line["event"], line.get("level"), line.get("cause"))


class SimulatorProcess:
    """A running ``ringsim``; what it says on standard error waits in a file for the moment it fails."""

    def __init__(self, arguments: Sequence[str], *, with_input: bool) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by end()
        self._popen = subprocess.Popen(
            [str(build_simulator()), *arguments],
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            # Ctrl-C in a terminal is for the program: the light must still be there to be switched off.
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._blamed = False

    def ask(self, line: str) -> None:
        """Write one line to its standard input."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(line + "\n")
            self._popen.stdin.flush()
        except BrokenPipeError as error:
            raise self.failure() from error

    def line(self) -> dict[str, Any] | None:
        """Return the next line it prints, None once it has ended."""
        assert self._popen.stdout is not None
        text = self._popen.stdout.readline()
        return json.loads(text) if text else None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def ended(self) -> bool:
        """Tell whether it runs no more."""
        return self._popen.poll() is not None

    def failure(self) -> DeviceError:
        """Return the error that tells why it ended."""
        status = self._popen.wait(END_S)
        self._blamed = True
        self._said.seek(0)
        return DeviceError(f"the simulated board ended with status {status}: {_last_lines(self._said.read())}")

    def end(self) -> None:
        """End it if it still runs and free what it held; DeviceError where it had failed and nobody knows yet."""
        try:
            if self._popen.stdin:
                with contextlib.suppress(BrokenPipeError):  # it has ended already, and its status tells why
                    self._popen.stdin.close()
            elif not self.ended():
                self.signal(signal.SIGTERM)
            if self._popen.wait(END_S) and not self._blamed:
                raise self.failure()
        except subprocess.TimeoutExpired as error:
            self._popen.kill()
            self._popen.wait()
            raise DeviceError("the simulated board did not end when told to and was killed") from error
        finally:
            for stream in (self._popen.stdout, self._said):
                if stream:
                    stream.close()


def end_after(end: Callable[[], None], error: BaseException | None) -> None:
    """End; a failure to do so is noted on the error that is on its way already."""
    try:
        end()
    except DeviceError as failure:
        if error is None:
            raise
        error.add_note(f"then {failure}")
