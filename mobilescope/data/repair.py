"""Recovering a damaged session: whatever matches its checksum goes into a new file, the damaged one stays as it is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope import __version__
from mobilescope.core.errors import InputFileError, OutputError, SessionLockedError
from mobilescope.core.input_files import check_file
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.data import layout
from mobilescope.data.carving import Carver
from mobilescope.data.checksums import matches
from mobilescope.data.copying import SERIES, SessionCopy, new_session
from mobilescope.data.damaged import DamagedSession
from mobilescope.data.files import file_format
from mobilescope.data.frames import chunk_shape
from mobilescope.data.link_records import half_pair, pair_link
from mobilescope.data.lock import is_being_written, lock_path
from mobilescope.data.records import Row, channel_of, event_row, frame_checksum, sealed
from mobilescope.data.recovery import looks_like_hdf5
from mobilescope.data.schema import CAPTURE_ROW, LINKS_SINCE, SESSION_FORMAT, TILE_ROW, SessionHeader
from mobilescope.data.session import Session

NAMES = {
    layout.BENCHTOP: "tiles", layout.PHONE: "captures", layout.FLAT_FIELDS["benchtop"]: "benchtop flat fields",
    layout.FLAT_FIELDS["phone"]: "phone flat fields", layout.EVENTS: "events",
    layout.LINKS: "pairs",
}

_OF_THE_PHONE = (layout.PHONE, layout.FLAT_FIELDS["phone"])
_SAMPLES = {layout.BENCHTOP: "|u1", layout.PHONE: "<u2"}


@dataclass(frozen=True)
class RepairReport:
    """What a repair found.

    Attributes
    ----------
    file, out : str
        The session, and the new file; ``out`` is empty where the session is whole and none was written.
    kept : dict
        How many images and events there are in the new file, or in a session that is whole.
    lost : list of str
        One line for each image, and for each run of records, that is not in the new file.
    notes : list of str
        What else there is to know.
    """

    file: str
    out: str = ""
    kept: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self)


def repaired_path(path: Path) -> Path:
    """Return the name that a repaired session has if none is given."""
    return path.with_name(f"{path.stem}.repaired.h5")


def repair(
    path: Path, out: Path | None = None, *, on_progress: ProgressListener = ignore_progress
) -> RepairReport:
    """Copy what is whole in a damaged session into a new file.

    Raises
    ------
    InputFileError
        The file is missing or no session, or nothing in it can be recovered.
    NewerVersionError
        It was written by a newer version of this software.
    SessionLockedError
        It is being written.
    OutputError, DiskSpaceError
        The new file exists already or can't be written.
    """
    target = repaired_path(path) if out is None else out
    if path.is_dir():
        raise InputFileError(f"{path} is a folder", "give the session inside it")
    check_file(path)
    if is_being_written(path):
        raise SessionLockedError(f"{path} is being written", "wait for the writer, or stop it")
    if file_format(path) not in ("", SESSION_FORMAT):
        raise InputFileError(f"{path} is a {file_format(path)} file", "make it again from its session")
    whole = _whole_report(path)
    if whole is not None:
        return whole
    if target.exists():
        raise OutputError(f"{target} exists already", "move it away, or give another name with --out")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path} is empty", "restore it from a copy")
    with DamagedSession(path) as damaged, Carver(path) as carver:
        return _Rescue(path, damaged, carver, on_progress).into(target)


def _whole_report(path: Path) -> RepairReport | None:
    """Return the report of a session without damage; None for one that has some."""
    try:
        with Session.open(path) as session:
            if session.verify():
                return None
            summary = session.summary()
    except InputFileError:
        return None
    slides = summary["slides"]
    kept = {
        "tiles": sum(slide["tiles"] for slide in slides), "captures": sum(slide["captures"] for slide in slides),
        "flat_fields": sum(summary["flat_fields"].values()), "events": len(summary["events"]),
    }
    pairs = sum(sum(slide["paired"].values()) for slide in slides)
    kept |= {"pairs": pairs} if pairs else {}
    notes = _lock_note(path)
    if summary["state"] == "interrupted":
        notes.append("its writer was interrupted; the same command goes on with it")
    return RepairReport(str(path), kept=kept, notes=notes)


def _lock_note(path: Path) -> list[str]:
    left = lock_path(path)
    return [f"{left.name} was left by a writer that is gone; it locks nothing"] if left.exists() else []


class _Rescue:
    """One repair: goes through the damaged file and keeps count."""

    def __init__(self, path: Path, damaged: DamagedSession, carver: Carver, on_progress: ProgressListener) -> None:
        self._path = path
        self._on_progress = on_progress
        self._damaged = damaged
        self._carver = carver
        self._kept = dict.fromkeys(("tiles", "captures", "flat_fields", "events"), 0)
        self._captures: set[tuple[str, int]] = set()
        self._tiles: set[tuple[str, int, int]] = set()
        self._lost: list[str] = []
        self._notes = _lock_note(path)

    def into(self, target: Path) -> RepairReport:
        header = self._damaged.header() or self._carver.header()
        if header is None:
            if not looks_like_hdf5(self._path):
                raise InputFileError(f"{self._path} is no session, and holds nothing of one", "give a session (.h5)")
            raise InputFileError(
                f"nothing in {self._path} can be recovered: its header can't be read", "restore it from a copy"
            )
        with new_session(target, header, compress=self._damaged.is_compressed()) as copy:
            for name in SERIES:
                self._copy_series(copy, name, header)
            self._copy_links(copy)
            self._copy_events(copy)
            if not any(count for kind, count in self._kept.items() if kind not in ("events", "pairs")):
                raise InputFileError(f"no image in {self._path} can be recovered", "restore it from a copy")
            text = f"repaired from {self._path.name}: {self._summary()}, by mobilescope {__version__}"
            copy.add_event(sealed(event_row(time.time(), "warning", text)))
        return RepairReport(str(self._path), str(target), self._kept, self._lost, self._notes)

    def _summary(self) -> str:
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self._kept.items()) + " kept"

    def _copy_series(self, copy: SessionCopy, name: str, header: SessionHeader) -> None:
        records = self._records(name, header)
        carved = _CarvedFrames(self._carver, self._damaged, name, header, {frame_checksum(row) for _, row in records})
        for done, (index, row) in enumerate(records, start=1):
            self._on_progress(Progress(f"repair {NAMES[name]}", done, len(records)))
            frame = self._damaged.frame(name, index)
            if frame is None or not matches(frame, frame_checksum(row)):
                reason = "can't be read" if frame is None else "does not match its checksum"
                frame = carved.frame(frame_checksum(row))
            if frame is None and _without_raw(name, row):
                frame = np.zeros(header.phone_shape, np.uint16)
            if frame is None:
                self._lost.append(f"{_label(name, index, row)}: its frame {reason}")
                continue
            jpeg = b""
            if name == layout.PHONE:
                row, jpeg = self._with_jpeg(index, row)
                if not jpeg and _without_raw(name, row):
                    continue
            copy.add_image(name, frame, row, jpeg)
            if name == layout.PHONE and not channel_of(row):
                self._captures.add((row["slide"].item().decode(), int(row["index"])))
            elif name == layout.BENCHTOP:
                self._tiles.add((row["slide"].item().decode(), int(row["row"]), int(row["column"])))
            self._kept[NAMES[name] if NAMES[name] in self._kept else "flat_fields"] += 1
        if carved.count:
            self._notes.append(f"{NAMES[name]}: {carved.count} frames were found by their checksums alone")

    def _records(self, name: str, header: SessionHeader) -> list[tuple[int, Row]]:
        """Return the records that match their checksum with their place in the table, and note what is missing."""
        rows = self._damaged.rows(name)
        sound = [(index, row) for index, row in enumerate(rows or []) if row is not None]
        if rows is None or len(sound) < len(rows):
            found = self._carver.rows(header, row_type) if (row_type := self._row_type(name)) is not None else []
            if len(found) > len(sound):
                known = {row.tobytes(): index for index, row in sound}
                self._notes.append(f"{NAMES[name]}: {len(found) - len(sound)} records were found by their marks")
                missing = len(rows) - len(found) if rows is not None else 0
                if missing > 0:
                    self._lost.append(f"{NAMES[name]}: {missing} records and what belongs to them")
                return [(known.get(row.tobytes(), place), row) for place, row in enumerate(found)]
        self._note_missing(name, rows)
        return sound

    def _row_type(self, name: str) -> np.dtype[Any] | None:
        """Return what the records to look for are like; flat fields' have no mark to be known by."""
        current = {layout.BENCHTOP: TILE_ROW, layout.PHONE: CAPTURE_ROW}.get(name)
        return None if current is None else self._damaged.row_type(name) or current

    def _note_missing(self, name: str, rows: list[Row | None] | None) -> None:
        if rows is None:
            self._lost.append(f"{NAMES[name]}: the table of records can't be read, and all that it held is lost")
            return
        broken = [index for index, row in enumerate(rows) if row is None]
        self._lost.extend(f"{NAMES[name]}: {_numbers(run)} and what belongs to them" for run in _runs(broken))

    def _copy_links(self, copy: SessionCopy) -> None:
        rows, version = self._damaged.rows(layout.LINKS), self._damaged.version()
        if rows is None:
            if version is None:
                self._notes.append("whether it held pairs can't be told: pair its fields again")
            elif version >= LINKS_SINCE:
                self._note_missing(layout.LINKS, rows)
            return
        self._note_missing(layout.LINKS, rows)
        for row in rows:
            missing = "" if row is None else half_pair(pair_link(row), self._captures, self._tiles)
            if missing:
                self._lost.append(missing)
            elif row is not None:
                copy.add_link(row)
                self._kept["pairs"] = self._kept.get("pairs", 0) + 1

    def _copy_events(self, copy: SessionCopy) -> None:
        rows = self._damaged.rows(layout.EVENTS)
        self._note_missing(layout.EVENTS, rows)
        for row in rows or []:
            if row is not None:
                copy.add_event(row)
                self._kept["events"] += 1

    def _with_jpeg(self, index: int, row: Any) -> tuple[Any, bytes]:
        """Return a capture's record and JPEG; where the JPEG is lost, a record that says there is none."""
        data = self._damaged.jpeg(int(row["jpeg_offset"]), int(row["jpeg_length"]))
        if data is not None and hashlib.sha256(data).hexdigest() == row["jpeg_sha256"].decode():
            return row, data
        kept = "" if _without_raw(layout.PHONE, row) else "; the raw frame was kept"
        self._lost.append(f"{_label(layout.PHONE, index, row)}: its JPEG{kept}")
        record = np.array(row)
        record["jpeg_length"], record["jpeg_sha256"] = 0, hashlib.sha256(b"").hexdigest().encode()
        return record, b""


