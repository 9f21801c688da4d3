"""From a folder of tiles to their positions and to one picture, streamed from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.mosaics.mosaic_output import MosaicPicture, check_output, write_mosaic
from mobilescope.app.mosaics.tile_folders import Pixels, TilePlan, TileReader
from mobilescope.core.errors import UserError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.imaging.bands import Piece
from mobilescope.imaging.blending import mosaic_bands, mosaic_shape, place
from mobilescope.imaging.neighbours import neighbour_pairs
from mobilescope.imaging.stitching import TileLayout, TileVerdict, solve_layout, tile_verdicts
from mobilescope.imaging.tile_correction import TileCorrection, estimate_correction, spread_out
from mobilescope.imaging.tile_gains import Thumbnail, block_px, solve_gains, thumbnail
from mobilescope.imaging.tile_pairs import MINIMUM_OVERLAP_PX, survey_tiles

_LEAST_SEARCH_PX = 30
_SEARCH_SHARE = 0.015
_BAND_ROWS = 512


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is stitched.

    Attributes
    ----------
    max_shift_px : int or None
        Greatest error of the stage between neighbours; 30 px or 1.5 % of a tile's side unless given.
    correct : bool
        Whether bad pixels and shading that all tiles share are taken out.
    even_out : bool
        Whether tiles of differing brightness or colour are brought to one.
    seams : bool
        Whether tiles meet along seams where they differ least, instead of fading into each other over the overlap.
    """

    max_shift_px: int | None = None
    correct: bool = True
    even_out: bool = True
    seams: bool = False


@dataclass(frozen=True, eq=False)
class FolderResult:
    """Where the tiles lie, how far to trust it, and how long it took."""

    files: tuple[Path, ...]
    layout: TileLayout
    verdicts: list[TileVerdict]
    shape_px: tuple[int, int]
    positions_s: float
    mosaic_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "tiles": [
                tile_entry(file.name, position, verdict)
                for file, position, verdict in zip(self.files, self.layout.positions_px, self.verdicts, strict=True)
            ],
            "seconds": {"positions": self.positions_s, "mosaic": self.mosaic_s},
        }


def tile_entry(name: str, position_px: NDArray[np.float64], verdict: TileVerdict) -> dict[str, Any]:
    """Return what a report says of one tile; row and column are those of its pixel (0, 0) in the mosaic."""
    return {
        "file": name, "row_px": float(position_px[0]), "column_px": float(position_px[1]), "links": verdict.links,
        "residual_px": verdict.residual_px, "mark": verdict.mark,
    }


