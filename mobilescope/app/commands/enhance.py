"""The command that enhances pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mobilescope.app.commands.option_types import Device, Json, ModelFile
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, showing_warnings, stoppable
from mobilescope.core.errors import OutputError, UserError

if TYPE_CHECKING:
    from mobilescope.app.enhancement.enhancing import EnhanceResult
    from mobilescope.core.progress import StopToken
    from mobilescope.learn.device import Precision


def enhance(
    model: ModelFile,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="An image (PNG, JPEG, TIFF, DNG), a slide (SVS), a folder, a session.")
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Image file, a slide's pyramid (.ome.tif), or a folder for several images."),
    ],
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, torch or openvino.")] = "auto",
    pixel_size_um: Annotated[
        float | None,
        typer.Option("--pixel-size-um", min=0.01, max=100, help="Pixel size of the images, instead of what they say."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Images for int8 to measure on: an image, a folder, or a session's training inputs; without it, those "
            "to be enhanced."
        ),
    ] = None,
    tile_px: Annotated[
        int | None, typer.Option("--tile-px", min=32, help="Side of a tile; smaller ones take less memory.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take images whose pixel size is more than twice or half the model's.")
    ] = False,
    refeed: Annotated[
        str,
        typer.Option(
            help="none, or enhance each result again: downsampled onto the input's grid first, or finer, as it is."
        ),
    ] = "none",
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="First measure which engine and tiles are the fastest here, and remember it; takes a minute."
        ),
    ] = False,
    distortion: Annotated[
        Path | None,
        typer.Option(help="Distortion map of the phone (mobilescope calibrate phone): straighten the images first."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Enhance what this model has enhanced before.")] = False,
    json: Json = False,
) -> None:
    """Enhance phone images with a trained model.

    Each result carries a record of how it was made and how far to trust it; see `mobilescope inspect`. A name that
    ends in .ome.tif makes a pyramid, written in parts, so that a slide of any size takes little memory. Ctrl-C stops
    between tiles; the same command goes on with what is missing.

    Example: mobilescope enhance demo/model.pt phone.png enhanced.png
    """
    from mobilescope.app.enhancement.enhancing import EnhanceOptions, enhance_path

    options = EnhanceOptions(
        device=device, precision=precision, engine=engine, pixel_size_um=pixel_size_um, calibration=calibration,
        tile_px=tile_px, force=force, again=again, refeed=refeed,
        distortion=distortion,
    )
    with stoppable() as stop, ProgressDisplay() as progress, showing_warnings():
        if tune:
            _tune(model, device, precision, engine, progress, stop)
        result = enhance_path(model, source, target, options, on_progress=progress, stop=stop)
    _tell(result, target)
    if json:
        print_json({
            "model": str(model),
            "engine": result.engine,
            "written": [str(each.target) for each in result.done if not each.skipped],
            "files": [each.to_json() for each in result.done],
            "failed": [{"input": each.source, "error": str(each.error)} for each in result.failed],
        })
    if result.failed:
        raise typer.Exit(1)


def _tune(
    model: Path, device: str, precision: str, engine: str, progress: ProgressDisplay, stop: StopToken
) -> None:
    from mobilescope.enhance.tuning import tune as measure

    if engine != "auto" or precision == "int8":
        raise UserError("tuning chooses the engine", "leave --engine and int8 out")
    try:
        found = measure(model, device, cast("Precision", precision), on_progress=progress, stop=stop)
    except OSError as error:
        remedy = "set MOBILESCOPE_CACHE to a folder of yours"
        raise OutputError(f"the cache can't be written: {error}", remedy) from error
    for each in found:
        say(f"{each.engine}, tiles of {each.tile_px} px: {each.ms_per_mpx:.0f} ms for a million pixels")


def _tell(result: EnhanceResult, target: Path) -> None:
    alike: dict[str, list[Path]] = {}
    for each in result.done:
        if each.state != "trusted":
            alike.setdefault(f"{each.state}: {'; '.join(each.reasons)}", []).append(each.target)
    for text, paths in alike.items():
        say(f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: {text}")
    for failure in result.failed:
        text = str(failure.error)
        say(f"failed: {text if failure.source in text else f'{failure.source}: {text}'}")
    skipped = sum(each.skipped for each in result.done)
    parts = [f"{len(result.done) - skipped} enhanced"]
    parts += [f"{skipped} done before by this model"] if skipped else []
    parts += [f"{len(result.failed)} failed"] if result.failed else []
    say(f"{', '.join(parts)}: {target} ({result.engine})")
