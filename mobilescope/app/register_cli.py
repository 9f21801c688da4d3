"""The command that registers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.cli_types import Json, SessionFile
from mobilescope.app.console import ProgressDisplay, print_json, say, stoppable


class WarpChoice(StrEnum):
    """Which image is resampled onto the other's lattice."""

    PHONE = "phone"
    BENCHTOP = "benchtop"


def register(
    session: SessionFile,
    warp: Annotated[
        WarpChoice,
        typer.Option(
            help="Which image is resampled, once: the phone's onto the benchtop's lattice, or the benchtop's into the "
            "phone's geometry, which leaves the phone's pixels untouched."
        ),
    ] = WarpChoice.PHONE,
    factor: Annotated[float, typer.Option(help="Label pixels per input pixel: 1, 1.5, 2, 2.5, 3.")] = 2.5,
    jpeg_ratio: Annotated[
        float | None,
        typer.Option(help="Send the phone's picture through a JPEG so many times smaller than its 3 bytes a pixel."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Pair file to write; without it beside the session, named after the options.")
    ] = None,
    json: Json = False,
) -> None:
    """Register a session's phone captures with its mosaics into pairs, each with its quality and a verdict.

    Example: mobilescope register demo/session.h5 --warp benchtop --json
    """
    from mobilescope.app.pairing import register_session

    with stoppable() as stop, ProgressDisplay() as progress:
        result = register_session(
            session, warp=warp.value, factor=factor, jpeg_ratio=jpeg_ratio, out=out, on_progress=progress, stop=stop
        )
    say(f"{result.accepted} pairs accepted, {result.refused} refused: {result.pairs}")
    if json:
        print_json({
            "pairs": str(result.pairs), "accepted": result.accepted, "refused": result.refused,
            "warp": warp.value, "factor": factor, "jpeg_ratio": jpeg_ratio,
        })
