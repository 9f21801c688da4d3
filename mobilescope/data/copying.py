"""A new session file made of what another one holds; rows are kept as they were, times and versions included."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.data import layout
from mobilescope.data.files import PartialFile, naming_write_failures, replaced_when_whole
from mobilescope.data.frames import MAX_BANDS
from mobilescope.data.records import Row, current_row
from mobilescope.data.schema import (
    CAPTURE_ROW,
    EVENT_ROW,
    FLAT_FIELD_ROW,
    LINK_ROW,
    SCHEMA_VERSION,
    SESSION_FORMAT,
    TILE_ROW,
    SessionHeader,
)
from mobilescope.data.series import Series, Table

ROW_TYPES = {
    layout.BENCHTOP: TILE_ROW, layout.PHONE: CAPTURE_ROW,
    **dict.fromkeys(layout.FLAT_FIELDS.values(), FLAT_FIELD_ROW),
}
SERIES = tuple(ROW_TYPES)


class SessionCopy:
    """The new file while it is filled; made by `new_session`."""

    def __init__(self, new: PartialFile, pool: Executor) -> None:
        self._new = new
        self._series = {name: Series(new.file[name], pool) for name in SERIES}
        self._events = Table(new.file[layout.EVENTS])
        self._links = Table(new.file[layout.LINKS])
        self._jpeg = new.file[layout.PHONE]["jpeg"]

    def add_image(self, name: str, frame: NDArray[Any], row: Any, jpeg: bytes = b"") -> None:
        """Store one frame of the series ``name`` with its row, which may be of an earlier version."""
        record: Row = current_row(row, ROW_TYPES[name])
        with naming_write_failures(self._new.path):
            self._new.claim(frame.nbytes + len(jpeg))
            if name == layout.PHONE:
                start = self._jpeg.shape[0]
                self._jpeg.resize(start + len(jpeg), axis=0)
                self._jpeg[start:] = np.frombuffer(jpeg, np.uint8)
                self._jpeg.flush()
                record["jpeg_offset"] = start
            self._series[name].append_copy(np.ascontiguousarray(frame), record)

    def add_event(self, row: Any) -> None:
        """Store the row of an event."""
        with naming_write_failures(self._new.path):
            self._new.claim(EVENT_ROW.itemsize)
            self._events.append(np.array(row))


    def add_link(self, row: Any) -> None:
        """Store the row of a pair."""
        with naming_write_failures(self._new.path):
            self._new.claim(LINK_ROW.itemsize)
            self._links.append(np.array(row))


@contextlib.contextmanager
def new_session(path: Path, header: SessionHeader, *, compress: bool) -> Iterator[SessionCopy]:
    """Yield a new session; it takes the name ``path`` only if the block ends without an error.

    Raises
    ------
    OutputError, DiskSpaceError
        The folder can't be written, or the disk is full.
    """
    with (
        replaced_when_whole(path, SESSION_FORMAT, SCHEMA_VERSION) as new,
        ThreadPoolExecutor(min(MAX_BANDS, os.cpu_count() or 1)) as pool,
    ):
        layout.lay_out(new, header, compress=compress)
        new.file.flush()
        yield SessionCopy(new, pool)
