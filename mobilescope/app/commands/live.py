"""The command of the live view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilescope.app.commands.option_types import Device, Json
from mobilescope.app.terminal.console import print_json, say

if TYPE_CHECKING:
    import threading

    from mobilescope.app.enhancement.live import LiveOptions, LiveRun


def live(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="A model file (.pt); without one, demo/model.pt.")
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="twin, twin:SLIDE, phone, camera:0, a URL, a video file or a folder.")
    ] = "twin",
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Rate to hold, and a folder's pace.")] = 15.0,
    region: Annotated[
        str | None, typer.Option(metavar="R,C,H,W", help="Row, column, height, width in input pixels.")
    ] = None,
    rung: Annotated[str, typer.Option(help="auto, full, region, distilled or colour.")] = "auto",
    fast_model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="A small network distilled from the model.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many enhanced frames.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Save an input and its enhanced picture every two seconds.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Files, folders: every frame, as fast as it goes.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Files, folders: begin again at the end.")] = False,
    pixel_size_um: Annotated[
        float | None, typer.Option("--pixel-size-um", min=0.01, max=100, help="Pixel size of camera, file or folder.")
    ] = None,
    no_window: Annotated[bool, typer.Option("--no-window", help="Only a status line.")] = False,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Images for int8 to measure on: an image, a folder, or a session's training inputs."),
    ] = None,
    distortion: Annotated[
        Path | None,
        typer.Option(help="Distortion map of the phone (mobilescope calibrate phone): straighten the frames first."),
    ] = None,
    json: Json = False,
) -> None:
    """Enhance a live stream and show it beside what came in, with its rate, its delay and how far to trust it.

    Where the machine is too slow for the rate, a simpler way to enhance is picked and named. Where the folder of
    --record fails, the picture goes on, and the exit status at the end is 1. Ctrl-C ends it.

    Example: mobilescope live demo/model.pt --source twin --fps 10 --seconds 20 --no-window --json
    """
    from mobilescope.app.enhancement.live import LiveOptions, find_model, instrument_beside
    from mobilescope.app.instruments.live_sources import SourceOptions

    found = find_model(model)
    instrument = context.find_root().params.get("config")
    if instrument is None and source.partition(":")[0] == "twin":
        instrument = instrument_beside(found)
    options = LiveOptions(
        model=found,
        source=SourceOptions(
            source, instrument=instrument, frames_per_s=fps, every_frame=fast, loop=loop, pixel_size_um=pixel_size_um
        ),
        frames_per_s=fps, region=region, rung=rung, fast_model=fast_model, frames=frames, record=record, device=device,
        precision=precision, calibration=calibration, distortion=distortion,
    )
    run = _run(options, seconds=seconds, window=not no_window)
    summary = run.summary()
    say(
        f"{summary['frames']} frames in {summary['seconds']:.1f} s ({summary['fps']:.1f} frames/s), "
        f"{summary['dropped']} dropped; last on the rung {summary['rung']}: {summary['reason']}"
    )
    if record is not None:
        end = ", then recording stopped" if run.trouble else ""
        say(f"{summary['recorded']} pairs of pictures{end}: {record}")
    if json:
        print_json(summary)
    if run.trouble:
        raise typer.Exit(1)


def _run(options: LiveOptions, *, seconds: float | None, window: bool) -> LiveRun:
    """Run until the end, in a window where there can be one."""
    from mobilescope.app.terminal.signals import until_told

    with until_told() as told:
        if window:
            from mobilescope_gui.qt_environment import why_no_window

            problem = why_no_window()
            if problem is None:
                return _in_window(options, told, seconds=seconds)
            say(f"no window: {problem}")
        return _in_terminal(options, told, seconds=seconds)


def _in_terminal(options: LiveOptions, told: threading.Event, *, seconds: float | None) -> LiveRun:
    from mobilescope.app.enhancement.live import live_run
    from mobilescope.app.enhancement.live_display import watch

    with live_run(options, show=lambda _picture: None, on_change=_say_change, on_trouble=say) as run:
        _say_start(run)
        watch(run, told, seconds=seconds)
    return run


def _in_window(options: LiveOptions, told: threading.Event, *, seconds: float | None) -> LiveRun:
    from mobilescope.app.enhancement.live import live_run
    from mobilescope_gui.live_window import LiveWindow, application, run_until_closed

    with application():
        window = LiveWindow()
        with live_run(
            options, show=window.show_enhanced, preview=window.show_input, on_change=_say_change, on_trouble=say
        ) as run:
            _say_start(run)
            window.drive(run)
            run_until_closed(window, told, seconds=seconds)
    return run


def _say_start(run: LiveRun) -> None:
    say(f"source: {run.source.name}")
    say(f"engine: {run.engine}")


def _say_change(change: object) -> None:
    from mobilescope.enhance.rung_controller import RungChange

    assert isinstance(change, RungChange)
    say(f"rung: {change.before} -> {change.after} ({change.reason})")
