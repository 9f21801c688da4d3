"""What is to be done on one slide, and what of it the sink has already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.protocols import FUSED_PLANE, TileKey, TileState
from mobilescope.plans.grids import GridPosition
from mobilescope.plans.scan_plans import ChannelPlan, FocusPlan, ZStackPlan
from mobilescope.plans.tile_areas import Cell, TileArea

Fusion = Callable[[list[NDArray[np.uint8]]], NDArray[np.uint8]]
UNFOCUSED, SATURATED, BLANK = "unfocused", "saturated", "blank"
_WORTH_ANOTHER_TRY = {UNFOCUSED, SATURATED}


@dataclass(frozen=True)
class SlideRun:
    """One slide's scan: its tiles and what is taken at each.

    Parameters
    ----------
    mounted : str
        The slide to put under the objective; ``slide`` names its tiles in the session.
    approach_um : float
        From how far below the focus drive comes to every z, see `FocusDrive`.
    """

    slide: str
    area: TileArea
    mounted: str = ""
    channels: tuple[ChannelPlan, ...] = ()
    z: ZStackPlan | None = None
    focus: FocusPlan = field(default_factory=FocusPlan)
    saturated: float = 0.05
    approach_um: float = 0.0

    @property
    def offsets_um(self) -> dict[int, float]:
        """Planes with their distance from the focus."""
        return {0: 0.0} if self.z is None else self.z.offsets_um

    @property
    def frames_per_tile(self) -> int:
        """How many pictures are stored for each tile."""
        return max(1, len(self.channels)) * (len(self.offsets_um) + (self.z is not None and self.z.fuse))

    def keys(self, cell: Cell) -> tuple[TileKey, ...]:
        """Return everything that is stored for a cell, in the order in which it is taken."""
        planes = [*self.offsets_um, *([FUSED_PLANE] if self.z is not None and self.z.fuse else [])]
        names = [channel.name for channel in self.channels] or [""]
        return tuple(TileKey(self.slide, *cell, name, plane) for name in names for plane in planes)


@dataclass(frozen=True)
class TileReport:
    """What became of one cell: its marks, the attempt, and the z of its focus where one was found.

    ``saturated_in`` holds the channels that were overexposed; a single picture's channel is the empty string.
    """

    marks: frozenset[str]
    attempt: int
    focused_z_um: float | None
    saturated_in: frozenset[str] = frozenset()

    @property
    def wants_another_try(self) -> bool:
        """Whether the tile is to be taken again at the end."""
        return self.attempt == 0 and bool(self.marks & _WORTH_ANOTHER_TRY)

    @property
    def specimen(self) -> bool:
        """Whether the tile shows more than clear glass."""
        return BLANK not in self.marks


def stored_reports(run: SlideRun, states: dict[TileKey, TileState]) -> dict[Cell, TileReport]:
    """Return a report for each cell that the sink has whole; a cell that a kill left in parts is not among them."""
    reports = {}
    for stop in run.area.positions():
        cell = stop.row, stop.column
        keys = run.keys(cell)
        if all(key in states for key in keys):
            saturated = frozenset(key.channel for key in keys if SATURATED in states[key].mark.split(","))
            reports[cell] = replace(report_of([states[key] for key in keys]), saturated_in=saturated)
    return reports


def report_of(states: Sequence[TileState]) -> TileReport:
    """Join the states of one cell's pictures."""
    marks = frozenset(mark for state in states for mark in state.mark.split(",") if mark)
    focused = [state.z_um for state in states if state.verdict == "focused"]
    return TileReport(marks, min(state.attempt for state in states), focused[0] if focused else None)


def next_attempt(run: SlideRun, cell: Cell, states: dict[TileKey, TileState]) -> int:
    """Return the number of the next attempt at a cell."""
    return max((states[key].attempt + 1 for key in run.keys(cell) if key in states), default=0)


def by_cell(positions: Sequence[GridPosition]) -> dict[Cell, GridPosition]:
    """Return positions by row and column."""
    return {(stop.row, stop.column): stop for stop in positions}
