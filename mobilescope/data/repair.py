"""Recovering a damaged session: whatever matches its checksum goes into a new file, the damaged one stays as it is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mobilescope import __version__
from mobilescope.core.errors import InputFileError, OutputError, SessionLockedError
from mobilescope.data import layout
from mobilescope.data.checksums import matches
from mobilescope.data.copying import SERIES, SessionCopy, new_session
from mobilescope.data.damaged import DamagedSession
from mobilescope.data.files import file_format
from mobilescope.data.lock import is_being_written, lock_path
from mobilescope.data.records import Row, event_row, frame_checksum, sealed
from mobilescope.data.schema import SESSION_FORMAT
from mobilescope.data.session import Session

NAMES = {
    layout.BENCHTOP: "tiles", layout.PHONE: "captures", layout.FLAT_FIELDS["benchtop"]: "benchtop flat fields",
    layout.FLAT_FIELDS["phone"]: "phone flat fields", layout.EVENTS: "events",
}


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


def repair(path: Path, out: Path | None = None) -> RepairReport:
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
    if not path.is_file():
        raise InputFileError(f"there is no file {path}", "check the path")
    if is_being_written(path):
        raise SessionLockedError(f"{path} is being written", "wait for the writer, or stop it")
    if file_format(path) not in ("", SESSION_FORMAT):
        raise InputFileError(f"{path} is a {file_format(path)} file", "make it again from its session")
    whole = _whole_report(path)
    if whole is not None:
        return whole
    if target.exists():
        raise OutputError(f"{target} exists already", "move it away, or give another name with --out")
    with DamagedSession(path) as damaged:
        return _Rescue(path, damaged).into(target)


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
    notes = _lock_note(path)
    if summary["state"] == "interrupted":
        notes.append("its writer was interrupted; the same command goes on with it")
    return RepairReport(str(path), kept=kept, notes=notes)


def _lock_note(path: Path) -> list[str]:
    left = lock_path(path)
    return [f"{left.name} was left by a writer that is gone; it locks nothing"] if left.exists() else []


class _Rescue:
    """One repair: goes through the damaged file and keeps count."""

    def __init__(self, path: Path, damaged: DamagedSession) -> None:
        self._path = path
        self._damaged = damaged
        self._kept = dict.fromkeys(("tiles", "captures", "flat_fields", "events"), 0)
        self._lost: list[str] = []

    def into(self, target: Path) -> RepairReport:
        header = self._damaged.header()
        if header is None:
            raise InputFileError(
                f"nothing in {self._path} can be recovered: its header can't be read", "restore it from a copy"
            )
        with new_session(target, header, compress=self._damaged.is_compressed()) as copy:
            for name in SERIES:
                self._copy_series(copy, name)
            self._copy_events(copy)
            if not any(count for kind, count in self._kept.items() if kind != "events"):
                raise InputFileError(f"no image in {self._path} can be recovered", "restore it from a copy")
            text = f"repaired from {self._path.name}: {self._summary()}, by mobilescope {__version__}"
            copy.add_event(sealed(event_row(time.time(), "warning", text)))
        return RepairReport(str(self._path), str(target), self._kept, self._lost, _lock_note(self._path))

    def _summary(self) -> str:
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self._kept.items()) + " kept"

    def _copy_series(self, copy: SessionCopy, name: str) -> None:
        for index, row in self._sound_rows(name):
            frame = self._damaged.frame(name, index)
            if frame is None or not matches(frame, frame_checksum(row)):
                reason = "can't be read" if frame is None else "does not match its checksum"
                self._lost.append(f"{_label(name, index, row)}: its frame {reason}")
                continue
            jpeg = self._jpeg(row) if name == layout.PHONE else b""
            if jpeg is None:
                self._lost.append(f"{_label(name, index, row)}: its JPEG is damaged")
                continue
            copy.add_image(name, frame, row, jpeg)
            self._kept[NAMES[name] if NAMES[name] in self._kept else "flat_fields"] += 1

    def _copy_events(self, copy: SessionCopy) -> None:
        for _, row in self._sound_rows(layout.EVENTS):
            copy.add_event(row)
            self._kept["events"] += 1

    def _sound_rows(self, name: str) -> Iterator[tuple[int, Row]]:
        """Yield the rows that match their checksum with their place in the table, and note the others."""
        rows = self._damaged.rows(name)
        if rows is None:
            self._lost.append(f"{NAMES[name]}: the table of records can't be read, and all that it held is lost")
            return
        broken = [index for index, row in enumerate(rows) if row is None]
        self._lost.extend(f"{NAMES[name]}: {_numbers(run)} and what belongs to them" for run in _runs(broken))
        yield from ((index, row) for index, row in enumerate(rows) if row is not None)

    def _jpeg(self, row: Any) -> bytes | None:
        data = self._damaged.jpeg(int(row["jpeg_offset"]), int(row["jpeg_length"]))
        if data is None or hashlib.sha256(data).hexdigest() != row["jpeg_sha256"].decode():
            return None
        return data


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
