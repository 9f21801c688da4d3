"""Where to look next on a slide: where specimen is, what was not seen yet, spread over the slide. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid, RegionUm

Point = tuple[float, float]

# A field with less specimen than this share is not worth a pair.
_LEAST_CONTENT = 0.25
# Within so many fields' sides of one that is taken, another one tells less that is new.
_SPREAD_FIELDS = 2.0
# Of a field's side, how far from the edge of what the benchtop has seen it stays.
_MISSED = 0.15


@dataclass(frozen=True, eq=False)
class ContentMap:
    """How much specimen there is, cell by cell.

    Attributes
    ----------
    grid : PixelGrid
        Where the cells lie in the benchtop's frame.
    specimen : ndarray, shape (rows, columns), float32
        Share of each cell that shows specimen, 0-1.
    seen : ndarray, shape (rows, columns), bool
        Cells that the benchtop has pictured.
    """

    grid: PixelGrid
    specimen: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def inside(self, regions: list[RegionUm]) -> NDArray[np.bool_]:
        """Return the cells whose centre lies in one of some regions."""
        x, y = self.grid.x_coordinates_um(), self.grid.y_coordinates_um()
        covered = np.zeros(self.specimen.shape, dtype=np.bool_)
        for region in regions:
            rows = (y >= region.y_um) & (y <= region.bottom_um)
            columns = (x >= region.x_um) & (x <= region.right_um)
            covered |= rows[:, None] & columns[None, :]
        return covered

    def covered_share(self, regions: list[RegionUm]) -> float:
        """Return the share of the specimen that lies in some regions; 0 where there is none."""
        total = float(self.specimen.sum())
        return float(self.specimen[self.inside(regions)].sum()) / total if total > 0 else 0.0


def _well_inside(seen: NDArray[np.bool_], field_cells: float) -> NDArray[np.bool_]:
    """Return the cells that are seen with all around them, since a phone scope does not go to the micrometre."""
    side = 2 * max(1, round(_MISSED * field_cells)) + 1
    kernel = np.ones((side, side), np.uint8)
    inner = cv2.erode(seen.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(inner, dtype=np.bool_)


def suggest_fields(
    content: ContentMap, taken: list[RegionUm], field_um: tuple[float, float], count: int
) -> list[Point]:
    """Return centres (x, y) of up to ``count`` further fields, the most telling first.

    A field is worth its share of specimen, less the nearer it lies to one that is taken. None overlaps with another or
    with one that is taken, and all of it was pictured.

    Parameters
    ----------
    taken : list of RegionUm
        Fields that are paired or planned.
    field_um : tuple of float
        Width and height of a field.
    """
    cell = content.grid.pixel_size_um
    width, height = max(1, round(field_um[0] / cell)), max(1, round(field_um[1] / cell))
    rows, columns = content.specimen.shape
    if rows < height or columns < width:
        return []

    def mean(values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the mean over the field whose first cell is each one's."""
        blurred = cv2.blur(values.astype(np.float32), (width, height), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, dtype=np.float32)[: rows - height + 1, : columns - width + 1]

    worth = mean(content.specimen)
    worth[(worth < _LEAST_CONTENT) | (mean(_well_inside(content.seen, max(field_um) / cell)) < 1 - 1e-3)] = 0
    x = content.grid.x_coordinates_um()[: worth.shape[1]] - cell / 2 + field_um[0] / 2
    y = content.grid.y_coordinates_um()[: worth.shape[0]] - cell / 2 + field_um[1] / 2
    centres = [region.centre_um for region in taken]
    found: list[Point] = []
    reach_um = _SPREAD_FIELDS * max(field_um)
    for _ in range(count):
        value = worth.copy()
        for x_um, y_um in (*centres, *found):
            away = np.hypot(x[None, :] - x_um, y[:, None] - y_um)
            value *= (1 - np.exp(-((away / reach_um) ** 2))).astype(np.float32)
        for region in (*taken, *(RegionUm.centred(*place, *field_um) for place in found)):
            rows_near = np.abs(y - region.centre_um[1]) < (region.height_um + field_um[1]) / 2
            columns_near = np.abs(x - region.centre_um[0]) < (region.width_um + field_um[0]) / 2
            value[np.ix_(rows_near, columns_near)] = 0
        best = np.unravel_index(int(value.argmax()), value.shape)
        if value[best] <= 0:
            break
        found.append((float(x[best[1]]), float(y[best[0]])))
    return found
