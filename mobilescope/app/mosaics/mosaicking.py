"""From a session's tiles to a mosaic file per slide, streamed band by band."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.mosaics.folder_stitching import tile_entry
from mobilescope.core.errors import InputFileError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.layout import mosaic_path
from mobilescope.data.mosaics import Mosaic, MosaicWriter
from mobilescope.data.records import TileRecord
from mobilescope.data.session import Session
from mobilescope.imaging.blending import mosaic_bands, mosaic_shape, place
from mobilescope.imaging.colour import decode_8bit, encode_8bit, lit_channel
from mobilescope.imaging.stitching import TileLayout, solve_layout, tile_verdicts
from mobilescope.imaging.tile_correction import estimate_correction, spread_out
from mobilescope.imaging.tile_pairs import survey_tiles

_MAX_STAGE_ERROR_UM = 8.0
# Exposures that differ by less are one: cameras round them.
_SAME_EXPOSURE = 0.01


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
    tile_entries: tuple[dict[str, Any], ...] = ()
    positions_s: float = 0.0
    mosaic_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what a report says of the slide as a whole."""
        return {
            "slide": self.slide, "mosaic": str(self.mosaic), "tiles": self.tiles, "shape_px": list(self.shape_px),
            "residual_median_px": self.residual_median_px, "residual_max_px": self.residual_max_px,
            "isolated": list(self.isolated),
        }


def stitch_slide(
    session_path: Path,
    slide: str,
    *,
    positions_only: bool = False,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> StitchResult:
    """Stitch one slide of a session into its mosaic file.

    Tiles are divided by the session's flat field, placed by phase correlation and global least squares, and blended
    at whole pixels, so that a label is never interpolated. With ``positions_only`` no mosaic is written.
    """
    stop = stop or StopToken()
    with Session.open(session_path) as session:
        tiles = session.mosaic_tiles(slide)
        if not tiles:
            raise InputFileError(f"slide {slide!r} has no tiles in {session_path}", "scan it first")
        load = corrected_tiles(session, tiles)
        shape = session.header.benchtop_shape
        start = time.perf_counter()
        layout, nominal, blank = tile_layout(tiles, shape, load, on_progress, stop)
        placed = time.perf_counter()
        median_px, largest_px = layout.residual_px or (float("nan"), float("nan"))
        rows, columns = mosaic_shape(layout.positions_px, shape)
        pixel = tiles[0].pixel_size_um
        # The mosaic's frame is the stage's: its origin is where the tiles say, on average, that pixel (0, 0) lies.
        first_px = np.array(place(layout.positions_px).origin_px)
        origin = (np.mean(nominal - layout.positions_px, axis=0) + first_px) * pixel
        if not positions_only:
            writer = MosaicWriter(
                session_path, slide, (rows, columns), pixel, (float(origin[1]), float(origin[0])),
                tile_positions_px=(layout.positions_px - first_px)[:, ::-1],
                provenance={
                    "residual_median_px": median_px,
                    "residual_max_px": largest_px,
                    "isolated": list(layout.isolated),
                    "session": session_path.name,
                    "flat_field_sha256": _flat_field_digest(session, tiles[0].channel),
                },
            )
            with writer:
                for band in mosaic_bands(layout.positions_px, shape, load):
                    stop.raise_if_requested(f"stitching slide {slide!r}")
                    writer.write_band(band.pixels.astype(np.uint8, copy=False), band.covered)
                    on_progress(Progress(f"blend {slide}", band.first_row + len(band.pixels), rows))
    entries = tuple(
        tile_entry(f"{slide}/r{tile.row}c{tile.column}", position, verdict)
        for tile, position, verdict in zip(tiles, layout.positions_px, tile_verdicts(layout, blank), strict=True)
    )
    return StitchResult(
        slide, mosaic_path(session_path, slide), len(tiles), (rows, columns), median_px, largest_px, layout.isolated,
        entries, placed - start, time.perf_counter() - placed,
    )


def _flat_field_digest(session: Session, channel: str) -> str | None:
    flat = session.flat_field("benchtop", channel)
    return None if flat is None else hashlib.sha256(flat.tobytes()).hexdigest()


def corrected_tiles(session: Session, tiles: list[TileRecord]) -> Callable[[int], NDArray[np.uint8]]:
    """Return a loader of tile pixels divided by the flat field, (rows, columns, 3) uint8; safe in threads.

    Bad pixels are looked for in the tiles themselves, and so is uneven light where no flat field was measured. A tile
    that was exposed for less time than the others is brought to theirs.
    """
    flat, reading = session.flat_field("benchtop", tiles[0].channel), threading.Lock()
    gain = None if flat is None else (flat.max(axis=(0, 1)) / np.maximum(flat, 1e-6)).astype(np.float32)
    usual_ms = float(np.median([tile.exposure_ms for tile in tiles]))

    def load(index: int) -> NDArray[np.uint8]:
        # A session follows a file that may grow, and can only be asked one thing at a time.
        with reading:
            pixels = session.tile_pixels(tiles[index])
        exposure_ms = tiles[index].exposure_ms
        if abs(exposure_ms - usual_ms) > _SAME_EXPOSURE * usual_ms and exposure_ms > 0:
            brought = np.float32(usual_ms / exposure_ms)
            return encode_8bit(decode_8bit(pixels) * (brought if gain is None else brought * gain))
        return pixels if gain is None else encode_8bit(decode_8bit(pixels) * gain)

    found = estimate_correction(load, spread_out(len(tiles)))
    if found is None:
        return load
    correction = found if gain is None else replace(found, gain=None)
    return load if correction.idle else lambda index: correction.apply(load(index)).astype(np.uint8, copy=False)


def tile_layout(
    tiles: list[TileRecord],
    shape: tuple[int, int],
    load: Callable[[int], NDArray[np.uint8]],
    on_progress: ProgressListener,
    stop: StopToken,
) -> tuple[TileLayout, NDArray[np.floating], frozenset[int]]:
    """Return the solved layout, the stage's word on each tile's first pixel, (N, 2) row, column, and blank tiles."""
    first = tiles[0]
    pixel = first.pixel_size_um
    centres = np.array([(tile.position.y_um, tile.position.x_um) for tile in tiles]) / pixel
    nominal = centres - (np.array(shape) - 1) / 2

    lit = lit_channel(load(len(tiles) // 2))

    def grey(index: int) -> NDArray[np.uint8]:
        stop.raise_if_requested(f"stitching slide {first.slide!r}")
        return load(index)[..., lit]

    survey = survey_tiles(
        grey, nominal, shape, max_shift_px=round(_MAX_STAGE_ERROR_UM / pixel), on_progress=on_progress
    )
    # Neighbouring rows are scanned in opposite directions, so the stage's play shifts every second row.
    layout = solve_layout(nominal, survey.pairs, group=[tile.row % 2 for tile in tiles])
    return layout, nominal, survey.blank


def has_mosaic(session_path: Path, slide: str) -> bool:
    """Tell whether a slide's mosaic is there and whole."""
    try:
        with Mosaic.open(session_path, slide):
            return True
    except InputFileError:
        return False
