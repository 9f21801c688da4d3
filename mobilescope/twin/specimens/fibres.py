"""Collagen: wavy fibres that follow the level lines of a slowly varying potential and bend round glands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid
from mobilescope.twin.specimens.noise import LatticeNoise, site_uniform
from mobilescope.twin.specimens.stamps import Float

# Deviations of the potential: amplitude in µm and distance of the random values in µm.
_WAVES = ((95.0, 260.0), (9.0, 45.0), (1.3, 9.0))
_STEP_UM = 0.05


@dataclass(frozen=True)
class FibreField:
    """A potential in µm over the plane; fibres are its level lines."""

    seed: int
    layer: int

    def on_grid(self, grid: PixelGrid) -> NDArray[np.float64]:
        """Return the potential at the pixels' centres, shape (rows, columns)."""
        cos, sin = self._direction()
        ramp = grid.x_coordinates_um()[None, :] * cos + grid.y_coordinates_um()[:, None] * sin
        for k, (amplitude, cell_um) in enumerate(_WAVES):
            ramp += amplitude * LatticeNoise(self.seed, 64 * self.layer + k, cell_um).on_grid(grid)
        return ramp

    def at(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the potential at points, shape (N,)."""
        cos, sin = self._direction()
        ramp = x_um * cos + y_um * sin
        for k, (amplitude, cell_um) in enumerate(_WAVES):
            ramp = ramp + amplitude * LatticeNoise(self.seed, 64 * self.layer + k, cell_um).at(x_um, y_um)
        return ramp

    def _direction(self) -> tuple[float, float]:
        """Return the direction across the fibres, the same all over a slide."""
        turn = 2 * np.pi * float(site_uniform(self.seed, 64 * self.layer + 60, 0, 0)[0])
        return float(np.cos(turn)), float(np.sin(turn))


def strands(
    seed: int, channel: int, potential_um: NDArray[np.float64], steepness: Float, pitch_um: float,
    cells_um: tuple[float, ...],
) -> Float:
    """Return noise that is constant along level lines, averaged over each pixel.

    Parameters
    ----------
    potential_um, steepness : ndarray, shape (rows, columns)
        The potential and the length of its gradient.
    cells_um : tuple of float
        Distances in µm of potential between the random values that are added up, each of unit deviation.
    """
    low, high = float(potential_um.min()) - 20, float(potential_um.max()) + 20
    first = int(np.floor(low / _STEP_UM))
    place = (first + np.arange(int((high - low) / _STEP_UM) + 2, dtype=np.float64)) * np.float64(_STEP_UM)
    total = np.zeros(len(place))
    for k, cell_um in enumerate(cells_um):
        total += _line_noise(seed, channel + k, place / cell_um)
    integral = np.concatenate([[0.0], np.cumsum((total[1:] + total[:-1]) / 2)])
    half = np.maximum(steepness * np.float32(pitch_um / _STEP_UM / 2), np.float32(0.5))
    centre = potential_um / _STEP_UM - first
    return ((_between(integral, centre + half) - _between(integral, centre - half)) / (2 * half)).astype(np.float32)


def _between(table: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linearly interpolated table entries."""
    whole = index.astype(np.int32)
    low = table[whole]
    return low + (index - whole) * (table[whole + 1] - low)


def _line_noise(seed: int, channel: int, t: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return smooth noise along a line with random values at whole numbers, unit deviation."""
    whole = np.floor(t).astype(np.int64)
    first = int(whole.min()) - 1
    values = 2 * site_uniform(seed, channel, np.arange(first, int(whole.max()) + 3), 0) - 1
    f = t - whole
    k = whole - first
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    smooth = sum(w * values[k + j - 1] for j, w in enumerate(weights)) / 6
    return np.asarray(smooth * (np.sqrt(3) / np.sqrt(151 / 315)))
