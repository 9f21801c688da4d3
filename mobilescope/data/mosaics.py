"""A slide's stitched mosaic: a pyramid in a file beside the session, written in bands, readable only when whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobilescope.core.closing import Closing
from mobilescope.core.errors import InputFileError, InputImageError, SessionError
from mobilescope.core.geometry import PixelGrid
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.data.files import (
    PartialFile,
    naming_write_failures,
    open_for_reading,
    read_json,
    read_part,
    replaced_when_whole,
    stored,
)
from mobilescope.data.layout import mosaic_path
from mobilescope.data.schema import CHECKED_CODEC

MOSAIC_FORMAT = "mobilescope-mosaic"
MOSAIC_VERSION = 1
CHUNK_PX = 256
SMALLEST_LEVEL_PX = 1024
_REMEDY = "stitch the session again"


class _Level:
    """One level being written: gathers rows into whole strips of chunks and passes each, halved, to the next level."""

    def __init__(self, new: PartialFile, number: int, rows: int, columns: int) -> None:
        chunk = (min(CHUNK_PX, rows), min(CHUNK_PX, columns))
        self._new = new
        group = new.file.create_group(f"levels/{number}")
        self._pixels = group.create_dataset("pixels", (rows, columns, 3), "u1", chunks=(*chunk, 3), **CHECKED_CODEC)
        self._coverage = group.create_dataset("coverage", (rows, columns), "u1", chunks=chunk, **CHECKED_CODEC)
        self._strip = np.empty((CHUNK_PX, columns, 3), np.uint8)
        self._covered = np.empty((CHUNK_PX, columns), np.uint8)
        self._filled = 0
        self.written = 0
        halved = (rows + 1) // 2, (columns + 1) // 2
        self._next = _Level(new, number + 1, *halved) if max(rows, columns) >= SMALLEST_LEVEL_PX else None

    def add(self, pixels: NDArray[np.uint8], covered: NDArray[np.uint8]) -> None:
        taken = 0
        while taken < len(pixels):
            step = min(CHUNK_PX - self._filled, len(pixels) - taken)
            self._strip[self._filled:self._filled + step] = pixels[taken:taken + step]
            self._covered[self._filled:self._filled + step] = covered[taken:taken + step]
            self._filled += step
            taken += step
            if self._filled == CHUNK_PX:
                self._flush()

    def finish(self) -> None:
        if self._filled:
            self._flush()
        if self._next is not None:
            self._next.finish()

    def _flush(self) -> None:
        pixels, covered = self._strip[:self._filled], self._covered[:self._filled]
        rows = slice(self.written, self.written + self._filled)
        self._new.claim(CHUNK_PX * (pixels.shape[1] + CHUNK_PX) * 4)
        self._pixels[rows], self._coverage[rows] = pixels, covered
        self._new.file.flush()
        if self._next is not None:
            self._next.add(*_halved(pixels, covered))
        self.written += self._filled
        self._filled = 0


class MosaicWriter:
    """Writes one slide's mosaic from top to bottom; a context manager.

    The file takes its name on a clean exit, replacing an earlier mosaic of the slide; until then that one stands.

    Parameters
    ----------
    path : Path
        The session file.
    shape : tuple of int
        (rows, columns) of the whole mosaic.
    origin_um : tuple of float
        Stage position (x, y) of the centre of pixel (0, 0).
    provenance : dict
        JSON-ready: what made the mosaic, with which parameters and version.
    tile_positions_px : array-like, shape (tiles, 2), float
        (x, y) in the mosaic's pixel frame of each tile's pixel (0, 0), in the order of the session's tiles.
    """

    def __init__(
        self, path: Path, slide: str, shape: tuple[int, int], pixel_size_um: float, origin_um: tuple[float, float],
        provenance: dict[str, Any], tile_positions_px: ArrayLike,
    ) -> None:
        self.path = mosaic_path(path, slide)
        self.shape = shape
        self._attributes = {
            "slide": slide, "pixel_size_um": pixel_size_um, "origin_um": np.asarray(origin_um, np.float64),
        }
        self._provenance = json.dumps(provenance).encode("utf-8")
        self._positions = np.asarray(tile_positions_px, np.float64).reshape(-1, 2)
        self._given = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        new = self._stack.enter_context(replaced_when_whole(self.path, MOSAIC_FORMAT, MOSAIC_VERSION))
        try:
            with naming_write_failures(self.path):
                new.claim(len(self._provenance) + self._positions.nbytes)
                new.file.attrs.update(self._attributes)
                new.file["provenance"] = np.bytes_(self._provenance)
                new.file["tile_positions_px"] = self._positions
                self._level = _Level(new, 0, *self.shape)
                new.file.flush()
            self._file = new.file
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if failure is None:
            try:
                self._complete()
            except BaseException as error:
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise
        self._stack.__exit__(kind, failure, traceback)

    def write_band(self, pixels: NDArray[np.uint8], covered: NDArray[Any]) -> None:
        """Append rows below those written so far.

        Parameters
        ----------
        pixels : ndarray, shape (n, columns, 3), uint8
            sRGB colour; what is not covered should be 0.
        covered : ndarray, shape (n, columns), bool
            Where a tile lies under the pixel.

        Raises
        ------
        InputImageError
            Wrong type or shape, or more rows than the mosaic has.
        DiskSpaceError, OutputError
            The band can't be written.
        """
        columns = self.shape[1]
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (columns, 3) or covered.shape != pixels.shape[:2]:
            raise InputImageError(
                f"a band must be uint8 (n, {columns}, 3) with coverage (n, {columns}), "
                f"got {pixels.dtype} {pixels.shape} and {covered.shape}"
            )
        if self._given + len(pixels) > self.shape[0]:
            raise InputImageError(f"the mosaic has {self.shape[0]} rows, the bands have more")
        with naming_write_failures(self.path):
            self._level.add(pixels, (covered != 0).astype(np.uint8))
        self._given += len(pixels)

    def _complete(self) -> None:
        if self._given < self.shape[0]:
            raise SessionError(f"only {self._given} of {self.shape[0]} rows of {self.path} were given")
        with naming_write_failures(self.path):
            self._level.finish()
            self._file.attrs["complete"] = True


@dataclass(frozen=True, eq=False)
class Mosaic(Closing):
    """A slide's finished mosaic; a context manager.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns) of level 0.
    origin_um : tuple of float
        Stage position (x, y) of the centre of pixel (0, 0) of level 0.
    levels : int
        Number of pyramid levels; level k is 2ᵏ times coarser, edges rounded up.
    tile_positions_px : ndarray, shape (tiles, 2), float64
        (x, y) of each tile's pixel (0, 0) in the pixel frame of level 0.
    """

    path: Path
    slide: str
    shape: tuple[int, int]
    pixel_size_um: float
    origin_um: tuple[float, float]
    levels: int
    tile_positions_px: NDArray[np.float64]
    provenance: dict[str, Any]
    _file: h5py.File

    @classmethod
    def open(cls, path: Path, slide: str) -> Self:
        """Open the mosaic of a slide of the session at ``path``.

        Raises
        ------
        InputFileError, NewerVersionError
            There is none yet, or it is truncated, foreign, of another slide, or newer than this software.
        """
        target = mosaic_path(path, slide)
        if not target.exists():
            raise InputFileError(f"slide {slide} of {path} has no mosaic ({target})", "stitch the session first")
        return cls._opened(target, slide)

    @classmethod
    def open_file(cls, target: Path) -> Self:
        """Open a mosaic by its own path; errors as for `open`."""
        return cls._opened(target, None)

    @classmethod
    def _opened(cls, target: Path, wanted: str | None) -> Self:
        file = open_for_reading(target, MOSAIC_FORMAT, MOSAIC_VERSION)
        try:
            slide = wanted or str(file.attrs["slide"])
            if not file.attrs.get("complete", False) or file.attrs["slide"] != slide:
                raise InputFileError(f"{target} is not a whole mosaic of slide {slide}", _REMEDY)
            rows, columns, _ = stored(file, "levels/0/pixels", _REMEDY).shape
            x_um, y_um = (float(value) for value in file.attrs["origin_um"])
            return cls(
                target, slide, (rows, columns), float(file.attrs["pixel_size_um"]), (x_um, y_um), len(file["levels"]),
                file["tile_positions_px"][:], read_json(file["provenance"]), file,
            )
        except InputFileError:
            file.close()
            raise
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            file.close()
            raise InputFileError(f"{target} is damaged: {error}", _REMEDY) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def verify(self, on_progress: ProgressListener = ignore_progress) -> list[str]:
        """Read everything, and return a line for each strip of a level that can't be read.

        In files that were written before pixels had checksums, damage shows only where it keeps them from being
        unpacked.
        """
        strips = [
            (level, row, min(CHUNK_PX, shape[0] - row), shape[1])
            for level, shape in enumerate(map(self._level_shape, range(self.levels)))
            for row in range(0, shape[0], CHUNK_PX)
        ]
        problems = []
        for done, (level, row, height, width) in enumerate(strips, start=1):
            try:
                self.read(row, 0, height, width, level)
                self.coverage(row, 0, height, width, level)
            except InputFileError as error:
                problems.append(f"level {level}, rows {row} to {row + height - 1}: {error.cause}")
            on_progress(Progress(f"check {self.path.name}", done, len(strips)))
        return problems

    def grid(self, level: int = 0) -> PixelGrid:
        """Return where a level's pixels lie on the stage."""
        rows, columns = self._level_shape(level)
        scale = 2**level
        shift = (scale - 1) / 2 * self.pixel_size_um
        x_um, y_um = self.origin_um
        return PixelGrid(x_um + shift, y_um + shift, self.pixel_size_um * scale, rows, columns)

    def digest(self, level: int) -> str:
        """Return a digest of a level as it is stored, its pixels and what they cover, and of where it lies."""
        facts = json.dumps([self.slide, self.shape, self.pixel_size_um, self.origin_um, level])
        summed = hashlib.sha256(facts.encode("utf-8"))
        for name in ("pixels", "coverage"):
            dataset = self._stored(name, level)
            try:
                for number in range(dataset.id.get_num_chunks()):
                    place = dataset.id.get_chunk_info(number).chunk_offset
                    summed.update(repr(place).encode("ascii"))
                    summed.update(dataset.id.read_direct_chunk(place)[1])
            except (OSError, RuntimeError, ValueError) as error:
                raise InputFileError(
                    f"{self.path} is damaged: {dataset.name} can't be read: {error}", _REMEDY
                ) from error
        return summed.hexdigest()

    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> NDArray[np.uint8]:
        """Read a window of a level, shape (height, width, 3), uint8; outside of the mosaic it is 0."""
        return self._window("pixels", row, column, height, width, level)

    def coverage(self, row: int, column: int, height: int, width: int, level: int = 0) -> NDArray[np.bool_]:
        """Tell where a window of a level is covered by tiles, shape (height, width), bool."""
        return self._window("coverage", row, column, height, width, level).astype(np.bool_)

    def _window(self, name: str, row: int, column: int, height: int, width: int, level: int) -> NDArray[np.uint8]:
        dataset = self._stored(name, level)
        window = np.zeros((height, width, *dataset.shape[2:]), np.uint8)
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + height, dataset.shape[0]), min(column + width, dataset.shape[1])
        if top < bottom and left < right:
            inside = np.s_[top - row:bottom - row, left - column:right - column]
            window[inside] = read_part(dataset, np.s_[top:bottom, left:right], _REMEDY)
        return window

    def _level_shape(self, level: int) -> tuple[int, int]:
        """Return a level's (rows, columns); each halves the one before, edges rounded up."""
        rows, columns, _ = self._stored("pixels", level).shape
        return rows, columns

    def _stored(self, name: str, level: int) -> h5py.Dataset:
        return stored(self._file, f"levels/{level}/{name}", _REMEDY)


def _halved(pixels: NDArray[np.uint8], covered: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Average 2×2 pixels where they are covered; an odd last row or column stands alone."""
    odd = ((0, len(pixels) % 2), (0, pixels.shape[1] % 2))
    weight = np.pad(covered, odd).astype(np.uint16)
    weighted = np.pad(pixels, (*odd, (0, 0))).astype(np.uint16) * weight[..., None]
    total = weighted[0::2, 0::2] + weighted[0::2, 1::2] + weighted[1::2, 0::2] + weighted[1::2, 1::2]
    count = weight[0::2, 0::2] + weight[0::2, 1::2] + weight[1::2, 0::2] + weight[1::2, 1::2]
    divisor = np.maximum(count, 1)[..., None]
    return ((total + divisor // 2) // divisor).astype(np.uint8), (count > 0).astype(np.uint8)
