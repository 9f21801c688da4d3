"""A stained tissue section: glands in a collagen stroma, coloured as H&E or Masson's trichrome colour them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens.base import SpecimenObject
from mobilescope.twin.specimens.fibres import FibreField, strands
from mobilescope.twin.specimens.glands import REACH_UM, Glands, gland_nuclei, glands_in, paint_glands
from mobilescope.twin.specimens.noise import LatticeNoise
from mobilescope.twin.specimens.nuclei import Nuclei, paint_nuclei
from mobilescope.twin.specimens.scatter import scattered
from mobilescope.twin.specimens.stamps import Float

# Optical density (base 10) of one unit of nuclear substance, cytoplasm and collagen in the red, green and blue
# bands: the directions are those of haematoxylin, eosin, ponceau-fuchsin and methyl blue as colour
# deconvolution uses them.
_DENSITIES: dict[str, list[list[float]]] = {
    "h&e": [[0.80, 1.10, 0.49], [0.23, 0.62, 0.29], [0.11, 0.50, 0.23]],
    "trichrome": [[0.98, 1.08, 0.72], [0.09, 0.66, 0.56], [0.62, 0.42, 0.09]],
}
_GLAND, _STROMA_NUCLEUS, _LYMPHOCYTE, _FIBRE = range(1, 5)
_NUCLEUS_REACH_UM = 9.0


@dataclass(frozen=True)
class StainedTissue:
    """A section of glandular tissue, different for each seed; the stain changes colours alone."""

    seed: int = 0
    stain: Literal["h&e", "trichrome"] = "h&e"

    @property
    def name(self) -> str:
        """Stain and seed."""
        return f"tissue, {self.stain}, seed {self.seed}"

    @property
    def extent(self) -> RegionUm | None:
        """Unlimited."""
        return None

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Render the section by Beer-Lambert absorption, shape (rows, columns, 3), float32, 0–1."""
        # One more pixel on each side, for slopes.
        pitch = grid.pixel_size_um
        wider = PixelGrid(grid.x_um - pitch, grid.y_um - pitch, pitch, grid.rows + 2, grid.columns + 2)
        amounts = self._amounts(wider)[1:-1, 1:-1]
        densities = np.array(_DENSITIES[self.stain], dtype=np.float32)
        exponent = cv2.transform(np.ascontiguousarray(amounts), (-np.log(10) * densities.T).astype(np.float32))
        return np.asarray(cv2.exp(exponent))

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return the glands and nuclei whose centre lies in a region."""
        glands = self._glands(region)
        nuclei = self._nuclei(region, glands)
        found = [
            SpecimenObject("gland", x, y, radius)
            for x, y, radius in zip(
                glands.sites.x_um.tolist(), glands.sites.y_um.tolist(), glands.radius_um.tolist(), strict=True
            )
        ] + [
            SpecimenObject("nucleus", x, y, radius)
            for x, y, radius in zip(nuclei.x_um.tolist(), nuclei.y_um.tolist(), nuclei.radii_um().tolist(), strict=True)
        ]
        return [
            item for item in found
            if region.x_um <= item.x_um < region.right_um and region.y_um <= item.y_um < region.bottom_um
        ]

    def _glands(self, region: RegionUm) -> Glands:
        """Return all glands that bear on a region."""
        return glands_in(self.seed, _GLAND, region.grown(REACH_UM + _NUCLEUS_REACH_UM))

    def _nuclei(self, region: RegionUm, glands: Glands) -> Nuclei:
        """Return the nuclei of glands and stroma near a region."""
        return Nuclei.joined([*gland_nuclei(glands), *self._stroma_nuclei(region, glands)])

    def _stroma_nuclei(self, region: RegionUm, glands: Glands) -> list[Nuclei]:
        """Return slender nuclei lying along the fibres, and round lymphocytes in loose crowds."""
        slender = scattered(self.seed, _STROMA_NUCLEUS, region.grown(12), 15).apart(7)
        slender = slender.keep(
            (slender.uniform(0) < 0.75) & (glands.nearest_um(slender.x_um, slender.y_um) > 2.2)
        ).within(region)
        potential = FibreField(self.seed, _FIBRE)

        def slope(dx: float, dy: float) -> NDArray[np.float64]:
            x, y = slender.x_um + dx, slender.y_um + dy
            return potential.at(x, y) + glands.bending_um(x, y)

        across = np.arctan2(slope(0, 0.5) - slope(0, -0.5), slope(0.5, 0) - slope(-0.5, 0))
        plump = slender.uniform(1) ** 2
        stroma = Nuclei(
            slender.x_um, slender.y_um,
            slender.uniform(2, 4.0, 7.6) - 1.5 * plump, slender.uniform(3, 0.85, 1.3) + 1.1 * plump,
            (across + np.pi / 2 + slender.uniform(4, -0.2, 0.2)).astype(np.float32), slender.uniform(5, 0.6, 1.05),
            slender.uniform(6, 0.0, 0.35), slender.uniform(7, -0.16, 0.16), slender.uniform(8, 0, 2 * np.pi),
        )
        round_ones = scattered(self.seed, _LYMPHOCYTE, region.grown(12), 8).apart(6)
        crowd = LatticeNoise(self.seed, 64 * _LYMPHOCYTE + 40, 55).at(round_ones.x_um, round_ones.y_um)
        outside = glands.nearest_um(round_ones.x_um, round_ones.y_um) > 3.5
        round_ones = round_ones.keep((round_ones.uniform(0) < 0.55 * (crowd - 0.55)) & outside)
        round_ones = round_ones.clear_of(slender.points(), 4).within(region)
        size = round_ones.uniform(1, 2.3, 3.0)
        lymphocytes = Nuclei(
            round_ones.x_um, round_ones.y_um, size * round_ones.uniform(2, 1, 1.15), size,
            round_ones.uniform(3, 0, np.pi), round_ones.uniform(4, 0.85, 1.15), round_ones.uniform(5, 0, 0.15),
            round_ones.uniform(6, -0.05, 0.05), round_ones.uniform(7, 0, 2 * np.pi),
        )
        return [stroma, lymphocytes]

    def _amounts(self, grid: PixelGrid) -> Float:
        """Return nuclear substance, cytoplasm and collagen per pixel, shape (rows, columns, 3), float32."""
        noise = {
            name: LatticeNoise(self.seed, channel, cell_um).on_grid(grid)
            for name, channel, cell_um in (
                ("fine", 11, 0.35), ("medium", 12, 0.8), ("coarse", 13, 2.4), ("wide", 14, 9.0), ("broad", 15, 70.0)
            )
        }
        near = grid.region.grown(_NUCLEUS_REACH_UM)
        glands = self._glands(near)
        epithelium = paint_glands(grid, glands, noise)
        clumps = np.tanh(1.0 * noise["medium"] + 0.6 * noise["fine"] + 0.4 * noise["coarse"])
        nuclear, cover = paint_nuclei(grid, self._nuclei(near, glands), clumps)
        collagen = self._collagen(grid, epithelium.lift, noise) * (1 - epithelium.cover) + 0.5 * epithelium.wall
        shade = 1 + 0.10 * noise["broad"]
        beside = 1 - 0.4 * np.minimum(cover, 1)
        saturated = 1.7 * (1 - np.exp(nuclear / -1.7))
        return np.maximum(
            np.stack([saturated, epithelium.cytoplasm * beside * shade, collagen * beside * shade], axis=2), 0
        )

    def _collagen(self, grid: PixelGrid, lift: Float, noise: dict[str, Float]) -> Float:
        """Return the amount of collagen: two interwoven sheets of fibres with clefts between bundles."""
        pitch = grid.pixel_size_um
        potential = FibreField(self.seed, _FIBRE).on_grid(grid) + lift
        steep_y, steep_x = np.gradient(potential, pitch)
        steepness = np.hypot(steep_x, steep_y).astype(np.float32)
        first = strands(self.seed, 700, potential, steepness, pitch, (0.7, 1.6))
        bundles = strands(self.seed, 720, potential, steepness, pitch, (5.0, 11.0))
        second = strands(
            self.seed, 740, potential + 3.5 * noise["wide"] + 0.5 * noise["coarse"], steepness, pitch, (0.9, 2.6)
        )
        loose = np.clip(0.5 + 0.6 * noise["broad"], 0, 1)
        gaps = bundles + 0.5 * second + 0.75 * noise["wide"] + 0.3 * noise["coarse"] + 1.1 * loose
        open_ = np.clip((gaps - 2.35) * 1.3, 0, 1)
        # Fibres dive in and out of the section, so that their lines come and go along their length.
        seen = np.clip(0.6 + 0.5 * noise["wide"] + 0.25 * noise["coarse"], 0, 1.4)
        solid = 0.58 + 0.15 * first * seen + 0.13 * second * (1.3 - seen) + 0.06 * bundles
        grain = 1 + 0.11 * noise["coarse"] + 0.09 * noise["medium"] + 0.10 * noise["fine"]
        return np.maximum(solid * grain, 0.1) * (1 - 0.92 * open_)
