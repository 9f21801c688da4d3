"""Reading a session, finished, interrupted or still being written; one frame at a time."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.closing import Closing
from mobilescope.core.errors import InputFileError, SessionError
from mobilescope.core.pair_link import PairLink
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.core.protocols import FUSED_PLANE, FlatFieldKind
from mobilescope.data import layout
from mobilescope.data.checksums import CRC32C, SHA256, matches
from mobilescope.data.files import file_format, open_for_reading, read_part
from mobilescope.data.link_records import current_fields, half_pair, pair_link
from mobilescope.data.lock import is_being_written
from mobilescope.data.records import (
    CaptureRecord,
    EventRecord,
    Row,
    TileRecord,
    capture_record,
    channel_of,
    committed,
    event_record,
    frame_checksum,
    tile_record,
)
from mobilescope.data.recovery import check_storage, is_open_flagged, looks_like_hdf5
from mobilescope.data.schema import LINKS_SINCE, SCHEMA_VERSION, SESSION_FORMAT, SlideEntry

_REMEDY = "mobilescope repair saves what is whole, or restore it from a copy"
_IMAGES = {
    layout.BENCHTOP: "tiles", layout.PHONE: "captures",
    **{name: f"flat fields of the {kind}" for kind, name in layout.FLAT_FIELDS.items()},
}


class Session(Closing):
    """A session opened for reading; a context manager. Each call sees what is committed by then."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self.header = layout.read_header(file, path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a session; also works while it is written and after its writer was killed.

        Raises
        ------
        InputFileError
            The file is missing, truncated, foreign or damaged.
        NewerVersionError
            It was written by a newer version of this software.
        """
        try:
            return cls._opened(path)
        except InputFileError as error:
            if not looks_like_hdf5(path) or file_format(path) not in ("", SESSION_FORMAT):
                raise
            repair = f"mobilescope repair {path} saves what is whole"
            raise type(error)(error.cause, f"{error.remedy}; {repair}" if error.remedy else repair) from error

    @classmethod
    def _opened(cls, path: Path) -> Self:
        file = open_for_reading(path, SESSION_FORMAT, SCHEMA_VERSION, swmr=True)
        try:
            if is_open_flagged(path):
                check_storage(file, path)
            return cls(path, file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def slides(self) -> tuple[SlideEntry, ...]:
        """The slides with their roles, in the order given at the start."""
        return self.header.slides

    @property
    def schema_version(self) -> int:
        """The version of the format in which the file was written."""
        return int(self._file.attrs["schema_version"])

    @property
    def is_compressed(self) -> bool:
        """Whether the tiles are compressed."""
        return self._fresh(f"{layout.BENCHTOP}/frames").id.get_create_plist().get_nfilters() > 0

    def tiles(
        self, slide: str, *, channel: str | None = None, plane: int | None = None, all_attempts: bool = False
    ) -> list[TileRecord]:
        """Return a slide's tiles in the order of scanning.

        Parameters
        ----------
        slide : str
            An unknown one is a SessionError.
        channel, plane : optional
            Only the tiles of this channel (empty where the plan names none) or plane (`FUSED_PLANE` for fused ones).
        all_attempts : bool
            Every attempt at each tile in the order of taking, not the latest alone.
        """
        latest = {}
        for frame, row in self._rows(layout.BENCHTOP, slide):
            tile = tile_record(frame, row)
            if channel not in (None, tile.channel) or plane not in (None, tile.plane):
                continue
            attempt = tile.attempt if all_attempts else 0
            latest[tile.row, tile.column, tile.channel, tile.plane, attempt] = tile
        return list(latest.values())

    def mosaic_tiles(self, slide: str) -> list[TileRecord]:
        """Return the tile to stitch for each cell: fused if there is one, else plane 0, of the first channel."""
        tiles = [tile for tile in self.tiles(slide) if tile.plane in (0, FUSED_PLANE)]
        chosen: dict[tuple[int, int], TileRecord] = {}
        for tile in tiles:
            if tile.channel == tiles[0].channel:
                place = tile.row, tile.column
                if place not in chosen or tile.plane == FUSED_PLANE:
                    chosen[place] = tile
        return list(chosen.values())

    def captures(self, slide: str, *, channel: str | None = "") -> list[CaptureRecord]:
        """Return a slide's phone captures in the order of capture; an unknown slide is a SessionError.

        Parameters
        ----------
        channel : str or None
            The further light of the plan that they were taken in; empty for those that are compared with the benchtop,
            None for all.
        """
        found = [capture_record(frame, row) for frame, row in self._rows(layout.PHONE, slide)]
        return [capture for capture in found if channel in (None, capture.channel)]

    def pair_links(self, slide: str) -> list[PairLink]:
        """Return the links of a paired session over a slide in the order in which they were made."""
        if layout.LINKS not in self._file:  # a session of version 3 or before
            return []
        rows, sound = self._committed(layout.LINKS)
        wanted = sound & (rows["slide"] == slide.encode())
        return [pair_link(row) for row in rows[wanted]]

    def tile_pixels(self, record: TileRecord) -> NDArray[np.uint8]:
        """Read a tile, shape (rows, columns, 3), uint8, sRGB."""
        return self._frame(layout.BENCHTOP, record.frame)

    def bayer(self, record: CaptureRecord) -> NDArray[np.uint16]:
        """Read a capture's raw frame, shape (rows, columns), uint16 counts."""
        return self._frame(layout.PHONE, record.frame)

    def jpeg(self, record: CaptureRecord) -> bytes:
        """Read the JPEG that the phone made beside the raw frame, byte for byte."""
        dataset = self._fresh(f"{layout.PHONE}/jpeg")
        stretch = slice(record.jpeg_offset, record.jpeg_offset + record.jpeg_length)
        data: bytes = read_part(dataset, stretch, _REMEDY).tobytes()
        return data

    def focus_curve(self, record: TileRecord) -> NDArray[np.float64]:
        """Return the positions tried and their scores, shape (samples, 2) as (z_um, score)."""
        return np.column_stack([record.focus.curve_z_um, record.focus.curve_score]).astype(np.float64)

    def flat_field(self, kind: FlatFieldKind, channel: str = "") -> NDArray[np.float32] | None:
        """Read the latest flat field of a kind and channel, float32 counts in that camera's frame shape.

        One that was stored without a channel holds for all that have none of their own; None if there is none either.
        """
        rows, _ = self._table(layout.FLAT_FIELDS[kind])
        channels = [channel_of(row) for row in rows]
        of_it = [frame for wanted in ("", channel) for frame, name in enumerate(channels) if name == wanted]
        return self._frame(layout.FLAT_FIELDS[kind], of_it[-1]) if of_it else None

    def flat_field_channels(self, kind: FlatFieldKind) -> dict[str, str]:
        """Return the channels of which a kind of flat field is there, each with the SHA-256 of its latest frame."""
        rows, _ = self._table(layout.FLAT_FIELDS[kind])
        return {channel_of(row): row["sha256"].decode() for row in rows}

    def events(self) -> list[EventRecord]:
        """Return what was noted while the session was written, in order."""
        rows, sound = self._committed(layout.EVENTS)
        return [event_record(row) for row, whole in zip(rows, sound, strict=True) if whole]

    def digest(self) -> str:
        """Return a SHA-256 over the header and every image's digest: it names this state of the session."""
        total = hashlib.sha256(self.header.model_dump_json().encode("utf-8"))
        for name in (layout.BENCHTOP, layout.PHONE):
            rows, _ = self._table(name)
            total.update(_identity(rows) if name == layout.BENCHTOP else rows["sha256"].tobytes())
            if name == layout.PHONE:
                total.update(rows["jpeg_sha256"].tobytes())
        return total.hexdigest()

    def count(self, name: str) -> int:
        """Return how many images of a series there are."""
        return len(self._table(name)[0])

    def stored(self, name: str) -> Iterator[tuple[Row, NDArray[Any], bytes]]:
        """Yield row, frame and JPEG of each image of a series, as they are; damage is an InputFileError."""
        rows, sound = self._table(name)
        for frame, (row, whole) in enumerate(zip(rows, sound, strict=True)):
            problem = next(self._image_problems(name, frame, row), "") if whole else f"{name}: row {frame}"
            if problem:
                raise InputFileError(f"{self.path} is damaged: {problem}", _REMEDY)
            jpeg = self.jpeg(capture_record(frame, row)) if name == layout.PHONE else b""
            yield row, self._frame(name, frame), jpeg

    def stored_links(self) -> list[Row]:
        """Return the rows of pairs that match their checksum."""
        if layout.LINKS not in self._file:
            return []
        rows, sound = self._committed(layout.LINKS)
        return list(rows[sound])

    def stored_events(self) -> list[Row]:
        """Return the rows of events that match their checksum."""
        rows, sound = self._committed(layout.EVENTS)
        return list(rows[sound])

    def verify(self, on_progress: ProgressListener = ignore_progress) -> list[str]:
        """Read everything and compare it with its checksums.

        Returns
        -------
        list of str
            One line for each damaged image or row; empty if the session is whole.
        """
        problems = [problem for name in layout.HEADERS if (problem := layout.header_problem(self._file, name))]
        tables = {name: self._table(name) for name in _IMAGES}
        total, done = sum(len(rows) for rows, _ in tables.values()), 0
        for name, (rows, sound) in tables.items():
            for frame, (row, whole) in enumerate(zip(rows, sound, strict=True)):
                if not whole:
                    problems.append(f"{name}: row {frame} does not match its checksum")
                else:
                    problems.extend(self._image_problems(name, frame, row))
                done += 1
                on_progress(Progress(f"check {self.path.name}", done, total))
        for name in (layout.EVENTS, *([layout.LINKS] if layout.LINKS in self._file else [])):
            _, sound = self._committed(name)
            problems.extend(f"{name}: row {i} does not match its checksum" for i in np.flatnonzero(~sound))
        if self.schema_version >= LINKS_SINCE and layout.LINKS not in self._file:
            problems.append(f"{layout.LINKS}: the table is missing")
        return [*problems, *self._half_pairs()]

    def _half_pairs(self) -> Iterator[str]:
        """Yield what is missing of pairs of which a side is not there."""
        for slide in self.slides:
            captures = {(slide.name, capture.index) for capture in self.captures(slide.name)}
            tiles = {(slide.name, tile.row, tile.column) for tile in self.tiles(slide.name)}
            for link in self.pair_links(slide.name):
                missing = half_pair(link, captures, tiles)
                if missing:
                    yield f"{layout.LINKS}: {missing}"

    def warn_of_damaged_rows(self) -> None:
        """Warn of images that the session no longer shows, since what was noted of them is damaged."""
        for name, images in _IMAGES.items():
            rows, sound = self._table(name)
            damaged = int(np.count_nonzero(~sound))
            if damaged:
                warnings.warn(
                    f"{self.path} is damaged: {damaged} of {len(rows)} {images} are left out, since what was noted of "
                    f"them does not match its checksum; mobilescope inspect {self.path} tells more",
                    RuntimeWarning, stacklevel=2,
                )

    def summary(self) -> dict[str, Any]:
        """Return what is in the session, ready for JSON."""
        slides = []
        for slide in self.slides:
            tiles, captures = self.tiles(slide.name), self.captures(slide.name, channel=None)
            slides.append({
                **slide.model_dump(), "tiles": len(tiles),
                "captures": sum(not capture.channel for capture in captures),
                "lights": _counted(capture.channel for capture in captures if capture.channel),
                "focus_verdicts": _counted(tile.focus.verdict for tile in tiles),
                "marks": _counted(tile.mark or "unmarked" for tile in tiles),
                "attempts": _counted(str(tile.attempt) for tile in tiles),
                "channels": _counted(tile.channel or "default" for tile in tiles),
                "planes": _counted("fused" if tile.plane == FUSED_PLANE else str(tile.plane) for tile in tiles),
                "paired": _counted(link.verdict for link in current_fields(self.pair_links(slide.name))),
                "mosaic": layout.mosaic_path(self.path, slide.name).exists(),
            })
        return {
            "file": str(self.path), "format": SESSION_FORMAT, "schema_version": self.schema_version,
            "state": self._state(), "bytes": self.path.stat().st_size,
            "created": self.header.created, "software_version": self.header.software_version,
            "instrument_name": self.header.instrument_name, "instrument": self.header.instrument,
            "benchtop_shape": list(self.header.benchtop_shape), "phone_shape": list(self.header.phone_shape),
            "slides": slides,
            "flat_fields": {kind: len(self._table(name)[0]) for kind, name in layout.FLAT_FIELDS.items()},
            "pairs": layout.pairs_path(self.path).exists(),
            "events": [{"time_s": event.time_s, "level": event.level, "text": event.text} for event in self.events()],
        }

    def _state(self) -> str:
        if not is_open_flagged(self.path):
            return "closed"
        return "being written" if is_being_written(self.path) else "interrupted"

    def _image_problems(self, name: str, frame: int, row: Any) -> Iterator[str]:
        label = f"{name}: frame {frame}"
        if "slide" in row.dtype.names:
            label += f" (slide {row['slide'].decode()}, index {row['index']})"
        try:
            if not matches(self._frame(name, frame), frame_checksum(row)):
                yield f"{label} does not match its checksum"
            if name == layout.PHONE:
                jpeg = self.jpeg(capture_record(frame, row))
                if hashlib.sha256(jpeg).hexdigest() != row["jpeg_sha256"].decode():
                    yield f"{label}: the JPEG does not match its checksum"
        except InputFileError as error:
            yield f"{label} can't be read: {error.cause}"

    def _rows(self, name: str, slide: str) -> Iterator[tuple[int, Any]]:
        if slide not in {entry.name for entry in self.slides}:
            known = ", ".join(entry.name for entry in self.slides)
            raise SessionError(f"{self.path} has no slide {slide}", f"its slides: {known}")
        rows, sound = self._table(name)
        for frame in np.flatnonzero(sound & (rows["slide"] == slide.encode())):
            yield int(frame), rows[frame]

    def _table(self, name: str) -> tuple[Row, NDArray[np.bool_]]:
        return self._committed(f"{name}/rows")

    def _committed(self, name: str) -> tuple[Row, NDArray[np.bool_]]:
        try:
            return committed(self._fresh(name))
        except (OSError, RuntimeError) as error:
            raise InputFileError(f"{self.path} is damaged: {name} can't be read: {error}", _REMEDY) from error

    def _frame(self, name: str, frame: int) -> NDArray[Any]:
        return read_part(self._fresh(f"{name}/frames"), frame, _REMEDY)

    def _fresh(self, name: str) -> h5py.Dataset:
        """Return a dataset as its writer has it now."""
        try:
            dataset = self._file[name]
            dataset.id.refresh()
        except (KeyError, OSError, RuntimeError) as error:
            raise InputFileError(f"{self.path} is damaged: {name} can't be opened: {error}", _REMEDY) from error
        return dataset


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _identity(tiles: Row) -> bytes:
    """Return what names tiles: the SHA-256 of those that have one, as in earlier versions; else row and checksum."""
    if "checksum" not in (tiles.dtype.names or ()):
        return tiles["sha256"].tobytes()
    return b"".join(
        row.tobytes() if row["checksum"].startswith(CRC32C.encode()) else row["checksum"].removeprefix(SHA256.encode())
        for row in tiles
    )
