"""Objects scattered over an unlimited plane so that each place always holds the same ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from mobilescope.core.geometry import RegionUm
from mobilescope.twin.specimens.noise import site_uniform

_CHANNELS_PER_LAYER = 64
_PLACE_X, _PLACE_Y, _PRIORITY = 61, 62, 63


@dataclass(frozen=True, eq=False)
class Sites:
    """Sites of a jittered lattice, one object each; arrays have the shape (N,).

    ``layer`` keeps kinds of objects independent of each other.
    """

    seed: int
    layer: int
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of sites."""
        return len(self.column)

    def uniform(self, channel: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float32]:
        """Return one value per site, uniform between ``low`` and ``high``; each channel (0–60) is independent."""
        value = site_uniform(self.seed, self.layer * _CHANNELS_PER_LAYER + channel, self.column, self.row)
        return (low + (high - low) * value).astype(np.float32)

    def keep(self, mask: NDArray[np.bool_]) -> Sites:
        """Return the sites where the mask holds."""
        return replace(
            self, column=self.column[mask], row=self.row[mask], x_um=self.x_um[mask], y_um=self.y_um[mask]
        )

    def within(self, region: RegionUm) -> Sites:
        """Return the sites whose position lies in a region."""
        return self.keep(
            (self.x_um >= region.x_um) & (self.x_um < region.right_um)
            & (self.y_um >= region.y_um) & (self.y_um < region.bottom_um)
        )

    def apart(self, distance_um: float) -> Sites:
        """Drop each site that has a neighbour of higher priority within a distance (priorities are random).

        A dropped site still drops others, so that the answer depends on the near neighbourhood alone.
        """
        if len(self) < 2:
            return self
        pairs = cKDTree(self.points()).query_pairs(distance_um, output_type="ndarray")
        priority = site_uniform(self.seed, self.layer * _CHANNELS_PER_LAYER + _PRIORITY, self.column, self.row)
        first, second = pairs[:, 0], pairs[:, 1]
        mask = np.ones(len(self), dtype=bool)
        mask[np.where(priority[first] < priority[second], first, second)] = False
        return self.keep(mask)

    def clear_of(self, points: NDArray[np.floating], distance_um: ArrayLike) -> Sites:
        """Drop sites nearer to any of the points (M, 2) than the distance (one value, or one per point)."""
        if not len(self) or not len(points):
            return self
        distances = np.broadcast_to(np.asarray(distance_um, dtype=np.float64), (len(points),))
        near = cKDTree(self.points()).query_ball_point(points, distances)
        mask = np.ones(len(self), dtype=bool)
        for indices in near:
            mask[indices] = False
        return self.keep(mask)

    def points(self) -> NDArray[np.float64]:
        """Return the positions, shape (N, 2) as (x, y)."""
        return np.column_stack([self.x_um, self.y_um])


def scattered(seed: int, layer: int, region: RegionUm, spacing_um: float, jitter: float = 1.0) -> Sites:
    """Return the sites in a region: one per square of ``spacing_um``.

    ``jitter`` is the share of the square's side over which a site is spread, about the square's centre.
    """
    columns = np.arange(np.floor(region.x_um / spacing_um), np.floor(region.right_um / spacing_um) + 1, dtype=np.int64)
    rows = np.arange(np.floor(region.y_um / spacing_um), np.floor(region.bottom_um / spacing_um) + 1, dtype=np.int64)
    column, row = (axis.ravel() for axis in np.meshgrid(columns, rows))
    base = layer * _CHANNELS_PER_LAYER
    rest = (1 - jitter) / 2
    x_um = (column + rest + jitter * site_uniform(seed, base + _PLACE_X, column, row)) * spacing_um
    y_um = (row + rest + jitter * site_uniform(seed, base + _PLACE_Y, column, row)) * spacing_um
    return Sites(seed, layer, column, row, x_um, y_um).within(region)
