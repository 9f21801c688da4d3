"""Whether a field really shows the place that its landmarks name: correlation there, and beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import Affine, PixelGrid, RegionUm
from mobilescope.imaging.landmarks import Grey, evened

# A part of the mosaic at a pitch or a finer one: grey 0-1, where it is covered, and where its pixels lie.
Reader = Callable[[RegionUm, float], tuple[Grey, NDArray[np.bool_], PixelGrid]]

_STEPS = 40
_PRECISION = 1e-4
# A rival lies further off than the peak's own width.
_PEAK_SHARE = 1 / 8
_SMOOTH_PX = 1.0
_LEAST_COVERED = 0.3


@dataclass(frozen=True, eq=False)
class CheckedPlace:
    """A place held against the mosaic's pixels.

    Attributes
    ----------
    to_mosaic : Affine
        From the picture's µm to the mosaic's, refined.
    agreeing : int
        Landmarks that speak for it.
    correlation : float
        Of both pictures there, evened out, -1 to 1.
    covered : float
        Share of the field where the mosaic shows anything, 0-1.
    beside : float
        Best correlation at another shift within half a field.
    """

    to_mosaic: Affine
    agreeing: int
    correlation: float
    covered: float
    beside: float = -1.0


def check_place(
    even: Grey, pixel_um: float, to_mosaic: Affine, agreeing: int, read: Reader, *, refine: bool
) -> CheckedPlace:
    """Correlate a picture with the mosaic where it is said to lie.

    Parameters
    ----------
    even : ndarray, shape (rows, columns), float32
        The picture, `evened`, at the pitch ``pixel_um``.
    refine : bool
        Adjust the map to the pixels, and look for a shift that fits about as well.
    """
    rows, columns = even.shape
    window, covered, grid = _around(even.shape, pixel_um, to_mosaic, read)
    matrix = _pixel_matrix(to_mosaic, pixel_um, grid)
    drawn, seen = _drawn(window, covered, matrix, even.shape)
    before = _correlation(even, drawn, seen)
    share = float(seen.mean())
    if not refine or share < _LEAST_COVERED:
        return CheckedPlace(to_mosaic, agreeing, before, share)
    better = _refined(even, drawn, seen, matrix)
    if better is not None:
        drawn, seen = _drawn(window, covered, better, even.shape)
        after = _correlation(even, drawn, seen)
        if after > before:
            matrix, before, share = better, after, float(seen.mean())
    found = grid.pixel_to_um().after(Affine(matrix)).after(Affine.similarity(1 / pixel_um, 0))
    room = rows // 2, columns // 2
    shifted = matrix.copy()
    shifted[:, 2] -= matrix[:, 0] * room[1] + matrix[:, 1] * room[0]
    wide, _ = _drawn(window, covered, shifted, (rows + 2 * room[0], columns + 2 * room[1]))
    return CheckedPlace(found, agreeing, before, share, _beside(even, wide))


def _around(
    shape: tuple[int, ...], pixel_um: float, to_mosaic: Affine, read: Reader
) -> tuple[Grey, NDArray[np.bool_], PixelGrid]:
    """Return the mosaic under a field and half a field on each side, evened out."""
    height, width = shape[0] * pixel_um, shape[1] * pixel_um
    corners = to_mosaic.apply([
        (x * width, y * height) for x in (-0.5, 1.5) for y in (-0.5, 1.5)
    ])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    grey, covered, grid = read(RegionUm(left, top, right - left, bottom - top), pixel_um)
    # The mosaic's local means are taken over as much of the specimen as the picture's are.
    if grid.pixel_size_um < pixel_um:
        size = max(1, round(grid.columns * grid.pixel_size_um / pixel_um)), max(
            1, round(grid.rows * grid.pixel_size_um / pixel_um)
        )
        scale = grid.columns / size[0], grid.rows / size[1]
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        covered = np.asarray(cv2.resize(covered.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)) > 0
        pitch = grid.pixel_size_um * (scale[0] + scale[1]) / 2
        shift = (pitch - grid.pixel_size_um) / 2
        grid = PixelGrid(grid.x_um + shift, grid.y_um + shift, pitch, size[1], size[0])
    return evened(grey, covered), covered, grid


def _pixel_matrix(to_mosaic: Affine, pixel_um: float, grid: PixelGrid) -> NDArray[np.floating]:
    """Return the map from the picture's pixels to the window's."""
    return grid.pixel_to_um().inverse().after(to_mosaic).after(Affine.similarity(pixel_um, 0)).matrix


def _drawn(
    window: Grey, covered: NDArray[np.bool_], matrix: NDArray[np.floating], shape: tuple[int, ...]
) -> tuple[Grey, NDArray[np.bool_]]:
    """Return the window as the picture sees it, and where it shows anything."""
    size, flags = (shape[1], shape[0]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(window, matrix, size, flags=flags)
    seen = cv2.warpAffine(covered.astype(np.float32), matrix, size, flags=flags)
    return np.asarray(drawn, dtype=np.float32), np.asarray(seen > 0.99)


def _correlation(first: Grey, second: Grey, where: NDArray[np.bool_]) -> float:
    if where.sum() < 64:
        return 0.0
    a, b = (cv2.GaussianBlur(plane, (0, 0), _SMOOTH_PX)[where] for plane in (first, second))
    a, b = a - a.mean(), b - b.mean()
    both = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / both if both > 0 else 0.0


def _refined(
    even: Grey, drawn: Grey, seen: NDArray[np.bool_], matrix: NDArray[np.floating]
) -> NDArray[np.floating] | None:
    """Return the map that makes the two pictures fit best (ECC), or None where there is no such near it."""
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _PRECISION)
    try:
        _, found = cv2.findTransformECC(
            even, drawn, start, cv2.MOTION_AFFINE, criteria, seen.astype(np.uint8) * 255, 5
        )
    except cv2.error:
        return None
    step = Affine(np.asarray(found, dtype=np.float64))
    return Affine(matrix).after(step).matrix


def _beside(even: Grey, wide: Grey) -> float:
    """Return the best correlation of a picture in a wider one but for the middle peak."""
    surface = cv2.matchTemplate(
        cv2.GaussianBlur(wide, (0, 0), _SMOOTH_PX), cv2.GaussianBlur(even, (0, 0), _SMOOTH_PX), cv2.TM_CCOEFF_NORMED
    )
    row, column = surface.shape[0] // 2, surface.shape[1] // 2
    reach_y, reach_x = max(2, round(even.shape[0] * _PEAK_SHARE)), max(2, round(even.shape[1] * _PEAK_SHARE))
    surface[max(0, row - reach_y):row + reach_y + 1, max(0, column - reach_x):column + reach_x + 1] = -1
    return float(np.nan_to_num(surface, nan=-1.0, posinf=-1.0, neginf=-1.0).max())
