"""Running avrdude: its command lines, its progress as it comes, and its failures told as causes with a way out."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from mobilescope.core.errors import CancelledError, DeviceError, PortError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.ring_protocol import BoardKind

NEW_BOOTLOADER_BAUD = 115200
OLD_BOOTLOADER_BAUD = 57600

# The Trinket's bootloader erases page by page and is deaf on USB meanwhile, much longer than the bare chip would be.
TRINKET_PART = """\
part parent "t85"
    id = "t85";
    chip_erase_delay = 900000;
;
"""

_PARTS = {"uno": "m328p", "trinket": "t85"}
_SIGNATURE = re.compile(r"[Dd]evice signature = (?:0x)?([0-9a-fA-F]{6})")
# avrdude spends some 5 s on each of ten attempts; a bootloader that is there answers the first.
_OUT_OF_SYNC = re.compile(r"attempt \d+ of \d+: not in sync|not in sync: resp=")
_BAR = re.compile(r"(Reading|Writing) \| (#*)(?: \| (\d+)% ([\d.]+) ?s)?")
_BAR_STEPS = 50
_STAGES = {"Writing": "write", "Reading": "read back"}
_SILENCE_S = 30.0


class SyncError(DeviceError):
    """No bootloader answered; another speed or another reset may help."""


class WrongChipError(UserError):
    """A chip that this firmware is not for; nothing was written to it."""


@dataclass(frozen=True)
class Programmer:
    """How a board is reached: its serial bootloader (``port``, ``baud``), or the Trinket's over USB (no port).

    ``part_file`` holds `TRINKET_PART`.
    """

    board: BoardKind
    port: str | None = None
    baud: int = NEW_BOOTLOADER_BAUD
    part_file: Path | None = None

    def identify(self) -> list[str]:
        """Return the command that reads the chip's signature and writes nothing."""
        return [*self._common(), "-n"]

    def write(self, hex_file: Path) -> list[str]:
        """Return the command that writes a program and reads it back."""
        # Serial bootloaders erase what they write; the Trinket's wants to be told before.
        erase = ["-D"] if self.port is not None else []
        return [*self._common(), *erase, "-U", f"flash:w:{hex_file}:i"]

    def verify(self, hex_file: Path) -> list[str]:
        """Return the command that compares the chip with a program and writes nothing."""
        return [*self._common(), "-n", "-U", f"flash:v:{hex_file}:i"]

    def _common(self) -> list[str]:
        part = _PARTS[self.board.name]
        if self.port is None:
            extra = [] if self.part_file is None else ["-C", f"+{self.part_file}"]
            return ["avrdude", *extra, "-c", "usbtiny", "-p", part]
        return ["avrdude", "-c", "arduino", "-p", part, "-P", self.port, "-b", str(self.baud)]


@dataclass(frozen=True)
class AvrdudeRun:
    """What a run of avrdude said, and the seconds of its stages (``write``, ``read back``) by its own clock."""

    text: str
    seconds: dict[str, float]

    @property
    def signature(self) -> bytes | None:
        """The chip's signature, where avrdude told one."""
        found = _SIGNATURE.search(self.text)
        return bytes.fromhex(found[1]) if found else None


def require_avrdude() -> str:
    """Return the path of avrdude; UserError where it is not installed."""
    path = shutil.which("avrdude")
    if path is None:
        raise UserError("avrdude is not installed", "install it: sudo apt install avrdude")
    return path


def read_signature(programmer: Programmer, *, stop: StopToken | None = None) -> bytes:
    """Return the signature of the chip on the board; WrongChipError unless it is the board's own chip."""
    run = run_avrdude(programmer, programmer.identify(), stop=stop)
    if run.signature is None:
        raise DeviceError(f"avrdude told no chip signature: {_telling_line(run.text)}", "flash again")
    check_signature(programmer.board, run.signature)
    return run.signature


def check_signature(board: BoardKind, signature: bytes) -> None:
    """Raise WrongChipError unless the signature is that of a board's chip."""
    if signature != board.signature:
        raise WrongChipError(
            f"the chip has signature {signature.hex()}, {board.title} has {board.signature.hex()}; nothing was written",
            "check which board is connected, and name it with --board",
        )


