"""The command that says what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stderr
from mobilescope.core.progress import ignore_progress


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A session, a mosaic, a pair file, a dataset, a model, or an enhanced picture."
        ),
    ],
    json: Json = False,
) -> None:
    """Say what is in a session, mosaic, pair file, dataset, model or enhanced picture, and whether it is whole.

    A session, a model and a dataset are shown as a card; a picture with the record of how it was made, if it carries
    one. --json tells more than is shown.

    Example: mobilescope inspect demo/model.pt
    """
    from mobilescope.app.inspection.inspecting import describe, lines

    with ProgressDisplay() as progress:
        facts = describe(file, progress if stderr.is_terminal else ignore_progress)
    for line in lines(facts):
        say(line)
    if json:
        print_json(facts)
    if facts["problems"]:
        say(f"damaged: {facts['remedy']}")
        raise typer.Exit(1)
