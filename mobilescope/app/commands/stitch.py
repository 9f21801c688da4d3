"""The command that makes mosaics: of a session's slides, or of a folder of tiles."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilescope.app.commands.option_types import Json, given_options
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import UserError

if TYPE_CHECKING:
    from mobilescope.app.mosaics.folder_stitching import FolderOptions
    from mobilescope.app.mosaics.tile_folders import TilePlan

_OF_FOLDERS = ("overlap", "pixel_size_um", "max_shift_px", "correct", "even_out", "blend", "positions", "grid")
_GRID = re.compile(r"([1-9]\d{0,3})[xX×]([1-9]\d{0,3})")


class Blend(StrEnum):
    """How neighbouring tiles are joined."""

    FEATHER = "feather"
    SEAM = "seam"


def stitch(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SESSION_OR_FOLDER", help="A session (.h5) or a folder of tiles.")],
    slide: Annotated[list[str] | None, typer.Option(help="Of a session: only this slide (may be repeated).")] = None,
    positions: Annotated[
        Path | None, typer.Option(help="Of a folder: table file,x_um,y_um; stage positions, x right, y down.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Of a folder: rows and columns, as 5x8; tiles by name, row by row.")
    ] = None,
    overlap: Annotated[float, typer.Option(min=0.0, max=0.9, help="With --grid: share of a tile's side.")] = 0.1,
    pixel_size_um: Annotated[
        float | None, typer.Option("--pixel-size-um", min=0.001, max=1000, help="Of a folder: pixel size of the tiles.")
    ] = None,
    max_shift_px: Annotated[
        int | None, typer.Option(min=2, max=2000, help="Of a folder: the stage's greatest error between neighbours.")
    ] = None,
    correct: Annotated[
        bool, typer.Option(help="Of a folder: take out bad pixels and shading that all tiles share.")
    ] = True,
    even_out: Annotated[bool, typer.Option(help="Of a folder: bring differing tiles to one brightness.")] = True,
    blend: Annotated[
        Blend, typer.Option(help="Of a folder: fade over the overlap, or meet along a seam where tiles differ least.")
    ] = Blend.FEATHER,
    positions_only: Annotated[bool, typer.Option("--positions-only", help="Place the tiles; write no mosaic.")] = False,
    out: Annotated[Path | None, typer.Option(help="Mosaic as FILE.ome.tif or FILE.ome.zarr, a pyramid.")] = None,
    json: Json = False,
) -> None:
    """Stitch tiles into a mosaic: each slide of a session, beside it, or a folder of tiles, into --out.

    Tiles that show too little are placed by the stage and marked so.

    Examples: mobilescope stitch demo/session.h5 --json; mobilescope stitch tiles --positions tiles.csv --out
    lung.ome.tif; mobilescope stitch tiles --grid 5x8 --overlap 0.15 --positions-only --json
    """
    if source.is_dir() or (not source.exists() and (positions is not None or grid is not None)):
        from mobilescope.app.mosaics.folder_stitching import FolderOptions

        if slide:
            raise UserError(f"--slide names a slide of a session, and {source} is a folder", "leave it out")
        plan = _plan(source, positions, grid, overlap, pixel_size_um)
        if out is None and not positions_only:
            raise UserError(f"the mosaic of {source} needs a name", "give --out FILE.ome.tif, or --positions-only")
        seams = blend is Blend.SEAM
        options = FolderOptions(max_shift_px=max_shift_px, correct=correct, even_out=even_out, seams=seams)
        _stitch_folder(plan, None if positions_only else out, options, json)
        return
    ignored = given_options(context, _OF_FOLDERS)
    if ignored:
        raise UserError(f"{ignored[0]} is for a folder of tiles, and {source} is none", "leave it out")
    _stitch_session(source, slide, positions_only, out, json)


def _plan(
    folder: Path, positions: Path | None, grid: str | None, overlap: float, pixel_size_um: float | None
) -> TilePlan:
    """Return where the tiles of a folder lie."""
    from mobilescope.app.mosaics.tile_folders import plan_from_grid, plan_from_table

    if (positions is None) == (grid is None):
        raise UserError(
            f"where the tiles of {folder} lie is {'not' if grid is None else 'twice'} said",
            "give either --positions TABLE or --grid ROWSxCOLUMNS",
        )
    if positions is not None:
        return plan_from_table(folder, positions, pixel_size_um)
    found = _GRID.fullmatch((grid or "").strip())
    if found is None:
        raise UserError(f"the grid {grid!r} is not understood", "give rows and columns, such as 5x8")
    return plan_from_grid(folder, int(found[1]), int(found[2]), overlap, pixel_size_um)


def _stitch_folder(plan: TilePlan, out: Path | None, options: FolderOptions, json: bool) -> None:
    from mobilescope.app.mosaics.folder_stitching import stitch_folder

    with stoppable() as stop, ProgressDisplay() as progress:
        result = stitch_folder(plan, out, options, on_progress=progress, stop=stop)
    marks = [verdict.mark for verdict in result.verdicts]
    say(
        f"{len(marks)} tiles, {result.shape_px[1]}x{result.shape_px[0]} px: {marks.count('linked')} linked, "
        f"{marks.count('stage')} placed by the stage, {marks.count('blank')} blank"
    )
    if out is not None:
        say(f"mosaic: {out}")
    if json:
        print_json(result.to_json() | ({} if out is None else {"mosaic": str(out)}))


def _stitch_session(
    session: Path, slides: list[str] | None, positions_only: bool, out: Path | None, json: bool
) -> None:
    from mobilescope.app.mosaics.mosaic_output import check_output, write_session_mosaic
    from mobilescope.app.mosaics.mosaicking import stitch_slide
    from mobilescope.data.session import Session

    with Session.open(session) as opened:
        opened.warn_of_damaged_rows()
        names = [entry.name for entry in opened.slides]
    unknown = [name for name in slides or [] if name not in names]
    if unknown:
        raise UserError(f"{session} has no slide {unknown[0]!r}", f"its slides are {', '.join(names)}")
    chosen = slides or names
    if out is not None:
        if len(chosen) > 1:
            raise UserError(f"{session} has {len(chosen)} slides and --out names one file", "choose one with --slide")
        check_output(out)
    mosaics: list[dict[str, Any]] = []
    tiles: list[dict[str, Any]] = []
    seconds = {"positions": 0.0, "mosaic": 0.0}
    with stoppable() as stop, ProgressDisplay() as progress:
        for name in chosen:
            result = stitch_slide(session, name, positions_only=positions_only, on_progress=progress, stop=stop)
            mosaics.append(result.to_json())
            tiles += [{"slide": name, **entry} for entry in result.tile_entries]
            seconds["positions"] += result.positions_s
            seconds["mosaic"] += result.mosaic_s
            say(
                f"{name}: {result.tiles} tiles, {result.shape_px[1]}x{result.shape_px[0]} px, "
                f"residual {result.residual_median_px:.2f} px median, {result.residual_max_px:.2f} px largest"
            )
        if out is not None and not positions_only:
            write_session_mosaic(out, session, chosen[0])
            say(f"mosaic: {out}")
    if json:
        print_json({"session": str(session), "mosaics": mosaics, "tiles": tiles, "seconds": seconds})
