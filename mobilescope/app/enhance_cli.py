"""The command that enhances pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.cli_types import Device, Json, ModelFile
from mobilescope.app.console import ProgressDisplay, print_json, say, stoppable


def enhance(
    model: ModelFile,
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, a folder of images, or a session.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Image file, or folder for several.")],
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    json: Json = False,
) -> None:
    """Enhance phone images with a trained model.

    Example: mobilescope enhance demo/model.pt phone.png enhanced.png
    """
    from mobilescope.app.enhancing import enhance_path

    with stoppable() as stop, ProgressDisplay() as progress:
        written = enhance_path(
            model, source, target, device=device, precision=precision, on_progress=progress, stop=stop
        )
    say(f"{len(written)} enhanced: {target}")
    if json:
        print_json({"model": str(model), "written": [str(path) for path in written]})
