"""A slide made from an image file with a known pixel size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mobilescope.core.errors import InputImageError
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.imaging.colour import decode_8bit, srgb_decode
from mobilescope.imaging.pixel_sources import Pixels, open_pixels
from mobilescope.twin.specimens.base import SpecimenObject

_SMALLEST_PX = 64
_DECODE_8BIT = decode_8bit(np.arange(256, dtype=np.uint8))
_DECODE_16BIT = srgb_decode(np.arange(65536, dtype=np.float32) / 65535)


@dataclass(frozen=True)
class _Window:
    """The part of the image in use, in its pixels."""

    row: int
    column: int
    rows: int
    columns: int


class ImageSpecimen:
    """An image under the microscope, centred on the origin and mirrored beyond its edges.

    Parameters
    ----------
    path : Path
        PNG, JPEG or TIFF (level 0 of pyramids; tiled files are read in parts); sRGB-encoded.
    pixel_size_um : float or None
        Pitch of the image's pixels; None takes it from the file (TIFF only).
    part : RegionUm, optional
        Use only this part, in µm from the image's centre, shrunk to whole pixels; mirrored about its own edges.

    Raises
    ------
    InputFileError
        A file that is missing, truncated or no image.
    InputImageError
        Too small, of an unsuitable type, without a pixel size, or a part that is not inside the image.
    """

    def __init__(self, path: Path | str, pixel_size_um: float | None = None, part: RegionUm | None = None) -> None:
        self._path = Path(path)
        self._source, stated_um = open_pixels(self._path)
        pitch_um = stated_um if pixel_size_um is None else pixel_size_um
        if pitch_um is None:
            raise InputImageError(f"{self._path} does not say its pixel size", "give the pixel size in micrometres")
        if not (np.isfinite(pitch_um) and pitch_um > 0):
            raise InputImageError(f"{self._path}: a pixel size of {pitch_um} µm", "give a size above 0")
        self.pixel_size_um = float(pitch_um)
        self._window = self._window_of(part)
        if min(self._window.rows, self._window.columns) < _SMALLEST_PX:
            raise InputImageError(
                f"{self._path}: {self._window.columns}x{self._window.rows} pixels to work with",
                f"a specimen needs at least {_SMALLEST_PX} pixels each way",
            )

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    @property
    def extent(self) -> RegionUm | None:
        """The part in use, on whole pixels."""
        rows, columns = self._source.shape
        window, pitch = self._window, self.pixel_size_um
        return RegionUm(
            (window.column - columns / 2) * pitch, (window.row - rows / 2) * pitch,
            window.columns * pitch, window.rows * pitch,
        )

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Resample the image in linear light, shape (rows, columns, 3), float32, 0–1.

        Cubic (Keys, a = -1/2) where the grid is finer; the same kernel widened to the grid's pitch where it is coarser.
        """
        rows, columns = self._source.shape
        scale = grid.pixel_size_um / self.pixel_size_um
        across_px = grid.x_coordinates_um() / self.pixel_size_um + columns / 2 - 0.5 - self._window.column
        down_px = grid.y_coordinates_um() / self.pixel_size_um + rows / 2 - 0.5 - self._window.row
        first_column, across = _resampling(across_px, scale, self._window.columns)
        first_row, down = _resampling(down_px, scale, self._window.rows)
        source = _decode(
            self._source.read(
                self._window.row + first_row, self._window.column + first_column, down.shape[1], across.shape[1]
            )
        )
        narrowed = (down @ source.reshape(down.shape[1], -1)).reshape(grid.rows, across.shape[1], 3)
        turned = np.ascontiguousarray(narrowed.transpose(1, 0, 2)).reshape(across.shape[1], -1)
        light = (across @ turned).reshape(grid.columns, grid.rows, 3)
        return np.clip(light.transpose(1, 0, 2), 0, 1, order="C")

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return nothing: what an image shows is not known."""
        del region
        return []

    def _window_of(self, part: RegionUm | None) -> _Window:
        """Return the whole pixels inside a part, or the whole image."""
        rows, columns = self._source.shape
        if part is None:
            return _Window(0, 0, rows, columns)
        pitch, slack = self.pixel_size_um, 1e-6
        left = int(np.ceil(part.x_um / pitch + columns / 2 - slack))
        right = int(np.floor(part.right_um / pitch + columns / 2 + slack))
        top = int(np.ceil(part.y_um / pitch + rows / 2 - slack))
        bottom = int(np.floor(part.bottom_um / pitch + rows / 2 + slack))
        if left < 0 or top < 0 or right > columns or bottom > rows:
            raise InputImageError(
                f"{self._path}: the part {part} reaches out of the image of {columns * pitch:g}x{rows * pitch:g} µm",
                "give a part in micrometres from the image's centre",
            )
        return _Window(top, left, bottom - top, right - left)


def _decode(pixels: Pixels) -> NDArray[np.float32]:
    """Return linear light 0–1 from sRGB-encoded bytes or 16-bit words."""
    if pixels.dtype == np.uint8:
        return np.asarray(cv2.LUT(np.ascontiguousarray(pixels), _DECODE_8BIT))
    return np.asarray(_DECODE_16BIT[pixels])


def _resampling(centres_px: NDArray[np.floating], scale: float, count: int) -> tuple[int, csr_array]:
    """Return the first source pixel needed on one axis and the matrix (outputs, sources) of kernel weights.

    ``centres_px`` are the outputs' centres in source pixels; sources beyond 0..count-1 are mirrored about the edges.
    """
    stretch = max(scale, 1.0)
    taps = int(np.ceil(4 * stretch)) + 1
    start = np.floor(centres_px - 2 * stretch).astype(np.int64) + 1
    index = start[:, None] + np.arange(taps)
    weight = _keys((centres_px[:, None] - index) / stretch)
    weight /= weight.sum(axis=1, keepdims=True)
    folded = index % (2 * count)
    mirrored = np.where(folded < count, folded, 2 * count - 1 - folded)
    first, last = int(mirrored.min()), int(mirrored.max())
    pointer = np.arange(0, weight.size + 1, taps)
    matrix = csr_array(
        (weight.astype(np.float32).ravel(), (mirrored - first).ravel(), pointer),
        shape=(len(centres_px), last - first + 1),
    )
    return first, matrix


def _keys(t: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return Keys' cubic convolution kernel with a = -1/2."""
    a = np.abs(t)
    near = 1.5 * a**3 - 2.5 * a**2 + 1
    far = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return np.where(a < 1, near, np.where(a < 2, far, 0.0))


