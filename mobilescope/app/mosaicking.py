"""From a session's tiles to a mosaic file per slide, streamed band by band."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, StitchingError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.layout import mosaic_path
from mobilescope.data.mosaics import Mosaic, MosaicWriter
from mobilescope.data.records import TileRecord
from mobilescope.data.session import Session
from mobilescope.imaging.blending import mosaic_bands, mosaic_shape, place
from mobilescope.imaging.colour import decode_8bit, encode_8bit
from mobilescope.imaging.stitching import TileLayout, solve_layout
from mobilescope.imaging.tile_pairs import measure_pairs

_MAX_STAGE_ERROR_UM = 8.0


@dataclass(frozen=True)
class StitchResult:
    """How the tiles of one slide fit together."""

    slide: str
    mosaic: Path
    tiles: int
    shape_px: tuple[int, int]
    residual_median_px: float
    residual_max_px: float
    isolated: tuple[int, ...]


def stitch_slide(
    session_path: Path,
    slide: str,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> StitchResult:
    """Stitch one slide of a session into its mosaic file.

    Tiles are divided by the session's flat field, placed by phase correlation and global least squares, and blended
    at whole pixels, so that a label is never interpolated.
    """
    stop = stop or StopToken()
    with Session.open(session_path) as session:
        tiles = session.tiles(slide)
        if not tiles:
            raise StitchingError(f"slide {slide!r} has no tiles in {session_path}", "scan it first")
        load = corrected_tiles(session, tiles)
        shape = session.header.benchtop_shape
        layout, nominal = _layout(tiles, shape, load, on_progress, stop)
        median_px, largest_px = layout.residual_px or (float("nan"), float("nan"))
        rows, columns = mosaic_shape(layout.positions_px, shape)
        pixel = tiles[0].pixel_size_um
        # The mosaic's frame is the stage's: its origin is where the tiles say, on average, that pixel (0, 0) lies.
        first_px = np.array(place(layout.positions_px).origin_px)
        origin = (np.mean(nominal - layout.positions_px, axis=0) + first_px) * pixel
        writer = MosaicWriter(
            session_path, slide, (rows, columns), pixel, (float(origin[1]), float(origin[0])),
            tile_positions_px=(layout.positions_px - first_px)[:, ::-1],
            provenance={
                "residual_median_px": median_px,
                "residual_max_px": largest_px,
                "isolated": list(layout.isolated),
                "session": session_path.name,
            },
        )
        with writer:
            for band in mosaic_bands(layout.positions_px, shape, load):
                stop.raise_if_requested(f"stitching slide {slide!r}")
                writer.write_band(band.pixels, band.covered)
                on_progress(Progress(f"blend {slide}", band.first_row + len(band.pixels), rows))
    return StitchResult(
        slide, mosaic_path(session_path, slide), len(tiles), (rows, columns), median_px, largest_px, layout.isolated
    )


def corrected_tiles(session: Session, tiles: list[TileRecord]) -> Callable[[int], NDArray[np.uint8]]:
    """Return a loader of tile pixels divided by the flat field, (rows, columns, 3) uint8."""
    flat = session.flat_field("benchtop")
    gain = None if flat is None else (flat.max(axis=(0, 1)) / np.maximum(flat, 1e-6)).astype(np.float32)

    def load(index: int) -> NDArray[np.uint8]:
        pixels = session.tile_pixels(tiles[index])
        return pixels if gain is None else encode_8bit(decode_8bit(pixels) * gain)

    return load


def _layout(
    tiles: list[TileRecord],
    shape: tuple[int, int],
    load: Callable[[int], NDArray[np.uint8]],
    on_progress: ProgressListener,
    stop: StopToken,
) -> tuple[TileLayout, NDArray[np.floating]]:
    """Return the solved layout and the reported position of each tile's first pixel in pixels, (N, 2) row, column."""
    first = tiles[0]
    pixel = first.pixel_size_um
    centres = np.array([(tile.position.y_um, tile.position.x_um) for tile in tiles]) / pixel
    nominal = centres - (np.array(shape) - 1) / 2

    def grey(index: int) -> NDArray[np.float32]:
        stop.raise_if_requested(f"stitching slide {first.slide!r}")
        return load(index)[..., 1].astype(np.float32) / np.float32(255)

    pairs = measure_pairs(
        grey, nominal, shape, max_shift_px=round(_MAX_STAGE_ERROR_UM / pixel), on_progress=on_progress
    )
    # Neighbouring rows are scanned in opposite directions, so the stage's play shifts every second row.
    return solve_layout(nominal, pairs, group=[tile.row % 2 for tile in tiles]), nominal


def has_mosaic(session_path: Path, slide: str) -> bool:
    """Tell whether a slide's mosaic is there and whole."""
    try:
        with Mosaic.open(session_path, slide):
            return True
    except InputFileError:
        return False
