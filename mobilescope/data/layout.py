"""What stands where in a session file, and how a new one is made.

Everything is created before the first image, since a file that is read while written can't grow new datasets.
"""

from __future__ import annotations

import glob
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError

from mobilescope.core.errors import InputFileError
from mobilescope.data.files import PartialFile, replaced_when_whole
from mobilescope.data.frames import chunk_shape
from mobilescope.data.schema import (
    CAPTURE_ROW,
    CODEC,
    EVENT_ROW,
    FLAT_FIELD_ROW,
    LINK_ROW,
    SCHEMA_VERSION,
    SESSION_FORMAT,
    TILE_ROW,
    SessionHeader,
)
from mobilescope.data.variants import PairVariant

HEADERS = ("header", "header_copy")
BENCHTOP, PHONE, EVENTS, LINKS = "benchtop", "phone", "events", "links"
FLAT_FIELDS = {"benchtop": "flat_field/benchtop", "phone": "flat_field/phone"}
JPEG_CHUNK_BYTES = 256 * 1024


def mosaic_path(session: Path, slide: str) -> Path:
    """Return where a slide's mosaic stands: beside the session."""
    return session.with_name(f"{session.stem}.mosaic-{slide}.h5")


def pairs_path(session: Path, variant: PairVariant | None = None) -> Path:
    """Return where a session's registered pairs stand: beside the session, each variant under a name of its own.

    ``session.pairs.h5`` holds the default (phone warp, factor 2.5, raw input). Others are called after what they differ
    in: ``session.pairs-benchtop.h5``, ``session.pairs-x2.h5``, ``session.pairs-jpeg21.h5``,
    ``session.pairs-benchtop-x1.5-jpeg21.h5``, ``session.pairs-square-cloudy.h5``, ``session.pairs-wb2.1-1-1.5.h5``.
    """
    suffix = "" if variant is None else variant.suffix
    return session.with_name(f"{session.stem}.pairs{suffix}.h5")


def pair_files(session: Path) -> list[Path]:
    """Return the pair files that stand beside a session under the names of `pairs_path`, sorted."""
    return sorted(session.parent.glob(f"{glob.escape(session.stem)}.pairs*.h5"))


def create_session_file(path: Path, header: SessionHeader, *, compress: bool) -> None:
    """Make an empty session; it appears under its name only when whole.

    Raises
    ------
    OutputError, DiskSpaceError
        The folder can't be written, or the disk is full.
    """
    with replaced_when_whole(path, SESSION_FORMAT, SCHEMA_VERSION) as new:
        lay_out(new, header, compress=compress)


def lay_out(new: PartialFile, header: SessionHeader, *, compress: bool) -> None:
    """Make everything that an empty session holds."""
    codec = CODEC if compress else {}
    text = header.model_dump_json().encode("utf-8")
    new.claim(2 * len(text))
    file = new.file
    # Twice and with a checksum: without a header, a session can't be read at all.
    for name in HEADERS:
        file[name] = np.bytes_(text)
    file.attrs["header_crc32"] = zlib.crc32(text)
    _create_series(file, BENCHTOP, (*header.benchtop_shape, 3), "u1", TILE_ROW, codec)
    _create_series(file, PHONE, header.phone_shape, "<u2", CAPTURE_ROW, codec)
    file.create_dataset(f"{PHONE}/jpeg", (0,), "u1", maxshape=(None,), chunks=(JPEG_CHUNK_BYTES,))
    _create_series(file, FLAT_FIELDS["benchtop"], (*header.benchtop_shape, 3), "<f4", FLAT_FIELD_ROW, codec)
    _create_series(file, FLAT_FIELDS["phone"], header.phone_shape, "<f4", FLAT_FIELD_ROW, codec)
    file.create_dataset(EVENTS, (0,), EVENT_ROW, maxshape=(None,), chunks=(8,))
    file.create_dataset(LINKS, (0,), LINK_ROW, maxshape=(None,), chunks=(8,))
    # Derived files may not exist yet: an external link is resolved when it is followed.
    for slide in header.slides:
        file[f"derived/mosaic-{slide.name}"] = h5py.ExternalLink(mosaic_path(new.path, slide.name).name, "/")
    file["derived/pairs"] = h5py.ExternalLink(pairs_path(new.path).name, "/")


def read_header(file: h5py.File, path: Path) -> SessionHeader:
    """Return a session's header; one that can't be read is an InputFileError."""
    failure: Exception | None = None
    for name in HEADERS:
        try:
            if not header_problem(file, name):
                return SessionHeader.model_validate_json(bytes(file[name][()]))
        except (KeyError, OSError, RuntimeError, ValidationError) as error:
            failure = failure or error
    reason = failure or "it does not match its checksum"
    raise InputFileError(f"{path} has no readable header: {reason}", "restore it from a copy") from failure


def header_problem(file: h5py.File, name: str) -> str:
    """Say what is wrong with one of the two headers; empty if nothing is, or if an earlier version kept no checksum."""
    checksum = file.attrs.get("header_crc32")
    if checksum is None:
        return ""
    try:
        whole = zlib.crc32(bytes(file[name][()])) == checksum
    except (KeyError, OSError, RuntimeError) as error:
        return f"{name}: can't be read: {error}"
    return "" if whole else f"{name}: does not match its checksum"


def _create_series(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: str, row: np.dtype[Any], codec: dict[str, Any]
) -> None:
    """Make a stack of frames, a few chunks each, and its table, which is overwritten and so never compressed."""
    file.create_dataset(
        f"{name}/frames", (0, *shape), dtype, maxshape=(None, *shape), chunks=chunk_shape(shape, dtype),
        fill_time="never", **codec
    )
    file.create_dataset(f"{name}/rows", (0,), row, maxshape=(None,), chunks=(8,))
