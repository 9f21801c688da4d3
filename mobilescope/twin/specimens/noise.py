"""Randomness tied to places: each value depends on a seed and a position alone, never on what was drawn before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from mobilescope.core.geometry import PixelGrid

_STEP_COLUMN = np.uint64(0x9E3779B97F4A7C15)
_STEP_ROW = np.uint64(0xC2B2AE3D27D4EB4F)
_STEP_CHANNEL = 0x165667B19E3779F9
_WORD = 0xFFFFFFFFFFFFFFFF
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

# Standard deviation of uniform values on -1..1 after cubic B-spline interpolation along both axes.
_SPLINE_STD = (1 / np.sqrt(3)) * (151 / 315)


def _mixed(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit keys so that neighbouring keys share nothing (the splitmix64 finaliser)."""
    key = (key ^ (key >> np.uint64(30))) * _MIX_1
    key = (key ^ (key >> np.uint64(27))) * _MIX_2
    return key ^ (key >> np.uint64(31))


def site_uniform(seed: int, channel: int, column: ArrayLike, row: ArrayLike) -> NDArray[np.float64]:
    """Return a uniform value in [0, 1) for each lattice site; ``column`` and ``row`` broadcast, any sign."""
    columns = np.atleast_1d(np.asarray(column, dtype=np.int64)).view(np.uint64)
    rows = np.atleast_1d(np.asarray(row, dtype=np.int64)).view(np.uint64)
    salt = _mixed(np.array([seed & _WORD], dtype=np.uint64) + np.uint64((channel + 1) * _STEP_CHANNEL & _WORD))
    key = _mixed(columns * _STEP_COLUMN + rows * _STEP_ROW + salt)
    return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _spline_integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the integral of the cubic B-spline from minus infinity to ``t``."""
    a = np.minimum(np.abs(t), 2.0)
    inner = a * (2 / 3) - a**3 / 3 + a**4 / 8
    outer = 0.5 - (2 - a) ** 4 / 24
    return 0.5 + np.sign(t) * np.where(a < 1, inner, outer)


def _pixel_weights(
    coordinates_um: NDArray[np.floating], cell_um: float, pixel_size_um: float
) -> tuple[int, csr_array]:
    """Return the first lattice index and the matrix (pixels, lattice) of area-averaged spline weights."""
    position = coordinates_um / cell_um
    half = max(pixel_size_um / cell_um / 2, 1e-3)
    taps = int(np.ceil(4 + 2 * half)) + 1
    start = np.floor(position - half - 2).astype(np.int64)
    index = start[:, None] + np.arange(taps)
    offset = position[:, None] - index
    weight = (_spline_integral(offset + half) - _spline_integral(offset - half)) / (2 * half)
    first = int(start.min())
    count = int(start.max()) + taps - first
    pointer = np.arange(0, weight.size + 1, taps)
    matrix = csr_array(
        (weight.astype(np.float32).ravel(), (index - first).ravel(), pointer), shape=(len(position), count)
    )
    return first, matrix


@dataclass(frozen=True)
class LatticeNoise:
    """Smooth noise of mean 0 and standard deviation 1, with random values ``cell_um`` apart."""

    seed: int
    channel: int
    cell_um: float

    def on_grid(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Return the noise averaged over each pixel, shape (rows, columns), float32."""
        first_column, across = _pixel_weights(grid.x_coordinates_um(), self.cell_um, grid.pixel_size_um)
        first_row, down = _pixel_weights(grid.y_coordinates_um(), self.cell_um, grid.pixel_size_um)
        columns = first_column + np.arange(across.shape[1])
        rows = first_row + np.arange(down.shape[1])
        lattice = self._values(columns[:, None], rows[None, :])
        field: NDArray[np.float32] = down @ np.ascontiguousarray((across @ lattice).T)
        return field

    def at(self, x_um: ArrayLike, y_um: ArrayLike) -> NDArray[np.float32]:
        """Return the noise at points, shape (N,) each, float32."""
        x = np.atleast_1d(np.asarray(x_um, dtype=np.float64)) / self.cell_um
        y = np.atleast_1d(np.asarray(y_um, dtype=np.float64)) / self.cell_um
        steps = np.arange(-1, 3)
        columns = np.floor(x).astype(np.int64)[:, None] + steps
        rows = np.floor(y).astype(np.int64)[:, None] + steps
        lattice = self._values(columns[:, None, :], rows[:, :, None])
        value = np.einsum("nr,nrc,nc->n", _spline(y[:, None] - rows), lattice, _spline(x[:, None] - columns))
        return value.astype(np.float32)

    def _values(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the random values of lattice sites, scaled so that the interpolated noise has unit deviation."""
        uniform = site_uniform(self.seed, self.channel, columns, rows)
        return ((2 * uniform - 1) / _SPLINE_STD).astype(np.float32)


def _spline(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cubic B-spline."""
    a = np.abs(t)
    return np.where(a < 1, 2 / 3 - a**2 + a**3 / 2, np.maximum(2 - a, 0) ** 3 / 6)
