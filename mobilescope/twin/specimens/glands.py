"""Glands of a tissue section: where they lie, their outline, and the epithelium round their lumen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens.noise import LatticeNoise, site_uniform
from mobilescope.twin.specimens.nuclei import Nuclei
from mobilescope.twin.specimens.scatter import Sites, scattered
from mobilescope.twin.specimens.stamps import Float, harmonics, inside, line, window

_SPACING_UM = 112.0
_CELL_UM = 5.4
# Fibres bend round a gland within this distance of it.
BENDING_UM = 42.0
# Farthest from its centre that a gland can be felt.
REACH_UM = 105.0


@dataclass(frozen=True, eq=False)
class Glands:
    """Outlines of N glands; arrays have the shape (N,).

    Attributes
    ----------
    radius_um : ndarray
        Mean radius of the basement membrane.
    wave : ndarray, shape (4, N)
        Amplitudes of cos 2θ, sin 2θ, cos 3θ and sin 3θ in the outline, as shares of the radius.
    thickness_um : ndarray
        Height of the epithelium.
    """

    sites: Sites
    radius_um: Float
    wave: Float
    thickness_um: Float

    def __len__(self) -> int:
        """Return the number of glands."""
        return len(self.sites)

    def distance_um(self, k: int, dx_um: Float, dy_um: Float) -> Float:
        """Return the distance to gland ``k``'s outline, negative inside, at points relative to its centre."""
        r, c2, s2, c3, s3 = harmonics(dx_um, dy_um)
        a2, b2, a3, b3 = self.wave[:, k]
        return r - self.radius_um[k] * (1 + a2 * c2 + b2 * s2 + a3 * c3 + b3 * s3)

    def nearest_um(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> Float:
        """Return the distance from points (M,) to the nearest outline, negative inside a gland."""
        nearest = np.full(len(x_um), np.inf, dtype=np.float32)
        for k in range(len(self)):
            dx, dy = x_um - self.sites.x_um[k], y_um - self.sites.y_um[k]
            nearest = np.minimum(nearest, self.distance_um(k, dx.astype(np.float32), dy.astype(np.float32)))
        return nearest

    def bending_um(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> Float:
        """Return by how much the glands lift the fibres' potential at points (M,)."""
        lift = np.zeros(len(x_um), dtype=np.float32)
        for k in range(len(self)):
            dx, dy = x_um - self.sites.x_um[k], y_um - self.sites.y_um[k]
            lift += bend(self.distance_um(k, dx.astype(np.float32), dy.astype(np.float32)))
        return lift


def bend(distance_um: Float) -> Float:
    """Return the lift of the fibres' potential: steepest at the gland, so that fibres run round it."""
    return np.float32(56.0) * np.clip(1 - distance_um / np.float32(BENDING_UM), 0, 1) ** 2


def glands_in(seed: int, layer: int, region: RegionUm) -> Glands:
    """Return the glands whose centre lies in a region; neighbours share the room between them."""
    sites = scattered(seed, layer, region.grown(2 * _SPACING_UM), _SPACING_UM, 0.62)
    density = LatticeNoise(seed, layer * 64 + 40, 260).at(sites.x_um, sites.y_um)
    sites = sites.keep(sites.uniform(0) < 0.80 + 0.22 * density)
    if not len(sites):
        return Glands(sites, np.zeros(0, np.float32), np.zeros((4, 0), np.float32), np.zeros(0, np.float32))
    nearest = cKDTree(sites.points()).query(sites.points(), k=2)[0][:, 1]
    room = np.minimum(nearest / 2, _SPACING_UM * 0.52)
    radius = ((room - sites.uniform(1, 3, 9)) / 1.12).astype(np.float32)
    turn2, turn3 = sites.uniform(2, 0, 2 * np.pi), sites.uniform(3, 0, 2 * np.pi)
    oval, corner = sites.uniform(4, 0.02, 0.13), sites.uniform(5, 0.01, 0.07)
    wave = np.stack([oval * np.cos(turn2), oval * np.sin(turn2), corner * np.cos(turn3), corner * np.sin(turn3)])
    chosen = sites.within(region)
    index = (
        (sites.x_um >= region.x_um) & (sites.x_um < region.right_um)
        & (sites.y_um >= region.y_um) & (sites.y_um < region.bottom_um)
    )
    thickness = np.minimum(sites.uniform(6, 15, 23), 0.68 * radius)
    return Glands(chosen, radius[index], wave[:, index], thickness[index].astype(np.float32))


def _cell_count(radius_um: float) -> int:
    """Return how many cells stand round a gland."""
    return max(8, round(2 * np.pi * radius_um / _CELL_UM))


def gland_nuclei(glands: Glands) -> list[Nuclei]:
    """Return the nuclei of each gland's epithelium: one per cell near its base, long along the radius."""
    return [_nuclei_of(glands, k) for k in range(len(glands))]


def _nuclei_of(glands: Glands, k: int) -> Nuclei:
    """Return the nuclei of one gland."""
    sites = glands.sites
    own = int(site_uniform(sites.seed, 999, sites.column[k], sites.row[k])[0] * 2**52)
    count = _cell_count(float(glands.radius_um[k]))
    cells = np.arange(count)

    def uniform(channel: int, low: float, high: float) -> Float:
        return (low + (high - low) * site_uniform(own, channel, cells, 0)).astype(np.float32)

    angle = 2 * np.pi * (cells + 0.5 + uniform(0, -0.28, 0.28)) / count
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    thickness = float(glands.thickness_um[k])
    depth = 0.19 * thickness + 2.4 + uniform(1, 0, 0.55) ** 2 * thickness * 1.3
    base = -glands.distance_um(k, 1e3 * cos, 1e3 * sin) + 1e3
    radius = base - depth
    return Nuclei(
        x_um=sites.x_um[k] + radius * cos, y_um=sites.y_um[k] + radius * sin,
        long_um=uniform(2, 3.4, 5.2), wide_um=uniform(3, 2.1, 2.9),
        angle=(angle + uniform(4, -0.3, 0.3)).astype(np.float32),
        amount=uniform(5, 0.55, 1.0), open_share=uniform(6, 0.1, 0.6), corner=uniform(7, -0.14, 0.14),
        turn=uniform(8, 0, 2 * np.pi),
    )


@dataclass(frozen=True, eq=False)
class Epithelium:
    """What the glands add to a grid; all arrays (rows, columns), float32.

    Attributes
    ----------
    cover : share of each pixel inside a gland.
    cytoplasm : amount of cytoplasm.
    wall : basement membrane.
    lift : addition to the fibres' potential in µm.
    """

    cover: Float
    cytoplasm: Float
    wall: Float
    lift: Float


def paint_glands(grid: PixelGrid, glands: Glands, noise: dict[str, Float]) -> Epithelium:
    """Paint the epithelium and its lumen; ``noise`` has the fields "fine", "medium", "coarse" and "wide"."""
    cover, cytoplasm, wall, lift = np.zeros((4, grid.rows, grid.columns), dtype=np.float32)
    pitch = grid.pixel_size_um
    for k in range(len(glands)):
        radius, thickness = float(glands.radius_um[k]), float(glands.thickness_um[k])
        reach = 1.22 * radius + BENDING_UM
        x, y = float(glands.sites.x_um[k]), float(glands.sites.y_um[k])
        around = window(grid, x, y, -reach, reach, -reach, reach)
        if around is not None:
            lift[around.part] += bend(glands.distance_um(k, around.dx_um, around.dy_um))
        reach = 1.22 * radius + 2
        place = window(grid, x, y, -reach, reach, -reach, reach)
        if place is None:
            continue
        part = place.part
        fine, medium, coarse, wide = (noise[name][part] for name in ("fine", "medium", "coarse", "wide"))
        distance: Float = glands.distance_um(k, place.dx_um, place.dy_um) + np.float32(0.35) * coarse
        gland = inside(distance, pitch, 0.3)
        cover[part] = np.maximum(cover[part], gland)
        wall[part] += line(distance - 0.3, 0.4, pitch)
        top = distance + thickness + 0.9 * wide + 0.5 * coarse
        cells = gland * (1 - inside(top, pitch, 0.5))
        height = np.clip(-distance / np.float32(thickness), 0, 1)
        count = _cell_count(radius)
        cell_angle = np.float32(2 * np.pi / count)
        turn = np.arctan2(place.dy_um, place.dx_um) / cell_angle + 0.22 * wide + 0.05 * coarse
        from_border: Float = turn - np.round(turn)
        border = line(from_border * np.hypot(place.dx_um, place.dy_um) * cell_angle, 0.22, pitch)
        grain = 1 + 0.18 * coarse + 0.20 * medium + 0.18 * fine
        apex = gland * line(top - 0.4, 0.35, pitch)
        cytoplasm[part] += cells * ((0.70 - 0.25 * height) * grain + 0.22 * border) + 0.3 * apex
        secretion = np.clip(0.35 * wide + 0.2 * coarse + 0.1 * medium - 0.25, 0, 1)
        cytoplasm[part] += (gland - cells) * 0.25 * secretion
    return Epithelium(cover, cytoplasm, wall, lift)
