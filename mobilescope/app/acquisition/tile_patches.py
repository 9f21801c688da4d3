"""A part of a slide from a few of its tiles, placed and blended as in a mosaic, but in memory and at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.mosaics.mosaicking import corrected_tiles, tile_layout
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import StopToken, ignore_progress
from mobilescope.data.records import TileRecord
from mobilescope.data.session import Session
from mobilescope.imaging.blending import mosaic_bands, place


@dataclass(frozen=True, eq=False)
class TilePatch:
    """Pixels, (rows, columns, 3) uint8, and the stage position (x, y) of the centre of pixel (0, 0)."""

    pixels: NDArray[np.uint8]
    origin_um: tuple[float, float]


def tile_patch(session: Session, tiles: list[TileRecord], region: RegionUm) -> TilePatch:
    """Return what lies in a region, as far as the tiles show it; 0 where none lies."""
    shape, pixel = session.header.benchtop_shape, tiles[0].pixel_size_um
    load = cache(corrected_tiles(session, tiles))
    layout, nominal, _ = tile_layout(tiles, shape, load, ignore_progress, StopToken())
    bands = list(mosaic_bands(layout.positions_px, shape, load))
    whole = np.concatenate([band.pixels for band in bands]).astype(np.uint8, copy=False)
    first_px = np.array(place(layout.positions_px).origin_px)
    origin_y, origin_x = (np.mean(nominal - layout.positions_px, axis=0) + first_px) * pixel
    top, left = max(0, round((region.y_um - origin_y) / pixel)), max(0, round((region.x_um - origin_x) / pixel))
    bottom, right = round((region.bottom_um - origin_y) / pixel), round((region.right_um - origin_x) / pixel)
    part = np.ascontiguousarray(whole[top : max(top, bottom), left : max(left, right)])
    return TilePatch(part, (float(origin_x + left * pixel), float(origin_y + top * pixel)))
