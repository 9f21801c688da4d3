"""A phone's own distortion: what the maps of registered pairs have in common once position and scale are taken out.

A pixel p of the phone image lies, on a straight picture of the same pitch, at p + d(p). The picture is straightened by
looking each of its pixels up in the phone image, which inverts that; either way pixels are resampled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError, UserError
from mobilescope.imaging.spline_field import FieldFitter
from mobilescope.imaging.warp import MapYX, invert_map, lattice_points, pixel_grid, sample_map

FloatArray = NDArray[np.float64]

GRID_PX = 16.0
LEAST_PAIRS = 3
_KNOT_PX = 32.0
_STIFFNESS = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)
_ROUNDS = 8
# Below this the spread of a few pairs is chance, and no place may outweigh all others.
_LEAST_SPREAD_PX = 0.02
# Of the places of a grid so fine, not all are independent.
_INDEPENDENT_SHARE = 0.25
_SAME_ASPECT = 0.01


@dataclass(frozen=True, eq=False)
class DistortionMap:
    """By how much each pixel of a phone image is off its place on a straight one.

    Attributes
    ----------
    displacement_yx : ndarray, shape (rows, columns, 2), float32
        The d of p + d(p), in pixels of the developed phone image.
    spread_px : ndarray, shape (rows, columns), float32
        Standard deviation between pairs.
    pixel_um : float
        Pitch of the developed phone image.
    pairs : int
        How many were averaged.
    """

    displacement_yx: MapYX
    spread_px: NDArray[np.float32]
    pixel_um: float
    pairs: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the phone image."""
        return self.displacement_yx.shape[0], self.displacement_yx.shape[1]

    @cached_property
    def inverse_yx(self) -> MapYX:
        """Where in the phone image each pixel of the straight picture lies, (row, column)."""
        grid = pixel_grid(self.shape)
        return invert_map(grid + self.displacement_yx, np.eye(3), grid)

    @cached_property
    def inverse_error_px(self) -> float:
        """By how much a straight pixel misses itself on the way to the phone image and back, the largest inside."""
        back = self.inverse_yx + sample_map(self.displacement_yx, self.inverse_yx)
        rows, columns = self.shape
        inside = ((self.inverse_yx >= 0) & (self.inverse_yx <= np.array([rows - 1, columns - 1]))).all(axis=-1)
        return float(np.linalg.norm(back - pixel_grid(self.shape), axis=-1)[inside].max(initial=0.0))

    def scaled(self, shape: tuple[int, int]) -> DistortionMap:
        """Return the map for pictures of the same field in more or fewer pixels.

        Raises
        ------
        InputImageError
            For a picture of other proportions: it shows another part of the lens.
        """
        if shape == self.shape:
            return self
        by = self._growth(shape)
        points = lattice_points(shape, 1 / by)
        displacement = sample_map(self.displacement_yx, points) * np.float32(by)
        spread = np.asarray(cv2.resize(self.spread_px, shape[::-1])) * np.float32(by)
        return DistortionMap(displacement, spread, self.pixel_um / by, self.pairs)

    def pitch_um(self, shape: tuple[int, int]) -> float:
        """Return the pitch of pictures of the same field in more or fewer pixels; InputImageError as for `scaled`."""
        return self.pixel_um / self._growth(shape)

    def _growth(self, shape: tuple[int, int]) -> float:
        by = shape[0] / self.shape[0]
        if abs(shape[1] / self.shape[1] / by - 1) > _SAME_ASPECT:
            raise InputImageError(
                f"the distortion map is for pictures of {self.shape[0]}x{self.shape[1]} px, not {shape[0]}x{shape[1]}",
                "give whole pictures of the phone that it was made from",
            )
        return by

    def straighten(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return a picture, shape (rows, columns[, channels]), without the distortion, resampled once.

        Where the straight picture reaches beyond the phone's, the nearest pixels are repeated.
        """
        rows, columns = self._lookup((picture.shape[0], picture.shape[1]))
        pixels = picture if picture.dtype in (np.uint8, np.uint16) else picture.astype(np.float32)
        return np.asarray(cv2.remap(pixels, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))

    def _lookup(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return row and column in a picture of each straight pixel, kept for the next picture of the same size."""
        if shape not in self._lookups:
            inverse = self.scaled(shape).inverse_yx
            self._lookups.clear()
            self._lookups[shape] = np.ascontiguousarray(inverse[..., 0]), np.ascontiguousarray(inverse[..., 1])
        return self._lookups[shape]

    @cached_property
    def _lookups(self) -> dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        return {}


def grid_points(shape: tuple[int, int]) -> FloatArray:
    """Return the points of the phone image at which pairs are compared, shape (grid rows, grid columns, 2)."""
    rows, columns = (
        np.linspace(0, length - 1, max(4, round(length / GRID_PX) + 1), dtype=np.float64) for length in shape
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)


def mean_distortion(
    places: Sequence[FloatArray], counted: Sequence[NDArray[np.bool_]], shape: tuple[int, int], pixel_um: float
) -> DistortionMap:
    """Average the distortion of pairs, each freed of its own position, rotation and scale.

    Parameters
    ----------
    places : sequence of ndarray, shape (grid rows, grid columns, 2)
        Where the points of `grid_points` lie on each pair's fixed image, (row, column) in any pixels.
    counted : sequence of ndarray of bool, shape (grid rows, grid columns)
        Where that is known.
    shape : tuple of int
        Rows and columns of the phone image.

    Raises
    ------
    UserError
        Fewer than `LEAST_PAIRS`.
    """
    if len(places) < LEAST_PAIRS:
        raise UserError(
            f"{len(places)} accepted pairs are too few for a distortion map (at least {LEAST_PAIRS})",
            "capture and register more fields",
        )
    points = grid_points(shape)
    known = np.array(counted)
    mean = np.zeros_like(points)
    for _ in range(_ROUNDS):
        # A pair that shows a part of the field is placed by what the others say of that part.
        off = np.array([_brought(place, points + mean, where) for place, where in zip(places, known, strict=True)])
        off -= points
        count = known.sum(axis=0)
        total = np.where(known[..., None], off, 0.0).sum(axis=0)
        mean = total / np.maximum(count, 1)[..., None]
        mean = _smooth(mean, count, np.full(count.shape, _LEAST_SPREAD_PX), points, shape)[0]
    squares = np.where(known, ((off - total[None] / np.maximum(count, 1)[None, ..., None]) ** 2).sum(axis=-1) / 2, 0.0)
    spread = np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1))
    known_spread = float(np.median(spread[count > 1])) if (count > 1).any() else 0.0
    spread = np.where(count > 1, spread, 2 * known_spread)
    _, dense = _smooth(mean, count, np.maximum(spread, _LEAST_SPREAD_PX), points, shape)
    # Position, rotation and scale are no distortion.
    pixels = pixel_grid(shape).astype(np.float64)
    dense -= (_brought(pixels, pixels + dense, np.ones(shape, dtype=bool)) - pixels).astype(np.float32)
    return DistortionMap(
        dense, np.asarray(cv2.resize(spread.astype(np.float32), shape[::-1])), pixel_um, len(places)
    )


def _brought(source: FloatArray, target: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Return the points brought to the target by the similarity that fits them to it where they are known."""
    z, w = (each[..., 0] + 1j * each[..., 1] for each in (source, target))
    centre_z, centre_w = z[where].mean(), w[where].mean()
    arm = z[where] - centre_z
    fitted = centre_w + np.vdot(arm, w[where] - centre_w) / np.vdot(arm, arm) * (z - centre_z)
    return np.stack([fitted.real, fitted.imag], axis=-1)


def _smooth(
    mean: FloatArray, count: NDArray[np.int_], spread: FloatArray, points: FloatArray, shape: tuple[int, int]
) -> tuple[FloatArray, MapYX]:
    """Return a smooth field through the means, on the grid and dense; it bridges what no pair shows."""
    certainty = _INDEPENDENT_SHARE * count / spread**2
    fitter = FieldFitter(shape, _KNOT_PX, points[:, 0, 0], points[0, :, 1])
    weights = certainty[..., None, None] * np.eye(2)
    trust = np.ones(count.shape)
    field = fitter.fit(mean, weights, trust, stiffness=_STIFFNESS).field
    return fitter.on_grid(field), field.dense()
