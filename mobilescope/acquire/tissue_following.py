"""The order of a scan that follows the tissue: a spiral that grows wherever a tile shows specimen."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from mobilescope.plans.tile_areas import Cell

_NEIGHBOURS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))


class TissueFront:
    """Cells that border on tissue, and the spiral that looks for it while none was found.

    What comes next follows from the cells reported so far alone, so a front that is told the stored tiles goes on as
    the one before it would have.
    """

    def __init__(self, shape: tuple[int, int], start: Cell, max_tiles: int) -> None:
        self._rows, self._columns = shape
        self._start, self._max_tiles = start, max_tiles
        self._taken: set[Cell] = set()
        self._border: list[tuple[int, float, Cell]] = []
        self._queued: set[Cell] = set()
        self._found = False
        self._search = self._spiral()

    def report(self, cell: Cell, *, specimen: bool) -> None:
        """Tell what a tile showed."""
        self._taken.add(cell)
        if not specimen:
            return
        self._found = True
        for down, right in _NEIGHBOURS:
            near = cell[0] + down, cell[1] + right
            if self._inside(near) and near not in self._queued:
                self._queued.add(near)
                heapq.heappush(self._border, (*self._turn(near), near))

    def next(self) -> Cell | None:
        """Return the cell to visit, None when the tissue is surrounded or the limit of tiles is reached."""
        if len(self._taken) >= self._max_tiles:
            return None
        if not self._found:
            return next((cell for cell in self._search if cell not in self._taken), None)
        while self._border and self._border[0][2] in self._taken:
            heapq.heappop(self._border)
        return self._border[0][2] if self._border else None

    @property
    def known(self) -> int:
        """How many cells are to be visited as far as is known."""
        waiting = sum(cell not in self._taken for _, _, cell in self._border)
        return min(max(waiting, 0 if self._found else 1), max(0, self._max_tiles - len(self._taken)))

    @property
    def left_out(self) -> int:
        """How many cells at the border of the tissue the limit of tiles leaves out, once it is reached."""
        if len(self._taken) < self._max_tiles:
            return 0
        return sum(cell not in self._taken for _, _, cell in self._border)

    def _inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self._rows and 0 <= cell[1] < self._columns

    def _turn(self, cell: Cell) -> tuple[int, float]:
        """Return a cell's place on the spiral around the start: its ring, then its angle."""
        down, right = cell[0] - self._start[0], cell[1] - self._start[1]
        return max(abs(down), abs(right)), math.atan2(down, right)

    def _spiral(self) -> Iterator[Cell]:
        """Yield all cells, ring by ring around the start."""
        yield self._start
        for ring in range(1, max(self._rows, self._columns)):
            row, column = self._start
            around = {
                *((row + side, column + along) for side in (-ring, ring) for along in range(-ring, ring + 1)),
                *((row + along, column + side) for side in (-ring, ring) for along in range(-ring, ring + 1)),
            }
            yield from sorted((cell for cell in around if self._inside(cell)), key=self._turn)
