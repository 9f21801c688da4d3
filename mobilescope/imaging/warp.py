"""Dense maps between images: evaluating, inverting and composing them, and resampling an image through one, once.

A map is a float32 array (rows, columns, 2): for each output pixel the (row, column) in the source, centres at integers.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError

MapYX = NDArray[np.float32]
FloatArray = NDArray[np.floating]
Interpolation = Literal["linear", "cubic", "lanczos4"]

_FLAGS: dict[str, int] = {
    "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos4": cv2.INTER_LANCZOS4,
}
# Taps on the far side of a sample, which must lie inside the image for the sample to be whole.
_REACH: dict[str, float] = {"linear": 0.0, "cubic": 1.0, "lanczos4": 3.0}
_INVERSION_STEPS = 30
_INVERSION_TOLERANCE_PX = 1e-3


def pixel_grid(shape: tuple[int, int], *, step: float = 1.0, origin_yx: tuple[float, float] = (0.0, 0.0)) -> MapYX:
    """Return the positions ``origin + step * (row, column)`` of a grid, shape (rows, columns, 2)."""
    rows = origin_yx[0] + step * np.arange(shape[0], dtype=np.float64)
    columns = origin_yx[1] + step * np.arange(shape[1], dtype=np.float64)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float32)


def lattice_points(
    shape: tuple[int, int], factor: float, *, origin_yx: tuple[int, int] = (0, 0)
) -> NDArray[np.float64]:
    """Return where the centres of a lattice ``factor`` times coarser lie, half-pixel centres: u + 0.5 = f (x + 0.5)."""
    rows = origin_yx[0] + factor * (np.arange(shape[0]) + 0.5) - 0.5
    columns = origin_yx[1] + factor * (np.arange(shape[1]) + 0.5) - 0.5
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)


def apply_homography(homography: FloatArray, points_yx: FloatArray) -> NDArray[np.float64]:
    """Map (row, column) points, shape (..., 2), through a 3×3 homography of (x, y) points."""
    row, column = points_yx[..., 0], points_yx[..., 1]
    matrix = np.asarray(homography, dtype=np.float64)
    depth = matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2]
    x = (matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) / depth
    y = (matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]) / depth
    return np.stack([y, x], axis=-1)


def sample_map(field: FloatArray, points_yx: FloatArray) -> NDArray[np.float32]:
    """Sample a smooth field (rows, columns, 2) at points (h, w, 2), bilinearly, holding the border value outside."""
    return np.asarray(
        cv2.remap(
            np.ascontiguousarray(field, dtype=np.float32),
            np.ascontiguousarray(points_yx[..., 1], dtype=np.float32),
            np.ascontiguousarray(points_yx[..., 0], dtype=np.float32),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )
    )


def displacement_of(map_yx: MapYX, homography: FloatArray) -> MapYX:
    """Return the d of ``map(x) = H(x + d(x))``, shape (rows, columns, 2), in source-grid pixels."""
    grid = pixel_grid((map_yx.shape[0], map_yx.shape[1]))
    back = apply_homography(np.linalg.inv(homography), map_yx.astype(np.float64))
    return (back - grid).astype(np.float32)


def evaluate_map(displacement: MapYX, homography: FloatArray, points_yx: FloatArray) -> MapYX:
    """Evaluate ``H(p + d(p))`` at points (h, w, 2) between or beyond the pixels of d."""
    return apply_homography(homography, points_yx + sample_map(displacement, points_yx)).astype(np.float32)


def invert_map(map_yx: MapYX, homography: FloatArray, points_yx: FloatArray) -> MapYX:
    """Return where in the map's own grid the given points of its target come from.

    Parameters
    ----------
    map_yx : ndarray, shape (rows, columns, 2), float32
        The map to invert, ``map(x) = H(x + d(x))`` with a smooth d that does not fold.
    homography : ndarray, shape (3, 3)
        The map's global part, (x, y) to (x, y). Beyond the grid it continues the map, with d held at its border value.
    points_yx : ndarray, shape (h, w, 2)
        (row, column) in the target.

    Returns
    -------
    ndarray, shape (h, w, 2), float32
        (row, column) in the grid of ``map_yx``; within 0.02 px.
    """
    displacement = displacement_of(map_yx, homography)
    undistorted = apply_homography(np.linalg.inv(homography), np.asarray(points_yx, dtype=np.float64))
    start = undistorted.astype(np.float32)
    position = start - sample_map(displacement, start)
    for _ in range(_INVERSION_STEPS):
        moved = start - sample_map(displacement, position)
        change = float(np.abs(moved - position).max(initial=0.0))
        position = moved
        if change < _INVERSION_TOLERANCE_PX:
            break
    return position


def compose(outer: MapYX, inner: MapYX) -> MapYX:
    """Return ``outer(inner(x))``: sample the outer map where the inner one points."""
    rows_columns = pixel_grid((outer.shape[0], outer.shape[1]))
    offset = outer - rows_columns
    return inner + sample_map(offset, inner)


def median_minification(map_yx: MapYX) -> float:
    """Return how many source pixels one output pixel spans, the median over the map."""
    step = max(1, min(map_yx.shape[:2]) // 64)
    down = map_yx[1:, :-1] - map_yx[:-1, :-1]
    right = map_yx[:-1, 1:] - map_yx[:-1, :-1]
    sample = (slice(None, None, step), slice(None, None, step))
    area = down[sample][..., 0] * right[sample][..., 1] - down[sample][..., 1] * right[sample][..., 0]
    return float(np.sqrt(np.median(np.abs(area)))) if area.size else 1.0


def antialias_sigma(minification: float) -> float:
    """Return the Gaussian (source pixels) that keeps sampling every ``minification`` pixels free of aliasing."""
    return 0.45 * float(np.sqrt(max(minification**2 - 1.0, 0.0)))


def resample(
    image: NDArray[Any], map_yx: MapYX, *, interpolation: Interpolation = "lanczos4", prefilter: bool = True,
    fill: float = 0.0,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Resample an image through a map, once.

    Parameters
    ----------
    image : ndarray, shape (rows, columns[, channels]), uint8, uint16 or float
    map_yx : ndarray, shape (h, w, 2), float32
    prefilter : bool
        Where the map makes the image smaller, blur it first so that nothing aliases.
    fill : float
        Value outside the image.

    Returns
    -------
    resampled : ndarray, shape (h, w[, channels]), of the image's type (floats become float32)
    valid : ndarray, shape (h, w), bool
        True where every tap of the interpolation lay inside the image.

    Raises
    ------
    InputImageError
        For another type, or more than four channels.
    """
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise InputImageError(f"an image of type {image.dtype} can't be resampled", "give uint8, uint16 or float")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] > 4):
        raise InputImageError(f"an image of shape {image.shape} can't be resampled", "give rows, columns[, channels]")
    source = image if image.dtype in (np.uint8, np.uint16) else image.astype(np.float32)
    if prefilter:
        sigma = antialias_sigma(median_minification(map_yx))
        if sigma > 0.2:
            source = cv2.GaussianBlur(source, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    rows, columns = np.ascontiguousarray(map_yx[..., 0]), np.ascontiguousarray(map_yx[..., 1])
    result = cv2.remap(
        np.ascontiguousarray(source), columns, rows, _FLAGS[interpolation],
        borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4,
    )
    if image.ndim == 3 and result.ndim == 2:
        result = result[..., None]
    reach = _REACH[interpolation]
    valid = (
        (rows >= reach) & (rows <= image.shape[0] - 1 - reach)
        & (columns >= reach) & (columns <= image.shape[1] - 1 - reach)
    )
    return np.asarray(result), valid
