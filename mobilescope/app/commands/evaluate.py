"""The command that evaluates a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Device, Json, ModelFile, SessionFile
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable


def evaluate(
    context: typer.Context,
    model: ModelFile,
    session: SessionFile,
    report: Annotated[Path, typer.Option(help="HTML report to write; the scores go beside it as CSV.")] = Path(
        "report.html"
    ),
    force: Annotated[bool, typer.Option(help="Evaluate also on slides that the model was trained on.")] = False,
    jpeg: Annotated[bool, typer.Option("--jpeg", help="Also from inputs compressed as JPEG to several sizes.")] = False,
    usaf: Annotated[
        bool, typer.Option("--usaf", help="Also the contrast of a USAF 1951 target, taken with the instrument.")
    ] = False,
    focus_stack: Annotated[
        bool, typer.Option("--focus-stack", help="Also the depth of field, from blind fields taken out of focus.")
    ] = False,
    models: Annotated[
        list[Path] | None, typer.Option("--model", metavar="MODEL", help="Another model for the cross-stain matrix.")
    ] = None,
    sessions: Annotated[
        list[Path] | None,
        typer.Option("--session", metavar="SESSION", help="Another session for the matrix (both may be repeated)."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Evaluate a model on a session's blind slides: SSIM and CIE-94 against the benchtop, with baselines.

    SESSION is a session or a file of its pairs. --usaf and --focus-stack take new pictures with the session's
    instrument, or with that of --config.

    Example: mobilescope evaluate demo/model.pt demo/session.h5 --report report.html --jpeg
    """
    from mobilescope.app.evaluation import score_files
    from mobilescope.app.evaluation.evaluating import Extras, evaluate_session
    from mobilescope.app.evaluation.score_tables import colour_table, gain_table, method_table
    from mobilescope.app.pictures.folders import prepare_file

    prepare_file(report, "a report", [".html", ".htm"])
    config = context.parent.params.get("config") if context.parent is not None else None
    extras = Extras(jpeg, usaf, focus_stack, tuple(models or ()), tuple(sessions or ()), config)
    with stoppable() as stop, ProgressDisplay() as progress:
        result = evaluate_session(
            session, model, report, {}, force=force, device=device, extras=extras, on_progress=progress, stop=stop
        )
    scores = result.evaluation
    tables = [method_table(scores), gain_table(scores), colour_table(scores)]
    for table in (*tables, *(table for section in result.sections() for table in section.tables)):
        for line in table.lines():
            say(line)
        say("")
    say(f"report: {report}")
    if json:
        facts = {"report": str(report), **score_files.evaluation_json(scores)}
        if result.jpeg is not None:
            facts["jpeg"] = score_files.jpeg_json(result.jpeg)
        if result.cross:
            facts["cross"] = score_files.cross_json(result.cross)
        if result.target is not None:
            facts["target"] = score_files.target_json(result.target)
        if result.focus_stack is not None:
            facts["focus_stack"] = score_files.stack_json(result.focus_stack)
        print_json(facts)
