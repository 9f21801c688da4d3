"""Reading Intel HEX, the form in which a program goes to a board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilescope.core.errors import InputFileError

_DATA, _END, _SEGMENT_BASE, _SEGMENT_START, _LINEAR_BASE, _LINEAR_START = range(6)
_LEAST_RECORD = 5


@dataclass(frozen=True)
class HexProgram:
    """A program: the bytes that the file holds by their address."""

    content: dict[int, int]

    @property
    def size(self) -> int:
        """Number of bytes held."""
        return len(self.content)

    @property
    def end(self) -> int:
        """The first address behind the program."""
        return max(self.content) + 1


def read_hex(path: Path) -> HexProgram:
    """Return the program in a file; InputFileError names the line that is damaged."""
    try:
        lines = path.read_text("ascii").split()
    except UnicodeDecodeError as error:
        raise _damaged(path, "it is no text") from error
    except OSError as error:
        raise InputFileError(f"{path} can't be read: {error.strerror}", "build the firmware again") from error
    content: dict[int, int] = {}
    base, ended = 0, False
    for number, line in enumerate(lines, start=1):
        if ended:
            raise _damaged(path, f"line {number} follows the end record")
        kind, address, data = _record(path, number, line)
        if kind == _DATA:
            content.update((base + address + offset, value) for offset, value in enumerate(data))
        elif kind in (_SEGMENT_BASE, _LINEAR_BASE):
            base = int.from_bytes(data, "big") << (4 if kind == _SEGMENT_BASE else 16)
        elif kind == _END:
            ended = True
        elif kind not in (_SEGMENT_START, _LINEAR_START):
            raise _damaged(path, f"line {number} is of unknown kind {kind}")
    if not ended:
        raise _damaged(path, "it has no end record")
    if not content:
        raise _damaged(path, "it holds no program")
    return HexProgram(content)


def _record(path: Path, number: int, line: str) -> tuple[int, int, bytes]:
    """Return kind, address and data of a line."""
    try:
        raw = bytes.fromhex(line.removeprefix(":")) if line.startswith(":") else b""
    except ValueError:
        raw = b""
    if len(raw) < _LEAST_RECORD or len(raw) != raw[0] + _LEAST_RECORD:
        raise _damaged(path, f"line {number} is no record")
    if sum(raw) & 0xFF:
        raise _damaged(path, f"the checksum of line {number} does not match")
    return raw[3], int.from_bytes(raw[1:3], "big"), raw[4:-1]


def _damaged(path: Path, why: str) -> InputFileError:
    return InputFileError(f"{path} is no whole Intel HEX file: {why}", "build the firmware again")
