"""The command that puts pictures taken elsewhere into a session."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json, SessionOption
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import UserError


class SlideRole(StrEnum):
    """What a slide is for."""

    TRAINING = "training"
    VALIDATION = "validation"
    BLIND = "blind"


def ingest(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of DNG, JPEG, TIFF or PNG pictures.")],
    session: SessionOption = Path("session.h5"),
    slide: Annotated[str | None, typer.Option(help="The slide that was pictured.")] = None,
    role: Annotated[SlideRole | None, typer.Option(help="Of a new session's slide; training unless given.")] = None,
    stain: Annotated[str | None, typer.Option(help="Of a new session's slide.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Plan (.toml) of a new session that is to be scanned later; names its slides.")
    ] = None,
    pixel_um: Annotated[
        float | None,
        typer.Option("--pixel-um", min=0.01, max=100, help="Pitch of the phone's (Bayer) pixels at the specimen."),
    ] = None,
    positions: Annotated[
        Path | None, typer.Option(help="Table file,x_um,y_um: where the fields lie; without it that stays unknown.")
    ] = None,
    benchtop: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Benchtop tiles of the same slide, put in as well.")
    ] = None,
    tile_positions: Annotated[
        Path | None, typer.Option(help="With --benchtop: table file,x_um,y_um of the tiles' centres.")
    ] = None,
    tile_pixel_um: Annotated[
        float | None,
        typer.Option("--tile-pixel-um", min=0.001, max=1000, help="With --benchtop: pixel size of its tiles."),
    ] = None,
    json: Json = False,
) -> None:
    """Put a folder of phone pictures into a session: a new one, or that of a scan.

    Raw pictures and the JPEGs beside them become one capture each, in the order in which they were taken. Copies are
    told and left out. A file that can't be used is named with the reason, the rest goes in, and the exit status is 1.
    The same command again adds what is new.

    Example: mobilescope --config scope.toml ingest DCIM --session my.h5 --slide lung-3 --pixel-um 0.46
    """
    from mobilescope.app.acquisition.ingest_tiles import tiles_to_ingest
    from mobilescope.app.acquisition.ingesting import IngestOptions, ingest_folder
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.pictures.folders import prepare_session
    from mobilescope.plans.job import load_plan

    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    prepare_session(session)
    if (benchtop is None) != (tile_positions is None):
        raise UserError("--benchtop and --tile-positions go together", "give both, or neither")
    tiles = None
    if benchtop is not None and tile_positions is not None:
        tiles = tiles_to_ingest(benchtop, tile_positions, tile_pixel_um)
    options = IngestOptions(
        slide, None if role is None else role.value, stain, pixel_um, positions,
        None if plan is None else load_plan(plan), tiles,
    )
    with stoppable() as stop, ProgressDisplay() as progress:
        result = ingest_folder(
            folder, session, config, options, source=str(instrument or "built-in instrument"), on_progress=progress,
            stop=stop,
        )
    for copy, first in result.duplicates:
        say(f"copy: {copy} is {first} once more")
    for each in result.skipped:
        say(f"left out: {each.file}: {each.reason}")
    parts = [f"{result.added} {'capture' if result.added == 1 else 'captures'} added"]
    parts += [f"{result.already} were there already"] if result.already else []
    parts += [f"{result.unplaced} without a position"] if result.unplaced else []
    parts += [f"{result.untimed} timed by the file's date"] if result.untimed else []
    parts += [f"{result.tiles} tiles added"] if benchtop is not None else []
    say(f"{result.slide}: {', '.join(parts)}")
    say(f"session: {result.session}")
    if json:
        print_json(result.to_json())
    if result.skipped:
        raise typer.Exit(1)
