"""The USAF 1951 resolution target (ISO 3334 dimensions): chrome bars on clear glass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens.base import SpecimenObject

_CHROME = 0.001
_ELEMENTS = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class UsafElement:
    """Three parallel bars of one element.

    Attributes
    ----------
    bars_along : {"x", "y"}
        Direction of the bars; their contrast is measured across it.
    x_um, y_um : float
        Centre of the middle bar.
    """

    group: int
    element: int
    bars_along: Literal["x", "y"]
    x_um: float
    y_um: float

    @property
    def line_pairs_per_mm(self) -> float:
        """Spatial frequency of the bars."""
        return float(2 ** (self.group + (self.element - 1) / 6))

    @property
    def pitch_um(self) -> float:
        """Distance between the centres of neighbouring bars."""
        return 1000 / self.line_pairs_per_mm

    @property
    def bar_width_um(self) -> float:
        """Width of a bar and of the gap beside it; a bar is five times as long."""
        return self.pitch_um / 2

    @property
    def region(self) -> RegionUm:
        """The square that the three bars span."""
        return RegionUm.centred(self.x_um, self.y_um, 5 * self.bar_width_um, 5 * self.bar_width_um)

    def bars(self) -> list[RegionUm]:
        """Return the three bars in order of growing coordinate."""
        width, length = self.bar_width_um, 5 * self.bar_width_um
        if self.bars_along == "x":
            return [RegionUm.centred(self.x_um, self.y_um + k * self.pitch_um, length, width) for k in (-1, 0, 1)]
        return [RegionUm.centred(self.x_um + k * self.pitch_um, self.y_um, width, length) for k in (-1, 0, 1)]


def _element_pair(group: int, element: int, left: float, top: float) -> list[UsafElement]:
    """Return an element's two triplets, upright bars first, from the upper-left corner of the pair."""
    width = 500 / 2 ** (group + (element - 1) / 6)
    middle = top + 2.5 * width
    return [
        UsafElement(group, element, "y", left + 2.5 * width, middle),
        UsafElement(group, element, "x", left + 9.5 * width, middle),
    ]


def _layer(group: int) -> list[UsafElement]:
    """Lay out an even group and the next odd one around the origin, where the next finer layer has its place."""
    unit = 500 / 2**group
    left, top, right = -14.7 * unit, -10.5 * unit, 10.0 * unit
    elements: list[UsafElement] = []
    y = top
    for element in _ELEMENTS[1:]:
        elements += _element_pair(group, element, left, y)
        y += 7 * unit / 2 ** ((element - 1) / 6)
    elements += _element_pair(group, 1, right - 12 * unit, top + 20 * unit)
    y = top
    for element in _ELEMENTS:
        width = unit / 2 ** (1 + (element - 1) / 6)
        elements += _element_pair(group + 1, element, right - 12 * width, y)
        y += 7 * width
    return elements


@dataclass(frozen=True)
class UsafTarget:
    """Groups 4 to 9 of the target, nested so that the finest pair of groups surrounds the origin."""

    name: str = "USAF 1951"

    @cached_property
    def elements(self) -> tuple[UsafElement, ...]:
        """Every triplet of bars, coarse groups first."""
        return tuple(element for group in (4, 6, 8) for element in _layer(group))

    @property
    def extent(self) -> RegionUm | None:
        """Unlimited: clear glass lies around the pattern."""
        return None

    def element(self, group: int, element: int, bars_along: Literal["x", "y"]) -> UsafElement:
        """Return one triplet's geometry.

        Raises
        ------
        ValueError
            Where the target has no such element.
        """
        for candidate in self.elements:
            if (candidate.group, candidate.element, candidate.bars_along) == (group, element, bars_along):
                return candidate
        raise ValueError(f"no element {element} of group {group} along {bars_along!r}: groups are 4-9, elements 1-6")

    def transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Render the bars, each pixel holding the exact share of chrome over it."""
        chrome = np.zeros((grid.rows, grid.columns), dtype=np.float32)
        for element in self.elements:
            if element.region.intersection(grid.region) is None:
                continue
            for bar in element.bars():
                columns, across = _coverage(bar.x_um, bar.right_um, grid.x_um, grid.pixel_size_um, grid.columns)
                rows, down = _coverage(bar.y_um, bar.bottom_um, grid.y_um, grid.pixel_size_um, grid.rows)
                chrome[rows, columns] += down[:, None] * across
        return np.repeat((1 - (1 - _CHROME) * chrome)[..., None], 3, axis=2).astype(np.float32)

    def objects(self, region: RegionUm) -> list[SpecimenObject]:
        """Return each triplet of bars whose centre lies in a region; the radius is half its side."""
        return [
            SpecimenObject(f"usaf_{e.group}_{e.element}_{e.bars_along}", e.x_um, e.y_um, 2.5 * e.bar_width_um)
            for e in self.elements
            if region.x_um <= e.x_um < region.right_um and region.y_um <= e.y_um < region.bottom_um
        ]


def _coverage(
    low_um: float, high_um: float, origin_um: float, pixel_size_um: float, count: int
) -> tuple[slice, NDArray[np.float32]]:
    """Return which pixels of one axis an interval touches, and the share of each that it covers."""
    low = (low_um - origin_um) / pixel_size_um + 0.5
    high = (high_um - origin_um) / pixel_size_um + 0.5
    first, last = max(int(np.floor(low)), 0), min(int(np.ceil(high)), count)
    edges = np.arange(first, max(last, first))
    share = np.clip(np.minimum(edges + 1, high) - np.maximum(edges, low), 0, 1)
    return slice(first, max(last, first)), share.astype(np.float32)
