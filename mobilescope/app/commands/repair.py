"""The command that saves what is whole in a damaged session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say


def repair(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A damaged session (.h5); it stays as it is.")],
    out: Annotated[
        Path | None, typer.Option(help="The new file, which must not exist; FILE with the suffix .repaired.h5.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy every tile and capture of a damaged session that matches its checksum into a new session.

    Ends with status 0 where nothing is wrong (no file is written), 1 where something was, 2 where nothing can be saved.

    Example: mobilescope repair my.h5
    """
    from mobilescope.data.repair import repair as repair_session

    with ProgressDisplay() as progress:
        report = repair_session(file, out, on_progress=progress)
    for line in report.lost:
        say(f"lost: {line}")
    for line in report.notes:
        say(f"note: {line}")
    kept = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in report.kept.items())
    if report.out:
        say(f"kept: {kept}; new file: {report.out}")
        say("a scan of the same plan into the new file takes what was lost again")
    else:
        say(f"{file} is whole: {kept}; no file was written")
    if json:
        print_json(report.to_json())
    if report.out:
        raise typer.Exit(1)
