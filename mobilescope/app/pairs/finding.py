"""Where a phone field lies in a slide's mosaic, asked as often as wanted: the index is made once and kept beside it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mobilescope import __version__
from mobilescope.app.mosaics.mosaic_sources import LevelSource, open_levels, read_region
from mobilescope.core.closing import Closing
from mobilescope.core.errors import DiskSpaceError, OutputError, SessionLockedError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.landmark_file import landmarks_path, read_landmarks, write_landmarks
from mobilescope.data.lock import WriterLock
from mobilescope.imaging.landmarks import Landmarks, landmarks_of
from mobilescope.imaging.retrieval import FieldIndex, FieldPlace, find_field

# What of a change makes indexes of before useless.
_METHOD = "evened green, RootSIFT, 1 in 50 px"
# Level 3 of a mosaic of 25K x 25K is about so large; smaller ones are indexed finer, no finer than level 2.
_INDEX_SIDE_PX = 3100
_LEVELS = (2, 3)
_TILE_PX = 1024
_HALO_PX = 40
_WAIT_S = 0.2


@dataclass(frozen=True, eq=False)
class MosaicFinder(Closing):
    """A mosaic in which fields are found; a context manager. One thread at a time may use it.

    Attributes
    ----------
    index : FieldIndex
    built_s : float
        What making the index took; 0 where it was there.
    unsaved : str
        Why the index could not be kept beside the mosaic; empty where it was.
    """

    path: Path
    index: FieldIndex
    built_s: float
    unsaved: str
    _source: LevelSource

    @classmethod
    def open(
        cls, mosaic: Path, *, pixel_size_um: float | None = None, on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> Self:
        """Open a mosaic (`data.layout.mosaic_path`) or an image file, with its index, which is made if need be.

        An index that is damaged, or of another mosaic than stands there now, is made anew. One that another process is
        making is waited for.

        Parameters
        ----------
        pixel_size_um : float, optional
            Of an image file, instead of what it states.

        Raises
        ------
        UserError
            The file can't be read, or its pixel size is not known.
        CancelledError
            A stop was asked for while the index was made.
        """
        source = open_levels(mosaic, pixel_size_um)
        try:
            begun_s = time.perf_counter()
            level = index_level(source)
            facts = {"method": _METHOD, "level": level, "digest": source.digest(level)}
            target = landmarks_path(mosaic)
            arrays, _ = read_landmarks(target, facts)
            pitch_um = source.grid(level).pixel_size_um
            if arrays is not None:
                return cls(mosaic, FieldIndex(Landmarks(**arrays), pitch_um), 0.0, "", source)
            with _alone(target, stop or StopToken()) as unsaved:
                arrays, _ = read_landmarks(target, facts)
                if arrays is not None:  # who was waited for has made it
                    return cls(mosaic, FieldIndex(Landmarks(**arrays), pitch_um), 0.0, "", source)
                landmarks = build_index(source, level, on_progress=on_progress, stop=stop)
                seconds = time.perf_counter() - begun_s
                unsaved = unsaved or _kept(target, landmarks, facts)
            return cls(mosaic, FieldIndex(landmarks, pitch_um), seconds, unsaved, source)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the mosaic."""
        self._source.close()

    def warn_unsaved(self) -> None:
        """Warn, where the index could not be kept, that whoever opens the mosaic next makes it again."""
        if self.unsaved:
            warnings.warn(
                f"the index of {self.path} could not be kept, each search makes it again: {self.unsaved}",
                RuntimeWarning, stacklevel=2,
            )

    def find(
        self, picture: NDArray[Any], pixel_size_um: float, near_um: tuple[float, float] | None = None
    ) -> FieldPlace:
        """Find where a picture lies, turned by any angle.

        Parameters
        ----------
        picture : ndarray, shape (rows, columns[, 3]), uint8, uint16 or float 0-1
            At least 96 pixels on each side.
        pixel_size_um : float
            Its pitch at the specimen, right to a quarter.
        near_um : tuple of float, optional
            (x, y) where it should be: of places that look alike, the one within a field's side of it is taken.

        Returns
        -------
        FieldPlace
            In the mosaic's µm; for an image file those start at the centre of its first pixel.
        """
        return find_field(picture, pixel_size_um, self.index, partial(read_region, self._source), near_um=near_um)


def index_level(source: LevelSource) -> int:
    """Return the level that an index is made of: always about as many pixels, whatever the mosaic's size."""
    first = source.grid(0)
    wanted = round(np.log2(max(max(first.rows, first.columns) / _INDEX_SIDE_PX, 1)))
    return int(np.clip(np.clip(wanted, *_LEVELS), 0, source.levels - 1))


def build_index(
    source: LevelSource, level: int, *, on_progress: ProgressListener = ignore_progress, stop: StopToken | None = None
) -> Landmarks:
    """Return the landmarks of a level, read tile by tile in bounded memory."""
    stop = stop or StopToken()
    grid = source.grid(level)
    corners = [(row, column) for row in range(0, grid.rows, _TILE_PX) for column in range(0, grid.columns, _TILE_PX)]
    side = _TILE_PX + 2 * _HALO_PX
    parts = []
    for done, (row, column) in enumerate(corners, start=1):
        stop.raise_if_requested("indexing")
        top, left = row - _HALO_PX, column - _HALO_PX
        grey, covered = source.read(top, left, side, side, level)
        if covered.any():
            pixel = grid.pixel_size_um
            origin = grid.x_um + left * pixel, grid.y_um + top * pixel
            found = landmarks_of(grey, pixel, origin_um=origin, covered=covered)
            low = np.array([grid.x_um + (column - 0.5) * pixel, grid.y_um + (row - 0.5) * pixel])
            inside = (found.xy_um >= low) & (found.xy_um < low + _TILE_PX * pixel)
            parts.append(found.where(np.asarray(inside.all(axis=1))))
        on_progress(Progress("index", done, len(corners)))
    return Landmarks.joined(parts)


@contextmanager
def _alone(target: Path, stop: StopToken) -> Iterator[str]:
    """Wait until no other process makes an index; yield why it can't be kept, empty where it can."""
    while True:
        try:
            lock = WriterLock.acquire(target)
            break
        except SessionLockedError:
            stop.raise_if_requested("indexing")
            time.sleep(_WAIT_S)
        except OutputError as error:
            yield str(error)
            return
    try:
        yield ""
    finally:
        lock.release()


def _kept(target: Path, landmarks: Landmarks, facts: dict[str, Any]) -> str:
    """Write the index; return why it could not be, empty where it was: a search does not fail for that."""
    arrays = {name: getattr(landmarks, name) for name in ("xy_um", "size_um", "angle_deg", "descriptors")}
    try:
        write_landmarks(target, arrays, facts | {"software_version": __version__})
    except (OutputError, DiskSpaceError) as error:
        return str(error)
    return ""
