"""Benchtop tiles that were taken elsewhere, with a table of their positions, put into a session."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.acquisition.ingest_files import Skipped
from mobilescope.app.mosaics.tile_folders import plan_from_table, read_tile
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.progress import Progress, ProgressListener, StopToken
from mobilescope.core.protocols import BenchtopImage, LightState, PositionUm, TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.capture_files import file_digest, shown_name

_LIGHT = LightState(on=True, red=0, green=0, blue=0, brightness=0.0, source="not recorded")
_FOCUS = FocusRecord("not recorded", 0.0, math.nan)
# Positions closer than this part of a tile are one row, or one column.
_SAME_LINE = 0.25


@dataclass(frozen=True, eq=False)
class TilesToIngest:
    """Tiles of one slide: their files, centres (x, y) in µm, cells (row, column) of the grid, and common shape."""

    files: tuple[Path, ...]
    centres_um: NDArray[np.float64]
    cells: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    pixel_size_um: float


def tiles_to_ingest(folder: Path, table: Path, pixel_size_um: float | None) -> TilesToIngest:
    """Lay out a folder's tiles by a table ``file,x_um,y_um`` of their centres, x right and y down in the image.

    Raises
    ------
    InputFileError, InputImageError
        The table or the first tile is not right.
    UserError
        The pixel size is not known, or two tiles lie at one place.
    """
    plan = plan_from_table(folder, table, pixel_size_um, option="--tile-pixel-um")
    assert plan.pixel_size_um is not None  # the table's own check
    first = read_tile(plan.files[0])
    rows = _lines(plan.nominal_px[:, 0], _SAME_LINE * first.shape[0])
    columns = _lines(plan.nominal_px[:, 1], _SAME_LINE * first.shape[1])
    cells = tuple(zip(rows, columns, strict=True))
    taken: dict[tuple[int, int], Path] = {}
    for cell, path in zip(cells, plan.files, strict=True):
        if cell in taken:
            raise UserError(
                f"{table} puts {taken[cell].name} and {path.name} at one place", "leave one of them out"
            )
        taken[cell] = path
    centres = plan.nominal_px[:, ::-1] * plan.pixel_size_um
    return TilesToIngest(plan.files, centres, cells, (first.shape[0], first.shape[1]), plan.pixel_size_um)


def check_tiles(session: Session, slide: str, tiles: TilesToIngest) -> None:
    """Refuse tiles that a session's own would be mistaken for; UserError names one.

    Rows and columns are counted from a table's first ones: one that has grown since may count them otherwise.
    """
    stored = {(tile.row, tile.column): tile for tile in session.tiles(slide, channel="", plane=0)}
    if not stored:
        return
    remedy = "a table that has grown counts its rows and columns anew: put all of its tiles into a new session"
    files: dict[str, Path] = {}
    for path, cell in zip(tiles.files, tiles.cells, strict=True):
        try:
            digest = file_digest(path)
        except InputFileError:
            continue  # named when it is put in
        files[digest] = path
        there = stored.get(cell)
        if there is not None and there.settings.get("sha256") != digest:
            what = there.settings.get("file", "a scanned tile")
            raise UserError(
                f"{shown_name(path.name)} has the place of {what} in {session.path}: row {cell[0]}, column {cell[1]}",
                remedy,
            )
    for cell in stored.keys() - set(tiles.cells):
        moved = files.get(stored[cell].settings.get("sha256", ""))
        if moved is not None:
            raise UserError(
                f"{shown_name(moved.name)} is in {session.path} already, at another place: "
                f"row {cell[0]}, column {cell[1]}", remedy,
            )


def put_tiles(
    writer: SessionWriter, slide: str, tiles: TilesToIngest, *, on_progress: ProgressListener, stop: StopToken
) -> tuple[int, list[Skipped]]:
    """Put tiles into a session that it does not have yet; return how many, and those that can't be used."""
    added, skipped = 0, []
    for index, (path, cell, centre) in enumerate(zip(tiles.files, tiles.cells, tiles.centres_um, strict=True)):
        stop.raise_if_requested("ingesting")
        key = TileKey(slide, *cell)
        if not writer.has_tile(key):
            try:
                image = _image(path, centre, tiles, writer.header.benchtop_shape)
            except (InputFileError, InputImageError) as error:
                skipped.append(Skipped(shown_name(path.name), error.cause))
                continue
            writer.add_benchtop_tile(key, index, image, _FOCUS)
            added += 1
        on_progress(Progress(f"tiles {slide}", index + 1, len(tiles.files)))
    return added, skipped


def _image(path: Path, centre_um: NDArray[np.float64], tiles: TilesToIngest, shape: tuple[int, int]) -> BenchtopImage:
    pixels = read_tile(path)
    if pixels.shape[:2] != shape:
        raise InputImageError(
            f"it has {pixels.shape[1]}x{pixels.shape[0]} px, and the session's tiles have {shape[1]}x{shape[0]}"
        )
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    colour = np.ascontiguousarray(np.broadcast_to(pixels, (*shape, 3)).astype(np.uint8, copy=False))
    place = PositionUm(float(centre_um[0]), float(centre_um[1]), 0.0)
    return BenchtopImage(
        pixels=colour, pixel_size_um=tiles.pixel_size_um, position=place,
        time_s=path.stat().st_mtime, exposure_ms=math.nan, light=_LIGHT, device="benchtop, not named",
        settings={
            "ingested": "yes", "file": shown_name(path.name), "sha256": file_digest(path), "time_from": "file date",
        },
    )


def _lines(places_px: NDArray[np.float64], apart_px: float) -> list[int]:
    """Return which line of a grid each place belongs to, counted from the first."""
    order = np.argsort(places_px, kind="stable")
    numbers = np.empty(len(places_px), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(np.diff(places_px[order]) > apart_px)])
    return [int(number) for number in numbers]
