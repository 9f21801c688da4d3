"""The command that evaluates a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.cli_types import Device, Json, ModelFile, SessionFile
from mobilescope.app.console import ProgressDisplay, print_json, say, stoppable


def evaluate(
    model: ModelFile,
    session: SessionFile,
    report: Annotated[Path, typer.Option(help="HTML report to write; the scores go beside it as CSV.")] = Path(
        "report.html"
    ),
    force: Annotated[bool, typer.Option(help="Evaluate also on slides that the model was trained on.")] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Evaluate a model on a session's blind slides: SSIM and CIE-94 against the benchtop, with baselines.

    Example: mobilescope evaluate demo/model.pt demo/session.h5 --report report.html
    """
    from mobilescope.app.evaluating import evaluate_session
    from mobilescope.app.folders import prepare_file
    from mobilescope.app.report import score_lines
    from mobilescope.learn.evaluate import METHODS

    prepare_file(report)
    with stoppable() as stop, ProgressDisplay() as progress:
        result = evaluate_session(
            session, model, report, {}, force=force, device=device, on_progress=progress, stop=stop
        )
    for line in score_lines(result):
        say(line)
    say(f"report: {report}")
    if json:
        metrics = ("ssim", "ssim_rgb", "cie94", "psnr_db", "detail")
        print_json({
            "report": str(report), "fields": len(result.fields), "trained_on": list(result.trained_on),
            **{m: {k: result.interval(m, k).__dict__ for k in metrics} for m in METHODS},
        })
