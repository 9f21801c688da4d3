"""Writing a session: each image is stored, then committed by its table row; a kill loses at most the one in flight."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import DiskSpaceError, InputFileError, MobilescopeError, SessionError
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.pair_link import PairLink
from mobilescope.core.progress import ProgressListener, ignore_progress
from mobilescope.core.protocols import BenchtopImage, CapturedField, FlatFieldKind, PhoneCapture, TileKey, TileState
from mobilescope.core.whole_files import is_disk_full, write_failure
from mobilescope.data import layout
from mobilescope.data.files import claim_room, give_back_room, naming_write_failures
from mobilescope.data.frames import MAX_BANDS
from mobilescope.data.given_frames import frame_of, raw_frame
from mobilescope.data.link_records import half_pair, link_row
from mobilescope.data.lock import WriterLock
from mobilescope.data.records import (
    capture_row,
    channel_of,
    event_row,
    flat_field_row,
    key_and_state,
    set_text,
    tile_row,
)
from mobilescope.data.resuming import prepare_resume
from mobilescope.data.schema import SessionHeader
from mobilescope.data.series import Series, Table
from mobilescope.data.stored_captures import StoredCaptures
from mobilescope.data.swmr import open_swmr_writing
from mobilescope.data.syncing import BackgroundSync

DISK_MARGIN_BYTES = 512 * 1024**2


class SessionWriter:
    """The one writer of a session; a context manager. Made by `create_or_resume`.

    Methods may be called from several threads; each add returns when its data have been handed to the system.
    """

    def __init__(self, path: Path, lock: WriterLock, margin_bytes: int) -> None:
        self.path = path
        self._lock = lock
        self._margin_bytes = margin_bytes
        self._serial = RLock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._sync = BackgroundSync(self._descriptor)
        self._failed = False
        self._pool = ThreadPoolExecutor(min(MAX_BANDS, os.cpu_count() or 1), thread_name_prefix="session-frames")
        try:
            self._file = open_swmr_writing(path)
            try:
                self._load()
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            os.close(self._descriptor)
            raise

    def _load(self) -> None:
        """Find out what is committed already."""
        try:
            self._load_series()
        except KeyError as error:
            raise InputFileError(
                f"{self.path} is damaged: {error.args[0]}", f"mobilescope repair {self.path} saves what is whole"
            ) from error

    def _load_series(self) -> None:
        self.header = layout.read_header(self._file, self.path)
        self._slides = {slide.name for slide in self.header.slides}
        self._benchtop = Series(self._file[layout.BENCHTOP], self._pool)
        self._phone = Series(self._file[layout.PHONE], self._pool)
        self._flat_fields = {kind: Series(self._file[name], self._pool) for kind, name in layout.FLAT_FIELDS.items()}
        self._clear_fields = {
            (kind, channel_of(row)) for kind, series in self._flat_fields.items() for row in series.table.rows
        }
        self._events = Table(self._file[layout.EVENTS])
        self._links = Table(self._file[layout.LINKS])
        self._jpeg = self._file[layout.PHONE]["jpeg"]
        tiles, captures = self._benchtop.table.rows, self._phone.table.rows
        self._tiles = dict(key_and_state(row) for row in tiles)
        self._cells = {(key.slide, key.row, key.column) for key in self._tiles}
        self._captures = StoredCaptures(captures)
        self._linked = {(row["slide"].decode(), int(row["index"])) for row in self._links.rows}
        self._jpeg_end = int((captures["jpeg_offset"] + captures["jpeg_length"]).max()) if len(captures) else 0

    @classmethod
    def create_or_resume(
        cls, path: Path, header: SessionHeader, *, margin_bytes: int = DISK_MARGIN_BYTES, compress: bool = True,
        on_progress: ProgressListener = ignore_progress,
    ) -> Self:
        """Begin a session, or go on with the one at ``path`` after whatever ended it.

        One of an earlier version is brought up to date first (`migration`).

        Parameters
        ----------
        margin_bytes : int
            Free space that must remain on the disk beside the image to be stored.
        compress : bool
            For a new session: compress the frames without loss.
        on_progress : callable, optional
            Told how far bringing an earlier version up to date is.

        Raises
        ------
        UserError
            The session was begun with other slides, frame shapes or another instrument.
        InputFileError, NewerVersionError
            The file is foreign, truncated or damaged; or written by a newer version.
        SessionLockedError
            Another writer is at work, or this process has the session open for reading. (Readers that this process
            opens after the writer are welcome, as are those of other processes at any time.)
        OutputError, DiskSpaceError
            The folder can't be written; the disk has too little room.
        """
        lock = WriterLock.acquire(path)
        try:
            largest = max(3 * _product(header.benchtop_shape), 2 * _product(header.phone_shape))
            _check_free(path, margin_bytes, largest)
            interrupted = False
            if path.exists():
                interrupted = prepare_resume(path, header, on_progress)
            else:
                layout.create_session_file(path, header, compress=compress)
            with naming_write_failures(path):
                writer = cls(path, lock, margin_bytes)
        except BaseException:
            lock.release()
            raise
        if interrupted:
            try:
                writer.add_event("warning", "resumed after the last run was interrupted")
            except BaseException:
                writer.close()
                raise
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except MobilescopeError as second:
            if failure is None:
                raise
            failure.add_note(f"closing the session failed as well: {second}")

    def close(self) -> None:
        """Close the file, give back room claimed but not used, free the lock; calling it again does nothing."""
        with self._serial:
            if not self._file:
                return
            self._pool.shutdown()
            try:
                with naming_write_failures(self.path):
                    try:
                        self._sync.close()
                    finally:
                        self._file.close()
                    give_back_room(self.path, self._descriptor)
                    os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)
                self._lock.release()

    def has_tile(self, key: TileKey) -> bool:
        """Tell whether a benchtop tile is committed."""
        return key in self._tiles

    def tile_marks(self, slide: str) -> dict[TileKey, TileState]:
        """Return the latest attempt of each tile of a slide."""
        with self._serial:
            return {key: state for key, state in self._tiles.items() if key.slide == slide}

    def has_capture(self, slide: str, row: int, column: int, channel: str = "") -> bool:
        """Tell whether a field's phone capture is committed; ``channel`` is the further light that it was taken in.

        What a later capture in white superseded is not counted.
        """
        return self._captures.has_field(slide, row, column, channel)

    def captured_field(self, slide: str, row: int, column: int) -> CapturedField | None:
        """Return number and place of a field's captures, None where there is none."""
        return self._captures.field(slide, row, column)

    def free_capture_index(self, slide: str, wanted: int) -> int:
        """Return a number for a field's captures: ``wanted``, or the next above all where another field has that."""
        return self._captures.free_number(slide, wanted)

    def has_flat_field(self, kind: FlatFieldKind, channel: str = "") -> bool:
        """Tell whether a flat field of this kind and channel is committed."""
        return (kind, channel) in self._clear_fields

    def add_benchtop_tile(
        self, key: TileKey, index: int, image: BenchtopImage, focus: FocusRecord, *, attempt: int = 0, mark: str = ""
    ) -> None:
        """Store one tile of a scan; ``index`` is its place in the walk over the grid.

        Raises
        ------
        SessionError
            The slide is unknown, the tile is stored already, a text is too long, or an earlier write failed.
        InputImageError
            The pixels are not uint8 of the header's shape.
        DiskSpaceError
            Too little room; the session stays whole.
        """
        with self._serial:
            known = self.has_tile(key) and attempt <= self._tiles[key].attempt
            self._check_new(key.slide, known, f"tile {key.row}, {key.column} of slide {key.slide}")
            pixels = frame_of(image.pixels, np.uint8, (*self.header.benchtop_shape, 3), "a benchtop image")
            record = tile_row(key, index, image, focus, attempt, mark)
            with self._storing(pixels.nbytes):
                self._benchtop.append(pixels, record)
            self._tiles[key] = TileState(attempt, mark, focus.z_um, focus.verdict)
            self._cells.add((key.slide, key.row, key.column))

    def add_phone_capture(
        self, slide: str, index: int, row: int, column: int, capture: PhoneCapture, *, channel: str = ""
    ) -> None:
        """Store one phone capture, raw frame and JPEG together; raises as `add_benchtop_tile` does.

        Without a raw frame, the JPEG must have the header's shape; an empty frame, which compresses to nothing, holds
        the place.
        """
        with self._serial:
            what = f"capture {index} of slide {slide}" + (f" in light {channel}" if channel else "")
            self._check_new(slide, self._captures.has_number(slide, index, channel), what)
            bayer = raw_frame(capture, self.header.phone_shape)
            record = capture_row(slide, index, row, column, capture, self._jpeg_end, channel)
            set_text(record, "jpeg_sha256", hashlib.sha256(capture.jpeg).hexdigest())
            end = self._jpeg_end + len(capture.jpeg)
            with self._storing(bayer.nbytes + len(capture.jpeg)):
                if self._jpeg.shape[0] < end:
                    self._jpeg.resize(end, axis=0)
                self._jpeg[self._jpeg_end:end] = np.frombuffer(capture.jpeg, np.uint8)
                self._jpeg.flush()
                self._phone.append(bayer, record)
            self._jpeg_end = end
            self._captures.add(record[()])

    def next_capture_index(self, slide: str) -> int:
        """Return a number that no capture of a slide has."""
        return self._captures.next_number(slide)

    def capture_digests(self) -> set[str]:
        """Return the SHA-256 of each raw frame and JPEG that is committed."""
        return self._captures.digests

    def add_pair_link(self, link: PairLink) -> None:
        """Commit a pair: its capture and its tiles, which are there, and what links them.

        Raises
        ------
        SessionError
            One of its sides is not there, or the capture has its link already.
        DiskSpaceError
            Too little room; the session stays whole.
        """
        with self._serial:
            known = (link.slide, link.index) in self._linked
            self._check_new(link.slide, known, f"the link of capture {link.index} of slide {link.slide}")
            missing = half_pair(link, self._captures.in_white, self._cells)
            if missing:
                raise SessionError(f"{missing} in {self.path}", "store both sides first")
            row = link_row(link)
            with self._storing(row.nbytes, margin_bytes=0):
                self._links.append(row)
            self._linked.add((link.slide, link.index))

    def add_flat_field(self, kind: FlatFieldKind, image: NDArray[Any], channel: str = "") -> None:
        """Store a frame of the empty field, in the camera's counts; the latest one of a kind and channel holds.

        Parameters
        ----------
        image : ndarray, shape (rows, columns, 3) for the benchtop, (rows, columns) for the phone
            Any number type; kept as float32.
        """
        with self._serial:
            shape = (*self.header.benchtop_shape, 3) if kind == "benchtop" else self.header.phone_shape
            frame = frame_of(np.asarray(image, np.float32), np.float32, shape, f"a flat field of the {kind}")
            self._check_sound()
            with self._storing(frame.nbytes):
                self._flat_fields[kind].append(frame, flat_field_row(time.time(), channel))
            self._clear_fields.add((kind, channel))

    def add_event(self, level: str, text: str) -> None:
        """Note something that happened; a text over 1024 bytes is shortened with an ellipsis."""
        with self._serial:
            self._check_sound()
            row = event_row(time.time(), level, text)
            with self._storing(0, margin_bytes=0):
                self._events.append(row)

    def _check_sound(self) -> None:
        if not self._file:
            raise SessionError(f"{self.path} was closed", "open it again to go on")
        if self._failed:
            raise SessionError(f"an earlier write to {self.path} failed", "run the same command again to go on")

    def _check_new(self, slide: str, known: bool, what: str) -> None:
        self._check_sound()
        if slide not in self._slides:
            raise SessionError(f"{self.path} has no slide {slide}", f"its slides: {', '.join(sorted(self._slides))}")
        if known:
            raise SessionError(f"{what} is in {self.path} already", "stored images are never rewritten")

    @contextlib.contextmanager
    def _storing(self, payload_bytes: int, margin_bytes: int | None = None) -> Iterator[None]:
        """Check and claim the room for an image, then sync now and then; a failure ends this writer's work."""
        margin = self._margin_bytes if margin_bytes is None else margin_bytes
        _check_free(self.path, margin, payload_bytes)
        claim_room(self.path, self._descriptor, self._file, payload_bytes)
        try:
            yield
            self._sync.stored(payload_bytes)
        except BaseException as error:
            # A row may or may not stand; the next run finds out from the file, this one must not guess.
            self._failed = True
            if isinstance(error, OSError | RuntimeError):
                if is_disk_full(error):
                    raise write_failure(self.path, error) from error
                raise SessionError(
                    f"writing {self.path} failed: {error}", "check the disk, then run the same command again"
                ) from error
            raise


def _check_free(path: Path, margin_bytes: int, payload_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < margin_bytes + payload_bytes:
        raise DiskSpaceError(
            f"{path.parent} has {free / 1e6:.0f} MB free, {(margin_bytes + payload_bytes) / 1e6:.0f} MB are needed",
            "free some space, then run the same command again",
        )


def _product(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]
