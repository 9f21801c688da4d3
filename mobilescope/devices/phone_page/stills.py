"""Stills on the disk: whole and synced before the phone hears that they are saved, and never twice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from mobilescope.core.errors import DiskSpaceError, OutputError
from mobilescope.devices.phone_page.clock import ClockReading
from mobilescope.devices.phone_page.messages import StillHeader

_PART = ".incoming-"
_STALE_S = 3600.0
_MARGIN_BYTES = 64 * 1024**2
_ENDINGS = {".jpg", ".png", ".dng", ".tif", ".heic"}
# A picture of more pixels is no phone's.
_MOST_PIXELS = 400_000_000
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


class StillRefusedError(Exception):
    """A still that can't be kept for what it is; the text says why."""


@dataclass(frozen=True)
class Still:
    """A still that is safe on the disk.

    Attributes
    ----------
    width, height : int
        As it is stored, 0 for kinds of file that are kept unread.
    shown : tuple of int
        Width and height as its EXIF data say that it is shown.
    taken_s : float
        Seconds since the epoch on this computer's clock.
    """

    path: Path
    digest: str
    width: int
    height: int
    shown: tuple[int, int]
    taken_s: float
    client: str
    clock: ClockReading | None
    header: StillHeader
    again: bool = False


class StillStore:
    """A folder of stills, each with a file of notes beside it; what is there already is known by its SHA-256.

    Parameters
    ----------
    folder : Path
        Exists and may be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._known = dict(_noted(folder))
        for stale in folder.glob(f"{_PART}*"):
            with suppress(OSError):
                if time.time() - stale.stat().st_mtime > _STALE_S:
                    stale.unlink()

    @contextmanager
    def incoming(self, digest: str, size_bytes: int) -> Iterator[BinaryIO]:
        """Yield the file that takes a still's bytes as they come; it is removed afterwards if `keep` did not take it.

        Raises
        ------
        DiskSpaceError
            It would not fit.
        """
        free = os.statvfs(self.folder)
        if free.f_bavail * free.f_frsize < size_bytes + _MARGIN_BYTES:
            raise DiskSpaceError(f"the disk of {self.folder} is full", "free some space; the phone keeps the still")
        path = self.folder / f"{_PART}{digest[:16]}-{time.monotonic_ns()}"
        try:
            with path.open("wb") as stream:
                yield stream
        finally:
            path.unlink(missing_ok=True)

    def keep(
        self, stream: BinaryIO, digest: str, header: StillHeader, *, client: str, clock: ClockReading | None
    ) -> Still:
        """Make a still that has arrived safe: checked, synced, named; the one already there where it came before.

        Raises
        ------
        StillRefusedError
            It is damaged, or no picture.
        """
        stream.flush()
        part = Path(stream.name)
        with part.open("rb") as arrived:
            if hashlib.file_digest(arrived, "sha256").hexdigest() != digest:
                raise StillRefusedError("the still was damaged on its way")
            ending = _ending(arrived)
        (width, height), shown = _sizes(part, ending)
        taken_s = header.wall_ms / 1000 - (0.0 if clock is None else clock.ahead_ms / 1000)
        with self._lock:
            known = self._known.get(digest)
            if known is not None and known.is_file():
                return Still(known, digest, width, height, shown, taken_s, client, clock, header, again=True)
            path = self.folder / _name(taken_s, digest, header.name, ending)
            notes: dict[str, Any] = {
                "sha256": digest, "bytes": part.stat().st_size, "width": width, "height": height, "taken_s": taken_s,
                "received_s": time.time(), "phone": client, **header.model_dump(mode="json"),
                "phone_clock_ahead_ms": None if clock is None else round(clock.ahead_ms, 2),
                "phone_clock_uncertainty_ms": None if clock is None else round(clock.uncertainty_ms, 2),
            }
            try:
                _write_synced(path.with_name(path.name + ".json"), json.dumps(notes, indent=1).encode())
                os.fsync(stream.fileno())
                part.rename(path)
                _sync_folder(self.folder)
            except OSError as error:
                raise OutputError(f"{path} can't be written: {error.strerror}", "check the disk") from error
            self._known[digest] = path
        return Still(path, digest, width, height, shown, taken_s, client, clock, header)

    def __len__(self) -> int:
        """Return how many stills are here."""
        with self._lock:
            return len(self._known)


def safe_name(name: str) -> str:
    """Return what is harmless of a file's name that a phone gave: no folder, no leading dot, plain letters."""
    last = re.split(r"[/\\]", name)[-1].rpartition(".")
    stem = last[0] or last[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:48]


def _name(taken_s: float, digest: str, given: str, ending: str) -> str:
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(taken_s))
    except (OverflowError, ValueError, OSError):
        stamp = "undated"
    own = safe_name(given)
    return f"{stamp}-{digest[:12]}{f'-{own}' if own else ''}{ending}"


def _ending(stream: BinaryIO) -> str:
    """Return the ending of a file by what it begins with; StillRefusedError for what is no picture."""
    stream.seek(0)
    head = stream.read(16)
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head.startswith((b"II*\0", b"MM\0*")):
        return ".dng"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return ".heic"
    raise StillRefusedError("this is neither JPEG nor PNG, DNG, TIFF or HEIC")


def _sizes(path: Path, ending: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return width and height as stored and as shown, (0, 0) for kinds that are kept unread."""
    if ending not in (".jpg", ".png"):
        return (0, 0), (0, 0)
    try:
        with Image.open(path, formats=["JPEG", "PNG", "MPO"]) as picture:
            size, orientation = picture.size, picture.getexif().get(_ORIENTATION, 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise StillRefusedError("this begins as a picture and can't be read as one") from error
    if size[0] * size[1] > _MOST_PIXELS:
        raise StillRefusedError(f"a picture of {size[0]}x{size[1]} pixels")
    return size, size[::-1] if orientation in _ON_ITS_SIDE else size


def _noted(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the digest and file of each still that has its notes."""
    for notes in folder.glob("*.json"):
        picture = notes.with_suffix("")
        if picture.suffix not in _ENDINGS or not picture.is_file():
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield str(json.loads(notes.read_text(encoding="utf-8"))["sha256"]), picture


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
