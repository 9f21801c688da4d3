"""What a field is looked for in: a session's mosaic, or an image file, as levels that are read in parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pictures.enhance_jobs import file_digest
from mobilescope.app.pictures.images import Picture, open_picture
from mobilescope.core.errors import UserError
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.data.files import file_format
from mobilescope.data.mosaics import MOSAIC_FORMAT, Mosaic
from mobilescope.imaging.colour import to_float
from mobilescope.imaging.landmarks import Grey

# Of a picture without levels, so many rows of a level are averaged at once.
_BAND_ROWS = 128
_MOST_LEVELS = 8

Part = tuple[Grey, NDArray[np.bool_]]


class LevelSource(Protocol):
    """Green light of a mosaic at any level; level k is 2ᵏ times coarser than the first."""

    @property
    def levels(self) -> int:
        """How many there are."""

    def grid(self, level: int) -> PixelGrid:
        """Where a level's pixels lie."""

    def read(self, row: int, column: int, rows: int, columns: int, level: int) -> Part:
        """Return a window of a level, which may reach beyond it, 0-1, and where it shows anything."""

    def digest(self, level: int) -> str:
        """Return a digest of what a level shows."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True, eq=False)
class MosaicLevels:
    """The levels of a session's mosaic, in its own µm."""

    mosaic: Mosaic

    @property
    def levels(self) -> int:
        """How many there are."""
        return self.mosaic.levels

    def grid(self, level: int) -> PixelGrid:
        """Where a level's pixels lie on the stage."""
        return self.mosaic.grid(level)

    def read(self, row: int, column: int, rows: int, columns: int, level: int) -> Part:
        """See `LevelSource`."""
        pixels = self.mosaic.read(row, column, rows, columns, level)
        return to_float(np.ascontiguousarray(pixels[..., 1])), self.mosaic.coverage(row, column, rows, columns, level)

    def digest(self, level: int) -> str:
        """See `LevelSource`."""
        return self.mosaic.digest(level)

    def close(self) -> None:
        """Close the file."""
        self.mosaic.close()


@dataclass(frozen=True, eq=False)
class PictureLevels:
    """The levels of a plain image, averaged as they are read; its µm start at the centre of its first pixel."""

    path: Path
    picture: Picture
    pixel_um: float

    @property
    def levels(self) -> int:
        """How many there are."""
        return _MOST_LEVELS

    def grid(self, level: int) -> PixelGrid:
        """Where a level's pixels lie in the image."""
        scale = 2**level
        shift = (scale - 1) / 2 * self.pixel_um
        rows, columns = (-(-side // scale) for side in self.picture.shape[:2])
        return PixelGrid(shift, shift, self.pixel_um * scale, rows, columns)

    def read(self, row: int, column: int, rows: int, columns: int, level: int) -> Part:
        """See `LevelSource`."""
        scale, whole = 2**level, self.grid(level)
        grey, covered = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.bool_)
        left, right = max(column, 0), min(column + columns, whole.columns)
        for top in range(max(row, 0), min(row + rows, whole.rows), _BAND_ROWS):
            bottom = min(top + _BAND_ROWS, row + rows, whole.rows)
            if left >= right:
                break
            part = np.s_[top - row:bottom - row, left - column:right - column]
            grey[part] = self._averaged(top, left, bottom, right, scale)
            covered[part] = True
        return grey, covered

    def digest(self, level: int) -> str:
        """See `LevelSource`."""
        return f"{file_digest(self.path)} {self.pixel_um!r} {level}"

    def close(self) -> None:
        """There is nothing to close."""

    def _averaged(self, top: int, left: int, bottom: int, right: int, scale: int) -> Grey:
        rows, columns = self.picture.shape[:2]
        last_row, last_column = min(bottom * scale, rows), min(right * scale, columns)
        fine = self.picture.source.read(top * scale, left * scale, last_row - top * scale, last_column - left * scale)
        green = to_float(np.ascontiguousarray(fine[..., 1]))
        if scale == 1:
            return green
        beyond = (bottom * scale - last_row, right * scale - last_column)
        if any(beyond):
            green = np.pad(green, ((0, beyond[0]), (0, beyond[1])), mode="edge")
        size = right - left, bottom - top
        return np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def open_levels(path: Path, pixel_size_um: float | None = None) -> LevelSource:
    """Open a mosaic's file, or an image file with the pixel size that is given or that it states.

    Raises
    ------
    InputFileError, InputImageError
        The file can't be read.
    UserError
        The pixel size is not known.
    """
    if path.suffix.lower() == ".h5" or file_format(path) == MOSAIC_FORMAT:
        return MosaicLevels(Mosaic.open_file(path))
    picture = open_picture(path)
    pixel_um = pixel_size_um or picture.pixel_size_um
    if pixel_um is None:
        raise UserError(f"{path} does not say how large its pixels are", "give its pixel size")
    return PictureLevels(path, picture, pixel_um)


def read_region(source: LevelSource, region: RegionUm, pitch_um: float) -> tuple[Grey, NDArray[np.bool_], PixelGrid]:
    """Read a region at the coarsest level that is no coarser than a pitch; see `imaging.place_checks.Reader`."""
    finest = source.grid(0).pixel_size_um
    level = int(np.clip(np.floor(np.log2(pitch_um / finest * 1.02)), 0, source.levels - 1))
    grid = source.grid(level)
    pixel = grid.pixel_size_um
    row, column = (int(np.floor(away / pixel)) for away in (region.y_um - grid.y_um, region.x_um - grid.x_um))
    rows, columns = int(np.ceil(region.height_um / pixel)) + 2, int(np.ceil(region.width_um / pixel)) + 2
    grey, covered = source.read(row, column, rows, columns, level)
    return grey, covered, PixelGrid(grid.x_um + column * pixel, grid.y_um + row * pixel, pixel, rows, columns)
