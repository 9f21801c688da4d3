"""The command line: parse, call one function, print."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

import mobilescope
from mobilescope.app.commands.calibrate import calibrate_app
from mobilescope.app.commands.capture import capture
from mobilescope.app.commands.dataset import dataset
from mobilescope.app.commands.devices import devices
from mobilescope.app.commands.enhance import enhance
from mobilescope.app.commands.evaluate import evaluate
from mobilescope.app.commands.export import export
from mobilescope.app.commands.firmware import firmware_app
from mobilescope.app.commands.ingest import ingest
from mobilescope.app.commands.inspect import inspect
from mobilescope.app.commands.live import live
from mobilescope.app.commands.option_types import Json
from mobilescope.app.commands.pair import pair
from mobilescope.app.commands.phone import phone
from mobilescope.app.commands.register import register
from mobilescope.app.commands.repair import repair
from mobilescope.app.commands.ring import ring_app
from mobilescope.app.commands.scan import scan
from mobilescope.app.commands.stage import stage_app
from mobilescope.app.commands.stitch import stitch
from mobilescope.app.commands.train import train
from mobilescope.app.terminal.console import (
    ProgressDisplay,
    print_json,
    reporting_errors,
    say,
    showing_warnings,
    stoppable,
)
from mobilescope.core.errors import UserError


class _Commands(TyperGroup):
    """The commands, with errors and Ctrl-C answered here: Typer would answer an interrupt without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; every error that a user can mend is one line and an exit status."""
        with reporting_errors():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command whose help fills the terminal's lines, not the docstring's, and shows all of its text."""
        command = super().get_command(ctx, cmd_name)
        for each in (command, *getattr(command, "commands", {}).values()):
            if each is None or getattr(each, "is_shown_whole", False):
                continue
            each.is_shown_whole = True
            if each.help:
                parts = (" ".join(part.split()) for part in cleandoc(each.help).split("\n\n"))
                each.help = escape("\n\n".join(parts))
            for parameter in each.params:
                # A table's name as [stage] would be taken for Rich's markup, and vanish.
                parameter.help = escape(getattr(parameter, "help", None) or "")
        return command


app = typer.Typer(
    name="mobilescope", cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Paired phone and benchtop microscopy: scan, register, train, enhance, and say how far to trust it.",
)

app.add_typer(ring_app)
app.add_typer(stage_app)
app.add_typer(firmware_app)
app.add_typer(calibrate_app)
app.command()(devices)

def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(mobilescope.__version__)
        raise typer.Exit


@app.callback()
def main_options(
    config: Annotated[Path | None, typer.Option(help="Instrument file (.toml); without one it is the twin.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep the options that stand before the command: they read ``config`` from this one's parameters."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder that takes everything; an interrupted run there goes on.")] = Path(
        "demo"
    ),
    specimen: Annotated[
        list[str] | None,
        typer.Option(
            help="blood, h&e or trichrome, or image files: several (each a slide; repeat the option or list them after "
            "it), or one, which is cut in three."
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", hidden=True)] = None,
    pixel_size_um: Annotated[
        float | None, typer.Option("--pixel-size-um", min=0.01, max=10, help="Pixel size of the specimen images.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of specimens and instruments.")] = 0,
    training_seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the training.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of the quick preset's.")] = None,
    json: Json = False,
) -> None:
    """Run the whole job on the digital twin: scan, capture, stitch, register, train, evaluate, report.

    Example: mobilescope demo --out demo --json
    """
    from mobilescope.app.demo import DemoOptions, run_demo

    stain, images = _specimens([*(specimen or []), *(more or [])])
    options = DemoOptions(
        out=out, seed=seed, training_seed=training_seed, stain=stain, images=images, pixel_size_um=pixel_size_um,
        steps=steps,
    )
    say("instrument: digital twin (no hardware is used)")
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        result = run_demo(options, on_progress=progress, stop=stop)
    summary = result.to_json()
    blind = summary["blind"]
    say(
        f"blind slide, {blind['fields']} fields: SSIM {blind['ssim_bicubic']:.3f} bicubic, "
        f"{blind['ssim_colour']:.3f} with colour matrix, {blind['ssim_network']:.3f} network; "
        f"CIE-94 {blind['cie94_raw']:.2f} raw, {blind['cie94_network']:.2f} network"
    )
    say("seconds: " + ", ".join(f"{stage} {value:.0f}" for stage, value in summary["seconds"].items()))
    say(f"report: {result.report}")
    if json:
        print_json(summary)


def _specimens(given: list[str]) -> tuple[str, tuple[Path, ...]]:
    """Return the stain of a procedural specimen, or the image files."""
    stains = ("blood", "h&e", "trichrome")
    if not given:
        return "blood", ()
    if len(given) == 1 and given[0] in stains:
        return given[0], ()
    named = [name for name in given if name in stains]
    if named:
        raise UserError(f"{named[0]!r} is a procedural specimen and stands alone", "give it alone, or only image files")
    return "image", tuple(Path(name) for name in given)


for command in (
    scan, capture, ingest, phone, pair, stitch, register, dataset, train, evaluate, enhance, live, inspect, repair,
    export,
):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    app()
