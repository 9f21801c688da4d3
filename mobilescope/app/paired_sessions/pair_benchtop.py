"""The benchtop's side of a paired session: the mosaic where there is one, else tiles, taken where they are missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mobilescope.acquire.pair_examining import BenchtopView, TileUnder
from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.app.acquisition.tile_patches import tile_patch
from mobilescope.app.mosaics.mosaicking import has_mosaic
from mobilescope.core.errors import LimitError, RegistrationError
from mobilescope.core.geometry import RegionUm
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.records import TileRecord
from mobilescope.data.session import Session
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.tile_areas import Cell, TileArea

# A mosaic with holes over more than this of a region does not cover it.
_MOST_HOLES = 0.02

TakeTiles = Callable[[frozenset[Cell]], None]


class SessionSide:
    """What a session shows of one slide. Implements `BenchtopSide`.

    Parameters
    ----------
    grid : FieldGrid, optional
        The lattice of the slide's scan; a tile that is missing is taken at its place in it. Without one the session's
        tiles are looked at by where they lie.
    take : callable, optional
        Takes tiles into the session; without it what was not scanned is not to be had.
    """

    def __init__(self, session: Path, slide: str, grid: FieldGrid | None, *, take: TakeTiles | None = None) -> None:
        self._session, self._slide, self._grid, self._take = session, slide, grid, take
        self._mosaic = has_mosaic(session, slide)
        self._tiles: list[tuple[TileRecord, TileUnder]] | None = None

    @property
    def has_mosaic(self) -> bool:
        """Whether the slide was stitched."""
        return self._mosaic

    def covers(self, region: RegionUm) -> bool:
        """Tell whether a region is in the mosaic, or all its tiles are there."""
        if self._mosaic:
            with Mosaic.open(self._session, self._slide) as mosaic:
                if self._shown(mosaic, region):
                    return True
        if self._grid is None:
            return False
        cells = cells_under(self._grid, region)
        return bool(cells) and self._grid.region.contains(region) and not self._missing(cells)

    def view(self, region: RegionUm) -> BenchtopView:
        """Return a region from the mosaic, or from its tiles, of which those that are missing are taken first."""
        if self._mosaic:
            with Mosaic.open(self._session, self._slide) as mosaic:
                if self._take is None or self._shown(mosaic, region):
                    return self._from_mosaic(mosaic, region)
        if self._grid is None:
            return self._from_tiles(None, region)
        cells = cells_under(self._grid, region)
        if not cells:
            raise RegistrationError(
                "the field lies outside what the plan scans", "choose another field, or plan a larger scan"
            )
        self._take_missing(cells)
        return self._from_tiles(cells, region)

    def prepare(self, regions: list[RegionUm]) -> None:
        """Take all tiles that regions need, so that the slide can be moved to the other instrument afterwards."""
        if self._grid is None or self._take is None:
            return
        unseen = [region for region in regions if not self.covers(region)]
        under = [cells_under(self._grid, region) for region in unseen]
        try:
            self._take_missing(frozenset[Cell]().union(*under))
        except LimitError:
            # Nothing was moved yet. What can be reached is taken field by field; the others are refused when viewed.
            for cells in under:
                with suppress(LimitError):
                    self._take_missing(cells)

    def _shown(self, mosaic: Mosaic, region: RegionUm) -> bool:
        """Tell whether a mosaic shows what of a region the plan scans."""
        within = region if self._grid is None else region.intersection(self._grid.region)
        return within is not None and _covered(mosaic, within)

    def _take_missing(self, cells: frozenset[Cell]) -> None:
        missing = frozenset[Cell]() if self._take is None else self._missing(cells)
        if self._take is not None and missing:
            try:
                self._take(missing)
            finally:
                self._tiles = None

    def _missing(self, cells: frozenset[Cell]) -> frozenset[Cell]:
        return cells - {(tile.row, tile.column) for tile, _ in self._seen()}

    def _seen(self) -> list[tuple[TileRecord, TileUnder]]:
        """Return the tiles that the session has; only what this object takes adds to them."""
        if self._tiles is None:
            with Session.open(self._session) as session:
                shape = session.header.benchtop_shape
                self._tiles = [(tile, _under(tile, shape)) for tile in session.mosaic_tiles(self._slide)]
        return self._tiles

    def _from_mosaic(self, mosaic: Mosaic, region: RegionUm) -> BenchtopView:
        top, left, rows, columns = _window(mosaic, region)
        if min(rows, columns) < 1:
            raise RegistrationError("the field lies outside the mosaic", "scan the place where it was taken")
        x_um, y_um = mosaic.origin_um
        pixel = mosaic.pixel_size_um
        return BenchtopView(
            mosaic.read(top, left, rows, columns), (x_um + left * pixel, y_um + top * pixel), pixel, "mosaic",
            tuple(under for _, under in self._seen() if under.region.intersection(region) is not None),
        )

    def _from_tiles(self, cells: frozenset[Cell] | None, region: RegionUm) -> BenchtopView:
        seen = [
            (tile, under) for tile, under in self._seen()
            if ((under.row, under.column) in cells if cells is not None
                else under.region.intersection(region) is not None)
        ]
        if not seen:
            raise RegistrationError("the benchtop has not seen this place", "scan it, or pair with the benchtop on")
        tiles = [tile for tile, _ in seen]
        with Session.open(self._session) as session:
            patch = tile_patch(session, tiles, region)
        return BenchtopView(
            patch.pixels, patch.origin_um, tiles[0].pixel_size_um, "tiles", tuple(under for _, under in seen)
        )


def tile_taker(
    runner_of: Callable[[SlideRun], ScanRunner], run: SlideRun, before: Callable[[], None]
) -> TakeTiles:
    """Return what takes some cells of a slide's scan, autofocus and all, as a scan does.

    Parameters
    ----------
    before : callable
        Called first, for what must be there before any tile: the clear field.
    """

    def take(cells: frozenset[Cell]) -> None:
        before()
        part = SlideRun(
            run.slide, TileArea(run.area.grid, cells), mounted=run.mounted, channels=run.channels, z=run.z,
            focus=run.focus, saturated=run.saturated, approach_um=run.approach_um,
        )
        runner_of(part).run()

    return take


def cells_under(grid: FieldGrid, region: RegionUm) -> frozenset[Cell]:
    """Return the cells of a lattice whose field shares area with a region, those of the neighbour's overlap left out.

    Where tiles overlap, one of them is enough.
    """
    pitch_x, pitch_y = grid.pitch_um
    first_x = grid.centre_x_um - (grid.columns - 1) / 2 * pitch_x
    first_y = grid.centre_y_um - (grid.rows - 1) / 2 * pitch_y

    def span(low: float, high: float, first: float, pitch: float, count: int, reach: float) -> range:
        # The outermost cells reach half a field out, the others to the middle between two centres.
        from_cell, to_cell = math.floor((low - first) / pitch + 0.5), math.ceil((high - first) / pitch - 0.5)
        if high < first - reach or low > first + (count - 1) * pitch + reach:
            return range(0)
        return range(min(max(from_cell, 0), count - 1), min(max(to_cell, 0), count - 1) + 1)

    rows = span(region.y_um, region.bottom_um, first_y, pitch_y, grid.rows, grid.field_height_um / 2)
    columns = span(region.x_um, region.right_um, first_x, pitch_x, grid.columns, grid.field_width_um / 2)
    return frozenset((row, column) for row in rows for column in columns)


def _window(mosaic: Mosaic, region: RegionUm) -> tuple[int, int, int, int]:
    """Return (row, column, rows, columns) of a region in a mosaic, cut at its edges."""
    x_um, y_um = mosaic.origin_um
    pixel = mosaic.pixel_size_um
    top, left = max(0, round((region.y_um - y_um) / pixel)), max(0, round((region.x_um - x_um) / pixel))
    bottom = min(mosaic.shape[0], round((region.bottom_um - y_um) / pixel))
    right = min(mosaic.shape[1], round((region.right_um - x_um) / pixel))
    return top, left, bottom - top, right - left


def _covered(mosaic: Mosaic, region: RegionUm) -> bool:
    """Tell whether a mosaic shows all of a region; looked up where it is coarse."""
    level = min(3, mosaic.levels - 1)
    grid = mosaic.grid(level)
    pixel = grid.pixel_size_um
    top, left = math.floor((region.y_um - grid.y_um) / pixel), math.floor((region.x_um - grid.x_um) / pixel)
    rows, columns = math.ceil(region.height_um / pixel), math.ceil(region.width_um / pixel)
    return bool(mosaic.coverage(top, left, rows, columns, level=level).mean() >= 1 - _MOST_HOLES)


def _under(tile: TileRecord, shape: tuple[int, int]) -> TileUnder:
    rows, columns = shape
    region = RegionUm.centred(
        tile.position.x_um, tile.position.y_um, columns * tile.pixel_size_um, rows * tile.pixel_size_um
    )
    return TileUnder(tile.row, tile.column, region, tile.mark)