class _Tiles:
    """A folder's tiles, corrected, with what is remembered of each for evening out."""

    def __init__(
        self, reader: TileReader, correction: TileCorrection | None, stop: StopToken, remember: bool
    ) -> None:
        self._reader, self._correction, self._stop = reader, correction, stop
        self._remember = remember
        self.thumbnails: dict[int, Thumbnail] = {}

    def load(self, index: int) -> Pixels:
        """Return a corrected tile."""
        self._stop.raise_if_requested("stitching")
        pixels = self._reader(index)
        return pixels if self._correction is None else self._correction.apply(pixels)

    def grey(self, index: int) -> NDArray[Any]:
        """Return the plane that is compared: green of three."""
        pixels = self.load(index)
        if self._remember:
            self.thumbnails[index] = thumbnail(pixels)
        return pixels[..., pixels.shape[2] // 2]


def stitch_folder(
    plan: TilePlan, out: Path | None, options: FolderOptions | None = None, *,
    on_progress: ProgressListener = ignore_progress, stop: StopToken | None = None,
) -> FolderResult:
    """Place a folder's tiles and write the mosaic, if a file was given.

    Raises
    ------
    InputFileError, InputImageError
        A tile can't be read, or is not like the others.
    UserError
        No two tiles overlap.
    OutputError, DiskSpaceError
        The mosaic can't be written.
    """
    options, stop = options or FolderOptions(), stop or StopToken()
    if out is not None:
        check_output(out)
    start = time.perf_counter()
    reader = TileReader(plan.files)
    shape = reader.shape[:2]
    _check_overlap(plan, shape)
    correction = estimate_correction(reader, spread_out(len(plan.files))) if options.correct else None
    tiles = _Tiles(reader, correction, stop, remember=options.even_out and out is not None)
    search_px = options.max_shift_px or max(_LEAST_SEARCH_PX, round(_SEARCH_SHARE * max(shape)))
    survey = survey_tiles(tiles.grey, plan.nominal_px, shape, max_shift_px=search_px, on_progress=on_progress)
    layout = solve_layout(plan.nominal_px, survey.pairs, group=plan.travel)
    placed = time.perf_counter()
    mosaic_s = None
    if out is not None:
        gains = None
        if options.even_out:
            links = [(pair.first, pair.second) for pair in layout.pairs if pair.accepted]
            tied = {tile for link in links for tile in link}
            loose = [(pair.first, pair.second) for pair in layout.pairs if not {pair.first, pair.second} <= tied]
            thumbnails = [tiles.thumbnails[k] for k in range(len(plan.files))]
            gains = solve_gains(thumbnails, block_px(shape), layout.positions_px, links, loose)
        _write(out, plan, layout, reader, tiles, gains, on_progress, correction, options.seams)
        mosaic_s = time.perf_counter() - placed
    return FolderResult(
        plan.files, layout, tile_verdicts(layout, survey.blank), mosaic_shape(layout.positions_px, shape),
        placed - start, mosaic_s,
    )


def _check_overlap(plan: TilePlan, shape: tuple[int, int]) -> None:
    """Refuse positions at which no tile touches another."""
    if len(plan.files) > 1 and not neighbour_pairs(plan.nominal_px, shape, MINIMUM_OVERLAP_PX):
        steps = np.abs(plan.nominal_px - plan.nominal_px[0])[1:].max(axis=1)
        raise UserError(
            f"no two of the {len(plan.files)} tiles overlap by {MINIMUM_OVERLAP_PX} px: they are {shape[1]}x{shape[0]} "
            f"px large and the first one's nearest neighbour is {steps.min():.0f} px away",
            "check the pixel size and the positions, or the overlap of the grid",
        )


def _write(
    out: Path, plan: TilePlan, layout: TileLayout, reader: TileReader, tiles: _Tiles,
    gains: NDArray[np.float32] | None, on_progress: ProgressListener, correction: TileCorrection | None, seams: bool,
) -> None:
    """Write the mosaic of placed tiles."""
    rows, columns = mosaic_shape(layout.positions_px, reader.shape[:2])
    channels = reader.shape[2]

    def bands() -> Iterator[Piece]:
        for band in mosaic_bands(
            layout.positions_px, reader.shape[:2], tiles.load, _BAND_ROWS, on_progress,
            channels=channels, dtype=reader.dtype, gains=gains, seams=seams,
        ):
            yield Piece(band.first_row, 0, band.pixels)

    pixel = plan.pixel_size_um
    # On average over the tiles, the mosaic lies where the stage says.
    first = np.mean(plan.nominal_px - layout.positions_px, axis=0) + place(layout.positions_px).origin_px
    origin = (float(first[1]) * pixel, float(first[0]) * pixel) if pixel else (0.0, 0.0)
    provenance = {
        "tiles": len(plan.files),
        "residual_px": layout.residual_px,
        "bad_pixels": 0 if correction is None else int(correction.bad.sum()),
        "shading_corrected": correction is not None and correction.gain is not None,
        "evened_out": gains is not None,
        "blend": "seam" if seams else "feather",
    }
    write_mosaic(out, bands(), MosaicPicture((rows, columns, channels), reader.dtype, pixel, origin, provenance))
