"""What a slide is to the twin: light transmittance anywhere on it, and the objects that truly lie there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid, RegionUm


@dataclass(frozen=True)
class SpecimenObject:
    """One thing that truly lies on the slide; for tests and benchmarks only."""

    kind: str
    x_um: float
    y_um: float
    radius_um: float


class Specimen(Protocol):
    """The content of a slide in the slide's own frame, before any optics."""

    @property
    def name(self) -> str:
        """Short name for reports."""

    @property
    def extent(self) -> RegionUm | None:
        """The area with original content; None where the specimen is unlimited."""

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Render the slide on a grid.

        Parameters
        ----------
        grid : PixelGrid
            Any place and pitch. Rendering a part of a grid equals that part of the whole rendering.

        Returns
        -------
        ndarray, shape (rows, columns, 3), float32, 0–1
            Share of linear light let through in the red, green and blue bands, averaged over each pixel.
        """

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return the objects whose centre lies in a region."""


@dataclass(frozen=True)
class BlankSlide:
    """Clear glass: the slide that flat-field frames are taken on."""

    name: str = "blank slide"

    @property
    def extent(self) -> RegionUm | None:
        """Unlimited."""
        return None

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Return ones, shape (rows, columns, 3), float32."""
        return np.ones((grid.rows, grid.columns, 3), dtype=np.float32)

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return nothing: there is nothing on the glass."""
        del region
        return []