def cut_into_parts(width_um: float, height_um: float, gap_um: float) -> dict[str, RegionUm]:
    """Cut one image along its longer side into parts that share no content.

    The parts are ``gap_um`` apart. Validation is one gap wide and blind two; where that leaves training less
    than one gap they shrink together to half of that, then training and blind shrink alike.

    Parameters
    ----------
    width_um, height_um : float
        Size of the image.
    gap_um : float
        Least distance between parts; one field of view of the camera keeps them apart for good.

    Returns
    -------
    dict of RegionUm
        "training", "validation" and "blind", in µm from the image's centre.

    Raises
    ------
    InputImageError
        Where a part would be narrower than half a gap.
    """
    usable = max(width_um, height_um) - 2 * gap_um
    if gap_um <= 0 or usable < 1.5 * gap_um:
        raise InputImageError(
            f"an image of {width_um:g}x{height_um:g} µm is too small for three parts {gap_um:g} µm apart",
            f"give an image at least {3.5 * gap_um:g} µm long, or one image each for training, validation and blind",
        )
    if usable >= 2.5 * gap_um:
        validation = min(gap_um, (usable - gap_um) / 3)
        blind = 2 * validation
    else:
        validation = gap_um / 2
        blind = (usable - validation) / 2
    parts = {}
    start = -max(width_um, height_um) / 2
    for name, length in (("training", usable - validation - blind), ("validation", validation), ("blind", blind)):
        if width_um >= height_um:
            parts[name] = RegionUm(start, -height_um / 2, length, height_um)
        else:
            parts[name] = RegionUm(-width_um / 2, start, width_um, length)
        start += length + gap_um
    return parts
