"""What a session's benchtop side shows of a slide as a whole: a small picture, and how much specimen is where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.app.mosaics.mosaicking import has_mosaic
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.session import Session
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.field_suggestions import ContentMap
from mobilescope.imaging.quality import specimen_mask

_CELL_UM = 20.0
_PICTURE_UM = 4.0
# Specimen is told from glass at about this pitch, where noise is averaged and cells are still seen.
_JUDGED_UM = 1.5
_MOST_PX = 4096
_EMPTY = 235


@dataclass(frozen=True, eq=False)
class SlideContent:
    """A slide as far as the benchtop has seen it: a picture of it on its grid, and its specimen cell by cell."""

    picture: NDArray[np.uint8]
    grid: PixelGrid
    content: ContentMap


def slide_content(session_path: Path, slide: str) -> SlideContent | None:
    """Return what the mosaic shows of a slide, or its tiles where the stage had them; None where there is neither."""
    if has_mosaic(session_path, slide):
        return _of_mosaic(session_path, slide)
    return _of_tiles(session_path, slide)


def _of_mosaic(session_path: Path, slide: str) -> SlideContent:
    with Mosaic.open(session_path, slide) as mosaic:
        level = next(
            (number for number in range(mosaic.levels) if mosaic.grid(number).pixel_size_um >= _JUDGED_UM
             and max(mosaic.grid(number).rows, mosaic.grid(number).columns) <= _MOST_PX), mosaic.levels - 1,
        )
        grid = mosaic.grid(level)
        window = 0, 0, grid.rows, grid.columns
        pixels, covered = mosaic.read(*window, level=level), mosaic.coverage(*window, level=level)
    canvas = _Canvas(grid.region)
    canvas.paint(grid.region, pixels, covered)
    return canvas.done()


def _of_tiles(session_path: Path, slide: str) -> SlideContent | None:
    with Session.open(session_path) as session:
        tiles = session.mosaic_tiles(slide)
        if not tiles:
            return None
        rows, columns = session.header.benchtop_shape
        regions = [
            RegionUm.centred(
                tile.position.x_um, tile.position.y_um, columns * tile.pixel_size_um, rows * tile.pixel_size_um
            ) for tile in tiles
        ]
        left, top = min(region.x_um for region in regions), min(region.y_um for region in regions)
        right, bottom = max(region.right_um for region in regions), max(region.bottom_um for region in regions)
        canvas = _Canvas(RegionUm(left, top, right - left, bottom - top))
        for tile, region in zip(tiles, regions, strict=True):
            shrunk = max(1, round(_JUDGED_UM / tile.pixel_size_um))
            size = max(1, columns // shrunk), max(1, rows // shrunk)
            small = np.asarray(cv2.resize(session.tile_pixels(tile), size, interpolation=cv2.INTER_AREA), np.uint8)
            canvas.paint(region, small, np.ones(small.shape[:2], np.bool_))
    return canvas.done()


class _Canvas:
    """Pictures put together on two lattices: one to look at, and one of cells."""

    def __init__(self, region: RegionUm) -> None:
        self._picture_grid = PixelGrid.over(region, _PICTURE_UM)
        self._cells = PixelGrid.over(region, _CELL_UM)
        self._picture = np.full((self._picture_grid.rows, self._picture_grid.columns, 3), _EMPTY, np.uint8)
        self._specimen = np.zeros((self._cells.rows, self._cells.columns), np.float32)
        self._seen = np.zeros_like(self._specimen)

    def paint(self, region: RegionUm, pixels: NDArray[np.uint8], covered: NDArray[np.bool_]) -> None:
        shows = specimen_mask(luminance(to_float(pixels))) & covered
        parts = (self._picture_grid, pixels, self._picture), (self._cells, shows, self._specimen), (
            self._cells, covered, self._seen
        )
        for grid, values, target in parts:
            _paint(grid, region, values, target)

    def done(self) -> SlideContent:
        content = ContentMap(self._cells, self._specimen, self._seen > 0.5)
        return SlideContent(self._picture, self._picture_grid, content)


def _paint(grid: PixelGrid, region: RegionUm, values: NDArray[Any], target: NDArray[Any]) -> None:
    """Put an image of a region, shrunk, onto a lattice."""
    pixel = grid.pixel_size_um
    top, left = round((region.y_um - grid.region.y_um) / pixel), round((region.x_um - grid.region.x_um) / pixel)
    rows, columns = max(1, round(region.height_um / pixel)), max(1, round(region.width_um / pixel))
    source = values.astype(np.float32) if values.dtype == np.bool_ else values
    small = cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA)
    part = target[max(0, top) : top + rows, max(0, left) : left + columns]
    part[:] = small[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
