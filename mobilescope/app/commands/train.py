"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mobilescope.app.commands.option_types import Device, Json
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, showing_warnings, stoppable
from mobilescope.core.errors import CancelledError, UserError


def train(
    session: Annotated[
        list[Path],
        typer.Argument(metavar="SESSION...", help="Registered sessions, or pair files (.h5) of one warp and factor."),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write; an interrupted run goes on.")] = Path("model.pt"),
    preset: Annotated[
        str | None,
        typer.Option(help="quick, r18, r17, universal (several stains) or distilled.", show_default="quick"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes through all patches, instead of steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches in a step, instead of the preset's.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after so many validations without a better one.")
    ] = None,
    distil: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Train a small network towards this model's pictures.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights and order.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read patches from the disk, for more than fits in memory.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard's files beside the model.")] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train the enhancement network on the accepted pairs of one or several sessions.

    Ctrl-C stops at the next step and keeps the best model; the same command goes on. The log (.csv) and pictures of
    validation fields (.panels) stand beside the model. On several GPUs start it with torchrun.

    Example: mobilescope train demo/session.h5 --out model.pt --preset quick
    """
    from mobilescope.app.pairs.pairing import registered_pairs
    from mobilescope.app.pictures.folders import prepare_file
    from mobilescope.learn.feed import DataOptions
    from mobilescope.learn.presets import preset as find_preset
    from mobilescope.learn.ranks import is_main_process
    from mobilescope.learn.train import train as run_training

    if steps is not None and epochs is not None:
        raise UserError("--steps and --epochs both say how long to train", "give one of them")
    prepare_file(out, "a model", [".pt"])
    if distil is not None and out.exists() and distil.exists() and out.samefile(distil):
        raise UserError(f"{out} is the teacher itself", "give another --out for its student")
    chosen = find_preset(preset or ("quick" if distil is None else "distilled"))
    changes: dict[str, Any] = {"steps": steps, "epochs": epochs, "batch": batch, "patience": patience}
    changes = {name: value for name, value in changes.items() if value is not None} | {"seed": seed}
    pairs = [registered_pairs(path) for path in session]
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        result = run_training(
            pairs, out, chosen.model_copy(update=changes), device=device, data=DataOptions(workers=workers),
            teacher=distil, tensorboard=tensorboard, on_progress=progress, stop=stop,
        )
    if not is_main_process():
        return
    say(
        f"{result.steps} steps on {result.patches} patches in {result.seconds:.0f} s; best at step {result.best_step}: "
        f"validation SSIM {result.validation_ssim:.4f}; model {result.model}"
    )
    if result.stopped:
        raise CancelledError(f"training stopped at step {result.steps}; {out} holds the best so far",
                             "run the same command to go on")
    if json:
        print_json({
            "model": str(result.model), "steps": result.steps, "best_step": result.best_step,
            "validation_ssim": result.validation_ssim, "validation_loss": result.validation_loss,
            "seconds": result.seconds,
        })
