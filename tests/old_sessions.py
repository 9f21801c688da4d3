"""Sessions as earlier versions of the format wrote them, for tests of reading and migrating them."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from session_samples import FOCUS, capture, header, tile

from mobilescope.core.protocols import TileKey
from mobilescope.data.records import capture_row, current_row, tile_row
from mobilescope.data.schema import CAPTURE_ROW, FLAT_FIELD_ROW, TILE_ROW
from mobilescope.data.writer import SessionWriter

_NEW_IN = {2: ("channel", "plane", "attempt", "mark"), 3: ("checksum",)}


def row_of(version: int) -> np.dtype:
    """Return the row of a tile in an earlier version: without what came later, up to version 2 with SHA-256."""
    if version >= 3:
        return TILE_ROW
    later = {name for since, names in _NEW_IN.items() if since > version for name in names}
    fields = [(name, TILE_ROW[name]) for name in TILE_ROW.names if name not in later]
    focus = [name for name, _ in fields].index("focus")
    return np.dtype([*fields[:focus], ("sha256", h5py.string_dtype("utf-8", 64)), *fields[focus:]])


def write_old(path: Path, version: int, *, tiles: int = 5, shape: tuple[int, int] = (64, 80)) -> Path:
    """Write a session of version 1, 2 or 3 with tiles, captures, a flat field and an event."""
    row_type = row_of(version)
    clear, phone = (np.dtype([(name, row[name]) for name in row.names if name != "channel"])
                    for row in (FLAT_FIELD_ROW, CAPTURE_ROW))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mobilescope.data.layout.TILE_ROW", row_type)
        patch.setattr("mobilescope.data.layout.FLAT_FIELD_ROW", clear)
        patch.setattr("mobilescope.data.layout.CAPTURE_ROW", phone)
        patch.setattr("mobilescope.data.writer.capture_row", lambda *given: current_row(capture_row(*given), phone))
        patch.setattr("mobilescope.data.writer.flat_field_row", lambda time_s, _channel: _clear_row(clear, time_s))
        patch.setattr("mobilescope.data.layout.SCHEMA_VERSION", version)
        if version < 3:
            patch.setattr("mobilescope.data.layout.HEADERS", ("header",))
            patch.setattr("mobilescope.data.layout.chunk_shape", lambda shape, _dtype: (1, *shape))
        patch.setattr("mobilescope.data.resuming.migrate", lambda *_: False)
        with SessionWriter.create_or_resume(path, header(benchtop=shape), margin_bytes=0) as session:
            session.add_flat_field("phone", np.full((48, 60), 500.5))
            for index in range(tiles):
                session.add_phone_capture("lung-2", index, 0, index, capture(index))
                if version >= 3:
                    session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index, shape), FOCUS)
            session.add_event("info", "begun")
    if version >= 3:
        return path
    with h5py.File(path, "r+", libver="v110") as file:
        del file.attrs["header_crc32"]
        for index in range(tiles):
            image = tile(index, shape)
            new, row = tile_row(TileKey("lung-1", 0, index), index, image, FOCUS), np.zeros((), row_type)
            for name in row_type.names:
                if name in new.dtype.names:
                    row[name] = new[name]
            row["sha256"] = hashlib.sha256(image.pixels.data).hexdigest().encode()
            row["crc32"] = zlib.crc32(row.tobytes()[:-4])
            for name, value in (("frames", image.pixels), ("rows", row)):
                file[f"benchtop/{name}"].resize(index + 1, axis=0)
                file[f"benchtop/{name}"][index] = value
    return path


def _clear_row(row_type: np.dtype, time_s: float) -> np.ndarray:
    row = np.zeros((), row_type)
    row["time_s"] = time_s
    return row
