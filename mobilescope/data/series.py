"""A session's tables and stacks of frames while they are written: a row commits what was stored before it."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

import h5py
from numpy.typing import NDArray

from mobilescope.data.checksums import SHA256, fast_checksum, sha256_of
from mobilescope.data.frames import FrameStack
from mobilescope.data.records import Row, committed, sealed, set_text


class Table:
    """A table whose rows commit what was stored before them."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        # Rows are packed as the file has them; h5py's own way would describe their sixty fields anew each time.
        self._type = dataset.id.get_type()
        self.rows, _ = committed(dataset)
        self.count = len(self.rows)

    def append(self, row: Row) -> None:
        """Seal a row and hand it to the system."""
        if self._dataset.shape[0] == self.count:
            self._dataset.resize(self.count + 1, axis=0)
        space = self._dataset.id.get_space()
        space.select_hyperslab((self.count,), (1,))
        self._dataset.id.write(h5py.h5s.create_simple((1,)), space, sealed(row).reshape(1), self._type)
        self._dataset.flush()
        self.count += 1


class Series:
    """A stack of frames with its table. Frames beyond the last committed row are overwritten."""

    def __init__(self, group: h5py.Group, pool: Executor) -> None:
        self.frames = FrameStack(group["frames"], pool)
        self.table = Table(group["rows"])
        self._pool = pool

    def append(self, frame: NDArray[Any], row: Row) -> None:
        """Store a contiguous frame and commit it with its row, in which the checksum is filled in."""
        if "checksum" in (row.dtype.names or ()):
            set_text(row, "checksum", fast_checksum(frame))
            self.frames.write(self.table.count, frame)
        else:
            digest = self._pool.submit(sha256_of, frame)  # hashing runs beside compression and writing
            self.frames.write(self.table.count, frame)
            set_text(row, "sha256", digest.result().removeprefix(SHA256))
        self.table.append(row)

    def append_copy(self, frame: NDArray[Any], row: Row) -> None:
        """Store a frame with a row that holds its checksum already."""
        self.frames.write(self.table.count, frame)
        self.table.append(row)
