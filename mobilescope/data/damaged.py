"""Reading a session file that HDF5 refuses, part by part: what can't be read is None, never an error."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError
from mobilescope.data import layout
from mobilescope.data.records import Row, is_sound
from mobilescope.data.recovery import SUPERBLOCK_BYTES, superblock_of
from mobilescope.data.schema import SessionHeader

# What HDF5 and its filters raise for bytes that make no sense to them.
_UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError, MemoryError, struct.error)


class DamagedSession:
    """A session file opened whatever its state; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._view = _MendedView(path)
        try:
            self._file: h5py.File | None = h5py.File(self._view, "r")
        except _UNREADABLE:
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._view.close()

    def header(self) -> SessionHeader | None:
        """Return the session's header."""
        if self._file is None:
            return None
        try:
            return layout.read_header(self._file, self.path)
        except (InputFileError, *_UNREADABLE):
            return None

    def version(self) -> int | None:
        """Return the version of the session's format; None where it can't be read."""
        try:
            return None if self._file is None else int(self._file.attrs["schema_version"])
        except _UNREADABLE:
            return None

    def rows(self, name: str) -> list[Row | None] | None:
        """Return a table's rows, None for each that does not match its checksum; None if there is no such table."""
        dataset = self._dataset(name if name in (layout.EVENTS, layout.LINKS) else f"{name}/rows")
        if dataset is None:
            return None
        return [row if row is not None and is_sound(row) else None for row in _rows(dataset)]

    def frame(self, name: str, index: int) -> NDArray[Any] | None:
        """Return a frame as it reads, checked by nobody."""
        dataset = self._dataset(f"{name}/frames")
        return None if dataset is None else _part(dataset, index)

    def jpeg(self, offset: int, length: int) -> bytes | None:
        """Return a capture's JPEG as it reads, checked by nobody."""
        dataset = self._dataset(f"{layout.PHONE}/jpeg")
        data = None if dataset is None else _part(dataset, slice(offset, offset + length))
        return None if data is None else data.tobytes()

    def stored_as(self, name: str) -> tuple[tuple[int, ...], str] | None:
        """Return shape and type of the chunks of a series' frames."""
        dataset = self._dataset(f"{name}/frames")
        return None if dataset is None or dataset.chunks is None else (dataset.chunks, dataset.dtype.str)

    def row_type(self, name: str) -> np.dtype[Any] | None:
        """Return the type of a series' records."""
        dataset = self._dataset(f"{name}/rows")
        return None if dataset is None else dataset.dtype

    def is_compressed(self) -> bool:
        """Tell whether tiles are compressed; what can't be read counts as compressed."""
        dataset = self._dataset(f"{layout.BENCHTOP}/frames")
        return dataset is None or dataset.id.get_create_plist().get_nfilters() > 0

    def _dataset(self, name: str) -> h5py.Dataset | None:
        if self._file is None:
            return None
        try:
            found = self._file[name]
            return found if isinstance(found, h5py.Dataset) else None
        except _UNREADABLE:
            return None


def _rows(dataset: h5py.Dataset) -> list[Row | None]:
    """Read a table chunk by chunk, so that one chunk that is lost takes no more than its own rows with it."""
    count, step = int(dataset.shape[0]), int(dataset.chunks[0])
    rows: list[Row | None] = []
    for start in range(0, count, step):
        part = _part(dataset, slice(start, min(start + step, count)))
        rows.extend([None] * (min(start + step, count) - start) if part is None else list(part))
    return rows


def _part(dataset: h5py.Dataset, index: Any) -> NDArray[Any] | None:
    try:
        return np.asarray(dataset[index])
    except _UNREADABLE:
        return None


class _MendedView(io.RawIOBase):
    """A file as HDF5 would have it: marked as closed, and zeros where it was cut off. The file itself is only read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        size = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        first = superblock_of(self._file.read(SUPERBLOCK_BYTES))
        self._size = max(size, first.end_of_file)
        self._first = first.closed_at(self._size)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), max(0, self._size - self._at))
        self._file.seek(self._at)
        got = self._file.readinto(target[:wanted])
        target[got:wanted] = bytes(wanted - got)
        if self._at < len(self._first):
            part = self._first[self._at:self._at + wanted]
            target[:len(part)] = part
        self._at += wanted
        return wanted

    def close(self) -> None:
        self._file.close()
        super().close()
