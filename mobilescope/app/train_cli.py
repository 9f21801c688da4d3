"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mobilescope.app.cli_types import Device, Json, SessionFile
from mobilescope.app.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import CancelledError


def train(
    session: SessionFile,
    out: Annotated[Path, typer.Option(help="Model file to write; an interrupted run goes on.")] = Path("model.pt"),
    preset: Annotated[str, typer.Option(help="quick or r18.")] = "quick",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of the preset's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train the enhancement network on a session's accepted pairs.

    Ctrl-C stops at the next step and keeps the best model; the same command goes on.

    Example: mobilescope train demo/session.h5 --out model.pt --preset quick
    """
    from mobilescope.app.folders import prepare_file
    from mobilescope.app.pairing import registered_pairs
    from mobilescope.learn.presets import preset as find_preset
    from mobilescope.learn.train import train as run_training

    changes: dict[str, Any] = {"seed": seed} | ({} if steps is None else {"steps": steps})
    config = find_preset(preset).model_copy(update=changes)
    pairs = registered_pairs(session)
    prepare_file(out)
    with stoppable() as stop, ProgressDisplay() as progress:
        result = run_training(pairs, out, config, device=device, on_progress=progress, stop=stop)
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
