"""The command that captures fields with the phone scope."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Json, PlanFile, SessionOption
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable


def capture(
    context: typer.Context,
    plan: PlanFile,
    session: SessionOption = Path("session.h5"),
    slide: Annotated[list[str] | None, typer.Option(help="Only this slide of the plan (may be repeated).")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="The one slide to capture lies on the phone scope: nobody is asked.")
    ] = False,
    json: Json = False,
) -> None:
    """Capture the fields of a plan with the phone scope into a session.

    The phone is the one of the instrument file's [phone]: the twin's, or a real one, live or through a folder in which
    its pictures arrive. A stage in [stage] goes to the fields; without one, a person at the terminal is asked. Ctrl-C
    ends it, also in mid-wait, and the same command goes on; so it does after a kill. The benchtop is not opened.

    Example: mobilescope --config scope.toml capture plan.toml --session my.h5
    """
    from mobilescope.app.acquisition.acquiring import (
        capture_job,
        captured_slides,
        check_lights,
        link_notes,
        open_writer,
    )
    from mobilescope.app.commands.scan import counts_of
    from mobilescope.app.instruments.instrument import build_instruments
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.instruments.paper_benchtop import paper_benchtop
    from mobilescope.app.instruments.phone_opening import ask_for_phone
    from mobilescope.app.pictures.folders import prepare_session
    from mobilescope.app.terminal.mounting import lying_there
    from mobilescope.plans.job import load_plan

    instrument: Path | None = context.find_root().params.get("config")
    job, config = load_plan(plan), load_instrument(instrument)
    source = str(instrument or "built-in instrument")
    chosen = captured_slides(job, slide or ())
    prepare_session(session)
    ask_mount = lying_there([each.mounted for each in chosen]) if yes else ask_for_phone
    say(f"instrument: {config.name}")
    if config.phone.kind != "twin" and config.ring.kind == "simulated":
        say("warning: the phone is real and the ring simulated: the light that is stored is not what lights the slide")
    with ExitStack() as stack:
        paper = paper_benchtop(config.benchtop, source=source, session=session)
        instruments = stack.enter_context(
            build_instruments(config, source=source, ask_phone_mount=ask_mount, paper=paper)
        )
        stop = stack.enter_context(stoppable())
        progress = stack.enter_context(ProgressDisplay())
        if not session.exists():
            check_lights(job, instruments)
        writer = stack.enter_context(open_writer(session, job, instruments, captures=True, on_progress=progress))
        if config.phone.kind != "twin":
            for note in link_notes(writer, chosen, instruments):
                say(note)
        capture_job(writer, job, instruments, slides=slide or (), on_progress=progress, stop=stop)
    say(f"session: {session}")
    if json:
        print_json({"session": str(session), "slides": counts_of(session)})