class _CarvedFrames:
    """Frames of a series that HDF5 doesn't find; looked for only when the first is wanted."""

    def __init__(
        self, carver: Carver, damaged: DamagedSession, name: str, header: SessionHeader, wanted: set[str]
    ) -> None:
        self._carver = carver
        self._wanted = wanted
        self._chunks = _chunks_of(damaged, name, header)
        self._places: dict[str, tuple[list[int], tuple[int, ...], str]] | None = None
        self._rows = (header.phone_shape if name in _OF_THE_PHONE else header.benchtop_shape)[0]
        self.count = 0

    def frame(self, checksum: str) -> NDArray[Any] | None:
        """Return the frame with a checksum; None if it is not to be found."""
        if self._places is None:
            self._places = {}
            for chunk, dtype in self._chunks:
                places = self._carver.frame_places(self._wanted, chunk, dtype, self._rows // chunk[1])
                self._places.update({checksum: (found, chunk, dtype) for checksum, found in places.items()})
        if checksum not in self._places:
            return None
        self.count += 1
        return self._carver.frame(*self._places[checksum])


def _chunks_of(damaged: DamagedSession, name: str, header: SessionHeader) -> list[tuple[tuple[int, ...], str]]:
    """Return the shapes and types that chunks of a series' frames may have."""
    stored = damaged.stored_as(name)
    if stored is not None:
        return [stored]
    shape = header.phone_shape if name in _OF_THE_PHONE else (*header.benchtop_shape, 3)
    dtype = _SAMPLES.get(name, "<f4")
    return [(chunk, dtype) for chunk in dict.fromkeys([chunk_shape(shape, dtype), (1, *shape)])]


def _without_raw(name: str, row: Any) -> bool:
    """Tell whether a row is that of a capture whose JPEG is all that there is."""
    return name == layout.PHONE and not row["cfa"]


def _label(name: str, index: int, row: Any) -> str:
    if "slide" not in row.dtype.names:
        return f"{NAMES[name]}: number {index}"
    kind = NAMES[name].removesuffix("s")
    place = f"row {row['row']}, column {row['column']}" if name == layout.BENCHTOP else f"number {row['index']}"
    return f"{kind} {place} of slide {row['slide'].decode()}"


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each run of successive ones."""
    ordered = list(numbers)
    if not ordered:
        return
    start = ordered[0]
    for number, following in pairwise([*ordered, ordered[-1] + 2]):
        if following != number + 1:
            yield start, number
            start = following


def _numbers(run: tuple[int, int]) -> str:
    first, last = run
    return f"record {first}" if first == last else f"records {first} to {last}"