def run_avrdude(
    programmer: Programmer,
    command: list[str],
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> AvrdudeRun:
    """Run avrdude to its end.

    Raises
    ------
    SyncError
        No bootloader answered the first attempt.
    WrongChipError
        The signature is another chip's.
    DeviceError, UserError
        Anything else that went wrong.
    CancelledError
        ``stop`` was requested while nothing was being written.
    """
    # A session of its own keeps a terminal's Ctrl-C from stopping avrdude in the middle of a page.
    process = subprocess.Popen(
        [require_avrdude(), *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )
    try:
        text = _followed(process, on_progress, stop)
        status = process.wait(timeout=_SILENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError):
            assert process.stderr is not None
            process.stderr.close()
    signature = AvrdudeRun(text, {}).signature
    if signature is not None:
        check_signature(programmer.board, signature)
    if status != 0:
        raise failure(programmer, text)
    return AvrdudeRun(text, _stage_seconds(text))


def _followed(process: subprocess.Popen[bytes], on_progress: ProgressListener, stop: StopToken | None) -> str:
    """Return all that avrdude says, reporting its bars; it is ended where it finds no bootloader."""
    assert process.stderr is not None
    said, heard_s, bars = "", time.monotonic(), _Bars(on_progress)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.1):
                piece = os.read(process.stderr.fileno(), 4096)
                if not piece:
                    return said
                said += piece.decode(errors="replace")
                heard_s = time.monotonic()
                bars.follow(said)
            if _OUT_OF_SYNC.search(said) and not _BAR.search(said):
                process.kill()
                return said
            if stop is not None and stop.requested and "Writing |" not in said:
                raise CancelledError("flashing stopped on request; nothing was written", "run the same command again")
            if time.monotonic() - heard_s > _SILENCE_S:
                raise DeviceError(
                    f"avrdude has said nothing for {_SILENCE_S:.0f} s", "unplug the board, plug it in and flash again"
                )


class _Bars:
    """Reports avrdude's bars as they grow, each to its end."""

    def __init__(self, on_progress: ProgressListener) -> None:
        self._on_progress = on_progress
        self._current = 0
        self._reported: Progress | None = None

    def follow(self, said: str) -> None:
        """Report what is new in all that avrdude has said."""
        bars = _flash_bars(said)
        for number, (kind, marks, *_) in enumerate(bars[self._current :], start=self._current):
            self._current = number
            progress = Progress(_STAGES[kind], min(100, 100 * len(marks) // _BAR_STEPS), 100)
            if progress != self._reported:
                self._reported = progress
                self._on_progress(progress)


def _flash_bars(said: str) -> list[tuple[str, str, str, str]]:
    """Return avrdude's bars; older versions read the signature with a bar of its own, which is left out."""
    bars = _BAR.findall(said)
    kinds = [bar[0] for bar in bars]
    return bars[kinds.index("Writing") :] if "Writing" in kinds else bars


def _stage_seconds(said: str) -> dict[str, float]:
    return {_STAGES[kind]: float(taken) for kind, _marks, _percent, taken in _flash_bars(said) if taken}


def failure(programmer: Programmer, text: str) -> DeviceError | UserError:
    """Return the error that avrdude's words stand for."""
    where = f"on {programmer.port}" if programmer.port else "over USB"
    if re.search(r"cannot open port .*: No such file", text):
        return PortError(f"there is no port {programmer.port}", "plug the board in; see mobilescope devices")
    if _OUT_OF_SYNC.search(text) or "programmer is not responding" in text:
        return SyncError(
            f"no bootloader answered {where} at {programmer.baud} baud",
            "press the board's reset button just as the command starts, take away what is connected to pins 0 and 1, "
            "and try another USB cable",
        )
    if "cannot find USBtiny device" in text or "Could not find USBtiny device" in text:
        return DeviceError(
            "no Trinket in its bootloader was found on USB",
            "plug it in and press its button, so that the red LED pulses, and run the command within 10 s",
        )
    if "Permission denied" in text or "Operation not permitted" in text or "Insufficient permissions" in text:
        return PortError(
            f"no permission to use the board {where}",
            "join the group that owns the port (sudo usermod -aG dialout $USER, then log in again); the Trinket needs "
            "a udev rule for 1781:0c9f",
        )
    if "mismatch" in text or "verification error" in text:
        return DeviceError(
            "what was read back differs from the program: " + _telling_line(text, "mismatch|verification error"),
            "flash again; if that fails again, try another cable, then another board",
        )
    return DeviceError(
        f"avrdude failed {where}: {_telling_line(text, 'error')}", "unplug the board, plug it in and run this again"
    )


def _telling_line(text: str, pattern: str = ".") -> str:
    """Return the first line in which a pattern occurs, without avrdude's own name before it."""
    found = [line.strip() for line in text.splitlines() if re.search(pattern, line) and "TIOCM" not in line]
    line = found[0] if found else "it said nothing"
    return re.sub(r"^avrdude(?:: | (?:OS )?error: )", "", line)
