"""The command that writes results in formats that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import UserError


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A session, pair file or dataset (.h5), or a model (.pt).")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the files (export without it); for a model, the .onnx file, else beside it."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="ome-tiff (mosaics, pyramidal; the default), png or tiff (pairs) of a session; tiff (the default) or "
            "png of a pair file or dataset; onnx of a model."
        ),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="tiff|png", help="Export the pairs; the same as --kind tiff or png.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a session's mosaics as pyramidal OME-TIFF or its pairs as PNG or TIFF, or a model as ONNX.

    With --pairs tiff, other trainers find train, val and test, each with input and label, and a table and a card
    beside; the same command goes on where it was stopped. A model exported is compared with torch on pictures of
    several sizes before it is kept.

    Examples: mobilescope export demo/session.h5 --kind ome-tiff --out export;
    mobilescope export lung.h5 --pairs tiff --out pairs;
    mobilescope export demo/model.pt --out model.onnx
    """
    from mobilescope.app.datasets.exporting import export_model, export_session, kind_of_export

    if pairs is not None:
        if kind not in (None, pairs) or pairs not in ("tiff", "png"):
            raise UserError(f"--pairs {pairs}", "pairs are exported as tiff or png, and without another --kind")
        kind = pairs
    kind = kind_of_export(file, kind)
    if kind == "onnx":
        target = out or file.with_suffix(".onnx")
        difference = export_model(file, target)
        say(f"{target}: differs from torch by {difference:.1e} at most")
        if json:
            print_json({"model": str(file), "written": [str(target)], "largest_difference": difference})
        return
    folder = out or Path("export")
    with stoppable() as stop, ProgressDisplay() as progress:
        written = export_session(file, folder, kind, on_progress=progress, stop=stop)
    say(f"{len(written)} files in {folder}")
    if json:
        print_json({"session": str(file), "written": [str(path) for path in written]})
