"""Input files are files on a disk: they are read in parts, and more than once."""

from __future__ import annotations

from pathlib import Path

from mobilescope.core.errors import InputFileError


def check_file(path: Path, what: str = "file") -> None:
    """Refuse a path where no plain file stands, and say what stands there; ``what`` is what was looked for."""
    if path.is_file():
        return
    if path.is_dir():
        raise InputFileError(f"{path} is a folder, and a {what} is needed", "name the file itself")
    if path.exists():
        kind = "pipe" if path.is_fifo() else "device or a socket"
        raise InputFileError(
            f"{path} is a {kind}, and a {what} is read more than once, which only a file on a disk allows",
            "save it as a file and name that",
        )
    raise InputFileError(f"there is no {what} {path}", "check the path")
