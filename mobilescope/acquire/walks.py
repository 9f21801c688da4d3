"""The order in which the tiles of a slide are visited, as it follows from those that are there."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mobilescope.acquire.slide_run import SlideRun, TileReport, by_cell
from mobilescope.acquire.tissue_following import TissueFront
from mobilescope.imaging.focus_surface import choose_points
from mobilescope.plans.grids import GridPosition
from mobilescope.plans.tile_areas import Cell


class Walk(Protocol):
    """Hands out tiles one after the other and is told what became of each."""

    def next(self) -> GridPosition | None:
        """Return the next tile, None at the end."""

    def report(self, cell: Cell, report: TileReport) -> None:
        """Tell what became of a tile, now or in an earlier run."""

    def remaining(self) -> int:
        """Return how many tiles are left as far as is known."""

    def left_out(self) -> int:
        """Return how many tiles that the specimen asks for are not taken, since the plan's limit is reached."""

    def is_focus_point(self, cell: Cell) -> bool:
        """Tell whether the focus is to be searched there for the sake of other tiles."""


def walk_of(run: SlideRun) -> Walk:
    """Return the walk that a plan asks for."""
    return FollowingWalk(run) if run.area.following is not None else FixedWalk(run)


class FixedWalk:
    """All cells of an area in the order of its walk; those that a focus surface rests on come first."""

    def __init__(self, run: SlideRun) -> None:
        positions = run.area.positions()
        self._todo = by_cell(positions)
        self._wanted = run.focus.points
        self._focused = 0
        self._base: list[Cell] = []
        self._spare: list[Cell] = []
        self._points: set[Cell] = set()
        if run.focus.mode == "surface" and len(positions) > self._wanted:
            cells = list(self._todo)
            places = np.array([(stop.x_um, stop.y_um) for stop in positions])
            # The first of a farthest-point choice are a choice of their own, so the rest can stand in for failures.
            chosen = [int(number) for number in choose_points(places, min(2 * self._wanted, len(places)))]
            self._base = [cells[number] for number in sorted(chosen[: self._wanted])]
            self._spare = [cells[number] for number in chosen[self._wanted:]]
            self._points = set(self._base)

    def next(self) -> GridPosition | None:
        """Return the next point of the surface, then the rest in order."""
        for cell in self._base:
            if cell in self._todo:
                return self._todo[cell]
        if self._points and self._focused < self._wanted:
            for cell in self._spare:
                if cell in self._todo:
                    self._points.add(cell)
                    return self._todo[cell]
        return next(iter(self._todo.values()), None)

    def report(self, cell: Cell, report: TileReport) -> None:
        """Strike a tile off."""
        self._todo.pop(cell, None)
        self._focused += report.focused_z_um is not None

    def remaining(self) -> int:
        """Return how many tiles are left."""
        return len(self._todo)

    def left_out(self) -> int:
        """Return 0: the area is the plan's."""
        return 0

    def is_focus_point(self, cell: Cell) -> bool:
        """Tell whether the surface rests on this cell."""
        return cell in self._points


class FollowingWalk:
    """Cells in the order in which the tissue shows itself."""

    def __init__(self, run: SlideRun) -> None:
        following = run.area.following
        assert following is not None
        self._positions = by_cell(run.area.positions())
        shape = run.area.grid.rows, run.area.grid.columns
        self._front = TissueFront(shape, following.start, following.max_tiles)

    def next(self) -> GridPosition | None:
        """Return the next tile at the border of the tissue."""
        cell = self._front.next()
        return None if cell is None else self._positions[cell]

    def report(self, cell: Cell, report: TileReport) -> None:
        """Grow where the tile shows specimen."""
        self._front.report(cell, specimen=report.specimen)

    def remaining(self) -> int:
        """Return how many tiles border on tissue."""
        return self._front.known

    def left_out(self) -> int:
        """Return how many tiles border on tissue when the limit is reached."""
        return self._front.left_out

    def is_focus_point(self, cell: Cell) -> bool:
        """Tell that no cell is known beforehand."""
        return False
