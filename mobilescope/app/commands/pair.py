"""The command of the guided paired session."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilescope.app.commands.option_types import Json, PlanFile, SessionOption
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import CancelledError, UserError

if TYPE_CHECKING:
    from mobilescope.imaging.frame_link import LinkPoint


def pair(
    context: typer.Context,
    plan: PlanFile,
    session: SessionOption = Path("session.h5"),
    slide: Annotated[list[str] | None, typer.Option(help="Only this slide of the plan (may be repeated).")] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x1,y1=X1,Y1|auto",
            help="A place that is seen on both instruments: the phone scope's µm, then the benchtop's. Three times or "
            "more; or auto: a few fields are found in the stitched mosaic.",
        ),
    ] = None,
    from_session: Annotated[
        bool, typer.Option("--from-session", help="Pair the captures that the session has; no instrument is moved.")
    ] = False,
    retakes: Annotated[int, typer.Option(min=0, max=20, help="How often a refused field is taken again unasked.")] = 2,
    retake: Annotated[
        bool, typer.Option("--retake", help="Take fields again that were refused in an earlier run.")
    ] = False,
    suggest: Annotated[
        int, typer.Option(min=0, max=1000, help="Fields to add to the plan's, where specimen is and no pair yet.")
    ] = 0,
    focus: Annotated[
        bool, typer.Option("--focus", help="Search the phone scope's focus at each field, with its motorised stage.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nobody: what is refused after its retakes is kept as refused.")
    ] = False,
    json: Json = False,
) -> None:
    """Pair fields of the phone scope with the same fields on the benchtop, each with a verdict, into a session.

    Each planned field is captured with the phone scope and found on the benchtop's side: in the stitched mosaic, or in
    tiles, which are taken where they are missing. A field that is refused is taken again, then left to you. Captures
    that the session has already (phone first, scan later) are found first. Ctrl-C ends after the field at hand, and
    the same command goes on; so it does after a kill.

    Example: mobilescope --config demo/instrument.toml pair demo/plan.toml --session my.h5 --yes

    Example: mobilescope --config scope.toml pair plan.toml --session my.h5 --link 0,0=1520,310 --link 900,0=2418,335
    --link 0,700=1500,1011
    """
    from mobilescope.app.acquisition.acquiring import open_writer
    from mobilescope.app.instruments.instrument import build_instruments
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.instruments.paper_benchtop import paper_benchtop
    from mobilescope.app.instruments.phone_opening import ask_for_phone
    from mobilescope.app.paired_sessions.coverage_map import coverage_path, write_coverage_map
    from mobilescope.app.paired_sessions.pair_opening import phone_focus, place_finder, starting_points
    from mobilescope.app.paired_sessions.pair_operator import Person, StandIn
    from mobilescope.app.paired_sessions.pair_session import PairRequest, SessionPairing
    from mobilescope.app.paired_sessions.pair_summary import summarise
    from mobilescope.app.pictures.folders import prepare_session
    from mobilescope.app.terminal.mounting import ask_in_terminal, lying_there
    from mobilescope.plans.job import load_plan

    job = load_plan(plan)
    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    chosen = [job.slide(name).name for name in slide or ()]
    automatic, points = _links(link or [])
    prepare_session(session)
    if from_session and not session.exists():
        raise UserError(f"there is no session {session} to pair from", "capture first, or leave --from-session out")
    # The first slide lies there; what else is to be mounted is refused when it is come to.
    first = job.slide(chosen[0]).mounted if chosen else job.slides[0].mounted
    ask_mount, ask_phone = (lying_there([first]),) * 2 if yes else (ask_in_terminal, ask_for_phone)
    source = str(instrument or "built-in instrument")
    paper = paper_benchtop(config.benchtop, source=source, session=session) if from_session else None
    stopped: CancelledError | None = None
    say(f"instrument: {config.name}")
    with (
        build_instruments(
            config, source=source, ask_mount=ask_mount, ask_phone_mount=ask_phone, paper=paper
        ) as instruments,
        stoppable() as stop, ProgressDisplay() as progress, open_writer(
            session, job, instruments, captures=True, on_progress=progress
        ) as writer,
    ):
        if not from_session and not automatic and not points:
            automatic, points = starting_points(config, session, chosen or [each.name for each in job.slides], yes=yes)
        request = PairRequest(
            points=points, automatic=automatic, stored_only=from_session, retake=retake, suggest=suggest,
            retakes=retakes, clear_field=not (yes and instruments.changed_by_hand),
        )
        pairing = SessionPairing(
            writer, job, instruments, StandIn() if yes or not sys.stdin.isatty() else Person(), request,
            partial(place_finder, stop=stop), focus=phone_focus(instruments.phone).focus if focus else None,
            on_progress=progress, stop=stop,
        )
        try:
            pairing.pair(chosen)
        except CancelledError as error:
            stopped = error
    summaries = summarise(session, pairing.run.slides, chosen)
    picture = coverage_path(session)
    write_coverage_map(summaries, picture)
    for summary in summaries:
        for line in summary.lines():
            say(line)
    say(f"coverage map: {picture}")
    say(f"session: {session}")
    if stopped is not None:
        raise stopped
    if json:
        print_json({
            "session": str(session), "coverage_map": str(picture),
            "slides": {summary.slide: summary.to_json() for summary in summaries},
        })


def _links(given: list[str]) -> tuple[bool, tuple[LinkPoint, ...]]:
    """Return whether the link is to be found, and the places that were given."""
    from mobilescope.app.paired_sessions.pair_operator import read_point

    if "auto" in given:
        if len(given) > 1:
            raise UserError("--link auto finds the places itself", "give auto alone, or three places")
        return True, ()
    points = tuple(read_point(text) for text in given)
    if points:
        from mobilescope.imaging.frame_link import FrameLink

        FrameLink.through(points)
    return False, points
