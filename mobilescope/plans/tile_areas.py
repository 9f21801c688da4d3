"""Which tiles cover a region: a lattice of fields and the cells of it that are to be visited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import shapely

from mobilescope.core.geometry import RegionUm
from mobilescope.plans.grids import FieldGrid, GridPosition

Cell = tuple[int, int]
# Guards the division of a side by the pitch against rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Following:
    """How a scan follows the tissue: from the cell ``start`` (row, column), over at most ``max_tiles`` tiles."""

    start: Cell
    max_tiles: int


@dataclass(frozen=True)
class TileArea:
    """The cells of a lattice that a scan may visit.

    Parameters
    ----------
    cells : frozenset of (row, column), optional
        The cells; all of the lattice where it is None.
    following : Following, optional
        Given where the order grows out of what the tiles show; the cells bound it then.
    """

    grid: FieldGrid
    cells: frozenset[Cell] | None = None
    following: Following | None = None

    def __len__(self) -> int:
        """Return the greatest number of tiles that a scan of this area takes."""
        count = len(self.grid) if self.cells is None else len(self.cells)
        return count if self.following is None else min(count, self.following.max_tiles)

    def positions(self) -> tuple[GridPosition, ...]:
        """Return every cell's position in the order of the walk, numbered from 0."""
        inside = (stop for stop in self.grid if self.cells is None or (stop.row, stop.column) in self.cells)
        return tuple(replace(stop, index=index) for index, stop in enumerate(inside))


def covering_grid(
    region: RegionUm, field_um: tuple[float, float], overlap: float, *, serpentine: bool = True
) -> FieldGrid:
    """Return the smallest lattice of fields (width, height) around a region's centre that covers all of it."""
    columns, rows = (
        1 + max(0, math.ceil((side - field) / (field * (1 - overlap)) - _ROUNDING))
        for side, field in zip((region.width_um, region.height_um), field_um, strict=True)
    )
    return FieldGrid(rows, columns, *field_um, *region.centre_um, overlap=overlap, serpentine=serpentine)


def cells_touching(grid: FieldGrid, corners_um: Sequence[tuple[float, float]]) -> frozenset[Cell]:
    """Return the cells whose field shares area with the polygon through ``corners_um`` (x, y)."""
    polygon = shapely.Polygon(corners_um)
    half_x, half_y = grid.field_width_um / 2, grid.field_height_um / 2
    stops = list(grid)
    x, y = [stop.x_um for stop in stops], [stop.y_um for stop in stops]
    fields = shapely.box(
        [value - half_x for value in x], [value - half_y for value in y],
        [value + half_x for value in x], [value + half_y for value in y],
    )
    shapely.prepare(polygon)
    touching = shapely.intersects(polygon, fields) & ~shapely.touches(polygon, fields)
    return frozenset((stop.row, stop.column) for stop, inside in zip(stops, touching, strict=True) if inside)


def nearest_cell(grid: FieldGrid, x_um: float, y_um: float) -> Cell:
    """Return the cell of a lattice whose centre lies nearest to a point."""
    pitch_x, pitch_y = grid.pitch_um
    row = round((y_um - grid.centre_y_um) / pitch_y + (grid.rows - 1) / 2)
    column = round((x_um - grid.centre_x_um) / pitch_x + (grid.columns - 1) / 2)
    return min(max(row, 0), grid.rows - 1), min(max(column, 0), grid.columns - 1)
