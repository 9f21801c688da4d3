"""A thin blood smear with trypanosomes, stained as Giemsa or Hema-3 stain it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens.base import SpecimenObject
from mobilescope.twin.specimens.blood_cells import (
    Dyes,
    Texture,
    leucocyte_radii_um,
    paint_leucocytes,
    paint_platelets,
    paint_red_cells,
    platelet_radii_um,
    red_cell_radii_um,
)
from mobilescope.twin.specimens.noise import LatticeNoise
from mobilescope.twin.specimens.scatter import Sites, scattered
from mobilescope.twin.specimens.trypanosomes import bodies, paint_trypanosomes

# Optical density (base 10) of one unit of each dye in the red, green and blue bands.
_DYE_DENSITY = np.array(
    [
        [0.36, 1.00, 0.98],  # haemoglobin with eosin: pinkish tan
        [0.62, 1.10, 0.44],  # azure-eosin on nucleic acid: dark purple
        [1.00, 0.78, 0.22],  # methylene blue: pale blue cytoplasm
        [0.52, 0.62, 0.50],  # dried plasma
    ],
    dtype=np.float32,
)
_RED, _LEUCOCYTE, _PLATELET, _TRYPANOSOME, _SPECK = range(5)
# Farthest that anything reaches from its centre; objects within it of the grid are painted.
_REACH_UM = 20.0


@dataclass(frozen=True, eq=False)
class _Population:
    """Everything that lies in and around a region."""

    red_cells: Sites
    leucocytes: Sites
    platelets: Sites
    trypanosomes: Sites
    specks: Sites


@dataclass(frozen=True)
class BloodSmear:
    """Red cells, platelets, leucocytes and *T. brucei* on glass, different for each seed."""

    seed: int = 0

    @property
    def name(self) -> str:
        """Kind and seed."""
        return f"blood smear, seed {self.seed}"

    @property
    def extent(self) -> RegionUm | None:
        """Unlimited."""
        return None

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Render the smear by Beer-Lambert absorption, shape (rows, columns, 3), float32, 0–1."""
        population = self._population(grid.region.grown(_REACH_UM))
        texture = Texture.on_grid(self.seed, grid)
        dyes = Dyes.plasma_alone(self.seed, grid, texture)
        paint_red_cells(grid, population.red_cells, dyes, texture)
        paint_leucocytes(grid, population.leucocytes, dyes, texture)
        paint_trypanosomes(grid, population.trypanosomes, dyes, texture)
        paint_platelets(grid, population.platelets, population.specks, dyes, texture)
        density = cv2.transform(dyes.stacked(), (-np.log(10) * _DYE_DENSITY.T).astype(np.float32))
        return np.asarray(cv2.exp(density))

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return the cells and parasites whose centre lies in a region."""
        population = self._population(region)
        found: list[SpecimenObject] = []
        for kind, sites, radii in (
            ("red_cell", population.red_cells, red_cell_radii_um(population.red_cells)),
            ("leucocyte", population.leucocytes, leucocyte_radii_um(population.leucocytes)),
            ("platelet", population.platelets, platelet_radii_um(population.platelets)),
            ("trypanosome", population.trypanosomes, bodies(population.trypanosomes).radii_um),
        ):
            found += [
                SpecimenObject(kind, x, y, radius)
                for x, y, radius in zip(sites.x_um.tolist(), sites.y_um.tolist(), radii.tolist(), strict=True)
            ]
        return found

    def _population(self, region: RegionUm) -> _Population:
        """Place everything; each kind is looked up far enough out to settle who makes way for whom."""
        leucocytes = scattered(self.seed, _LEUCOCYTE, region.grown(100), 85).apart(24)
        leucocytes = leucocytes.keep(leucocytes.uniform(0) < 0.62)
        trypanosomes = scattered(self.seed, _TRYPANOSOME, region.grown(60), 60).apart(18)
        trypanosomes = trypanosomes.keep(trypanosomes.uniform(0) < 0.48).clear_of(leucocytes.points(), 20)
        red_cells = scattered(self.seed, _RED, region.grown(20), 7.2)
        crowding = 0.62 + 0.36 * (
            0.75 * LatticeNoise(self.seed, 2, 22).at(red_cells.x_um, red_cells.y_um)
            + 0.45 * LatticeNoise(self.seed, 3, 110).at(red_cells.x_um, red_cells.y_um)
        )
        red_cells = red_cells.keep(red_cells.uniform(0) < crowding).apart(5.2)
        red_cells = red_cells.clear_of(leucocytes.points(), leucocyte_radii_um(leucocytes) + 2.6)
        red_cells = red_cells.clear_of(bodies(trypanosomes).centreline_points(), 3.9)
        platelets = scattered(self.seed, _PLATELET, region, 52).clear_of(leucocytes.points(), 11)
        platelets = platelets.clear_of(red_cells.points(), 4.3)
        specks = scattered(self.seed, _SPECK, region, 70)
        return _Population(
            red_cells.within(region), leucocytes.within(region), platelets, trypanosomes.within(region), specks
        )
