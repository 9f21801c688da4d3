"""The commands that calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, showing_warnings, stoppable

calibrate_app = typer.Typer(
    name="calibrate", no_args_is_help=True, help="Measure what an instrument file needs to know of its instrument."
)


@calibrate_app.command("stage")
def stage(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="Calibration file to write; without it calibration.toml beside the instrument file."),
    ] = None,
    slide: Annotated[str | None, typer.Option(help="Mount this slide first.")] = None,
    autofocus_um: Annotated[
        float, typer.Option(min=0, max=500, help="Focus first, so far up and down; 0 leaves the focus alone.")
    ] = 0.0,
    step: Annotated[float, typer.Option(min=0.05, max=0.4, help="Length of the steps, as a part of the frame.")] = 0.25,
    repeats: Annotated[int, typer.Option(min=1, max=50, help="How often the eight steps are made.")] = 2,
    max_backlash_um: Annotated[float, typer.Option(min=0, help="Refuse a stage with more play.")] = 15.0,
    json: Json = False,
) -> None:
    """Measure pixel size, rotation and mirroring of the camera against the stage, on any field with fine structure.

    Example: mobilescope --config scope.toml calibrate stage --json
    """
    from mobilescope.acquire.stage_calibration import CalibrationOptions
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.instruments.stage_calibrating import calibrate_instrument, calibration_path

    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    path = calibration_path(instrument, config, out)
    say(f"instrument: {config.name}")
    options = CalibrationOptions(step_fraction=step, repeats=repeats, max_backlash_um=max_backlash_um)
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        found = calibrate_instrument(
            config, path, source=str(instrument or "built-in instrument"), slide=slide, autofocus_um=autofocus_um,
            options=options, on_progress=progress, stop=stop,
        )
    say(
        f"pixel size {found.pixel_size_um:.4f} µm (±{found.pixel_size_error:.2%}), camera turned by "
        f"{found.rotation_deg:.2f}°{', mirrored' if found.mirrored else ''}; residual {found.residual_um:.2f} µm over "
        f"{found.moves} moves, play {found.backlash_um[0]:.1f} and {found.backlash_um[1]:.1f} µm"
    )
    say(f"calibration: {path}")
    known = config.benchtop.calibration
    if config.benchtop.kind == "micromanager" and (known is None or known.absolute() != path.absolute()):
        say(f'it takes effect with calibration = "{path.absolute()}" in [benchtop] of the instrument file')
    if json:
        print_json({"calibration": str(path), **found.model_dump(mode="json")})


@calibrate_app.command("phone")
def phone(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A registered session (.h5).")],
    out: Annotated[
        Path | None, typer.Option(help="Distortion map to write (.npz); without it distortion.npz beside the session.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Another file of the session's pairs than the default one.")
    ] = None,
    json: Json = False,
) -> None:
    """Average the distortion of the phone's lens over a session's accepted pairs.

    `enhance`, `live` and `register` take the map with --distortion.

    Example: mobilescope calibrate phone demo/session.h5 --out distortion.npz --json
    """
    from mobilescope.app.pairs.distortion import calibrate_distortion

    target = out or session.with_name("distortion.npz")
    with stoppable() as stop, ProgressDisplay() as progress:
        found = calibrate_distortion(session, target, pairs=pairs, on_progress=progress, stop=stop)
    say(
        f"distortion of {found.median_px:.2f} px in the median, at most {found.largest_px:.2f} px, over {found.pairs} "
        f"pairs that spread by {found.spread_px:.2f} px; there and back within {found.inverse_error_px:.3f} px: "
        f"{target}"
    )
    if json:
        print_json(found.to_json())


@calibrate_app.command("light")
def light(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; without it the instrument file's, or phone-light.h5 beside it."),
    ] = None,
    frames: Annotated[int, typer.Option(min=2, max=256, help="How many are taken of each, dark and clear.")] = 8,
    json: Json = False,
) -> None:
    """Picture darkness and clear glass with the phone scope: hot and dead pixels, uneven light, white reference.

    Put a clean slide on the phone scope first, at the exposure of the captures to come. Captures stay as they are;
    what the file says is applied when they are developed. A phone that gives no raw pictures is calibrated by its
    JPEGs: hold its exposure and white balance.

    Example: mobilescope --config scope.toml calibrate light --frames 16
    """
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.instruments.light_calibrating import calibrate_light, light_path

    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    path = light_path(instrument, config, out)
    say(f"instrument: {config.name}")
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        found = calibrate_light(
            config, path, source=str(instrument or "built-in instrument"), frames=frames, on_progress=progress,
            stop=stop,
        )
    red, green, blue = found.gains
    where = "" if found.pictures == "raw" else " in the halved JPEG"
    say(
        f"{found.hot_pixels} hot and {found.dead_pixels} dead pixels{where}; the darkest place has {found.corner:.0%} "
        f"of the light of the brightest; clear glass is neutral with gains {red:.3f}, {green:.3f}, {blue:.3f}"
    )
    say(f"light: {path}")
    known = config.development.calibration
    if known is None or known.absolute() != path.absolute():
        say(f'it takes effect with calibration = "{path.absolute()}" in [development] of the instrument file')
    if json:
        print_json({"calibration": str(path), **found.to_json()})
