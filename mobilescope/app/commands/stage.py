"""The commands `mobilescope stage ...`: where it is, go there, home, its limits, and halt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from mobilescope.app.commands.option_types import Json
from mobilescope.app.terminal.console import print_json, say
from mobilescope.app.terminal.interrupts import raise_unanswered
from mobilescope.core.errors import CancelledError, UserError

if TYPE_CHECKING:
    from mobilescope.core.protocols import XYZStage

stage_app = typer.Typer(name="stage", no_args_is_help=True, help="Ask, move, home and halt a stage.")

Port = Annotated[
    str | None,
    typer.Option("--port", metavar="PORT", help="Serial port, such as /dev/ttyUSB0; else the file's or the one found."),
]
Whose = Literal["phone", "benchtop"] | None
Of = Annotated[
    Whose,
    typer.Option(
        "--of", metavar="phone|benchtop",
        help="Whose stage; else the phone scope's where the instrument file has a [stage], and the benchtop's.",
    ),
]
Place = Annotated[float | None, typer.Option(metavar="UM", help="Where to, in µm; left out, that axis stays.")]


@stage_app.command()
def where(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Say where the stage is; nothing moves.

    Example: mobilescope --config scope.toml stage where --json
    """
    with _opened(context, port, of) as stage:
        _tell(stage, json=json)


@stage_app.command()
def move(
    context: typer.Context,
    x: Place = None,
    y: Place = None,
    z: Place = None,
    relative: Annotated[bool, typer.Option("--relative", help="Go so far from here, not to there.")] = False,
    port: Port = None,
    of: Of = None,
    json: Json = False,
) -> None:
    """Go somewhere and wait until the stage has settled; Ctrl-C stops the motors.

    Example: mobilescope --config scope.toml stage move --x 1500 --y -200
    """
    if x is None and y is None and z is None:
        raise UserError("there is nowhere to go", "give --x, --y or --z, in µm")
    with _opened(context, port, of) as stage, _halted_by_signals(stage):
        at = stage.position()
        zero = (at.x_um, at.y_um, at.z_um) if relative else (0.0, 0.0, 0.0)
        if x is not None or y is not None:
            stage.move_xy(
                at.x_um if x is None else x + zero[0], at.y_um if y is None else y + zero[1]
            )
        if z is not None:
            stage.move_z(z + zero[2])
        _tell(stage, json=json)


@stage_app.command()
def home(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Find the reference switches, which also lifts an alarm; Ctrl-C stops the motors.

    Example: mobilescope --config scope.toml stage home
    """
    _do(context, port, of, "homed", "home", json=json)


@stage_app.command()
def unlock(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Lift an alarm without homing, after a look at the stage: its position may be wrong.

    Example: mobilescope --config scope.toml stage unlock
    """
    _do(context, port, of, "unlocked", "unlock", json=json)


@stage_app.command()
def zero(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Call the place where the stage is now (0, 0, 0): for a Sangaboard, which does not home.

    Example: mobilescope --config scope.toml stage zero
    """
    _do(context, port, of, "zeroed", "zero", json=json)


@stage_app.command()
def limits(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Say how far the stage goes, and its steps where they are known.

    Example: mobilescope --config scope.toml stage limits --json
    """
    from mobilescope.core.protocols import BoundedStage
    from mobilescope.devices.stages import MotorStage

    with _opened(context, port, of) as stage:
        ranges: dict[str, Any] = {"x_um": None, "y_um": None, "z_um": list(stage.z_range_um())}
        if isinstance(stage, BoundedStage):
            ranges["x_um"], ranges["y_um"] = (list(axis) for axis in stage.xy_range_um())
        step_um = list(stage.step_um) if isinstance(stage, MotorStage) else None
        say(f"stage: {stage.describe()}")
        for name, span in ranges.items():
            say(f"{name[0]}: " + ("not known" if span is None else f"{span[0]:g} to {span[1]:g} µm"))
        if step_um:
            say("steps: " + ", ".join(f"{step:g}" for step in step_um) + " µm")
        if json:
            print_json({"stage": stage.describe(), **ranges, "step_um": step_um})


@stage_app.command()
def halt(context: typer.Context, port: Port = None, of: Of = None, json: Json = False) -> None:
    """Stop the motors, whoever set them going.

    A port that another program holds can't be halted from here: Ctrl-C in that program halts its stage.

    Example: mobilescope --config scope.toml stage halt
    """
    with _opened(context, port, of) as stage:
        stop = getattr(stage, "stop", None)
        if stop is None:
            raise UserError(f"{stage.describe()} can't be stopped from here", "it moves only while a program moves it")
        stop()
        _tell(stage, json=json)


@contextmanager
def _opened(context: typer.Context, port: str | None, of: Whose) -> Iterator[XYZStage]:
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.instruments.stage_opening import opened_stage

    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    say(f"instrument: {config.name}")
    with opened_stage(config, source=str(instrument or "built-in instrument"), whose=of, port=port) as stage:
        yield stage


@contextmanager
def _halted_by_signals(stage: XYZStage) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the motors, and say so where that can't be done from here."""

    def on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
        # Whoever waits for a move stops the motors before this goes on.
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        raise_unanswered()
        yield
    except KeyboardInterrupt as asked:
        from mobilescope.devices.stages import MotorStage

        notes = getattr(asked, "__notes__", [])
        if notes:
            raise CancelledError(f"interrupted; {'; '.join(notes)}", "switch the stage off if they do") from None
        if isinstance(stage, MotorStage):
            raise CancelledError(f"halted; {stage.describe()} stands") from None
        remedy = "stop it in the program that drives it"
        raise CancelledError(f"interrupted; {stage.describe()} may still go to where it was sent", remedy) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _do(
    context: typer.Context, port: str | None, of: Whose, done: str, what: Literal["home", "unlock", "zero"], *,
    json: bool,
) -> None:
    """Have a motorised stage do something that other stages don't, and tell where it is afterwards."""
    from mobilescope.devices.stages import MotorStage

    with _opened(context, port, of) as stage, _halted_by_signals(stage):
        if not isinstance(stage, MotorStage):
            raise UserError(f"{stage.describe()} is not {done} from here", "do it in the program that drives it")
        {"home": stage.home, "unlock": stage.unlock, "zero": stage.zero}[what]()
        _tell(stage, json=json)


def _tell(stage: XYZStage, *, json: bool) -> None:
    at = stage.position()
    state = stage.state() if hasattr(stage, "state") else "idle"
    say(f"{stage.describe()}: x {at.x_um:.2f}, y {at.y_um:.2f}, z {at.z_um:.2f} µm, {state}")
    if json:
        print_json({"stage": stage.describe(), "x_um": at.x_um, "y_um": at.y_um, "z_um": at.z_um, "state": state})
