"""The command that scans slides."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilescope.app.commands.option_types import Json, SessionOption
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, say_from_handler, stderr, stoppable

if TYPE_CHECKING:
    from mobilescope.acquire.runner import ScanRunner
    from mobilescope.core.progress import StopToken


def scan(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan (.toml), or useq-schema's (.yaml, .json).")],
    session: SessionOption = Path("session.h5"),
    slide: Annotated[
        list[str] | None,
        typer.Option(help="Only this slide of the plan (may be repeated); for useq-schema, the slide's name."),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Keep a small picture of the scan here while it grows.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="The one slide to scan lies under the objective: nobody is asked.")
    ] = False,
    json: Json = False,
) -> None:
    """Scan the slides of a plan on the benchtop microscope into a session.

    Ctrl-C ends the scan after the tile at hand, and the same command goes on; so it does after a kill. The signal
    USR1 pauses, and goes on. With --yes on a microscope whose slides a person changes, no clear field is pictured.

    Example: mobilescope --config demo/instrument.toml scan demo/plan.toml --session my.h5 --preview scan.png
    """
    from mobilescope.app.acquisition.acquiring import check_plan, open_writer, run_scan, scan_runner
    from mobilescope.app.acquisition.scan_plans import read_plan
    from mobilescope.app.instruments.instrument import build_instruments
    from mobilescope.app.instruments.instrument_file import load_instrument
    from mobilescope.app.pictures.folders import network_disk, prepare_file, prepare_session
    from mobilescope.app.terminal.mounting import ask_in_terminal, lying_there
    from mobilescope.app.terminal.scan_preview import previewing

    job, slides = read_plan(plan, slide or ())
    instrument: Path | None = context.find_root().params.get("config")
    config = load_instrument(instrument)
    prepare_session(session)
    chosen = [job.slide(name) for name in slides] or job.slides
    ask_mount = lying_there([each.mounted for each in chosen]) if yes else ask_in_terminal
    network = network_disk(session)
    if network:
        say(f"warning: {session} lies on a network disk ({network}), where a session can't be read while it grows")
    if preview is not None:
        prepare_file(preview, "a preview", [".png"])
    say(f"instrument: {config.name}")
    with ExitStack() as stack:
        source = str(instrument or "built-in instrument")
        instruments = stack.enter_context(build_instruments(config, source=source, ask_mount=ask_mount))
        stop = stack.enter_context(stoppable())
        progress = stack.enter_context(ProgressDisplay())
        check_plan(job, instruments, slides)
        writer = stack.enter_context(open_writer(session, job, instruments, on_progress=progress))
        if preview is not None and not network:
            stack.enter_context(previewing(session, preview))
        runner = scan_runner(
            writer, job, instruments, slides=slides, wait_for_room=stderr.is_terminal, on_progress=progress, stop=stop
        )
        stack.enter_context(_told_by_signals(runner, stop))
        last = run_scan(runner, writer, instruments, clear_field=not (yes and instruments.changed_by_hand))
    marks = marks_of(session)
    for name, counts in marks.items():
        if counts:
            say(f"{name}: " + ", ".join(f"{count} {mark}" for mark, count in sorted(counts.items())))
    for name, count in last.left_out.items():
        say(f"warning: {name}: max_tiles is reached, and the specimen may go on over {count} tiles beside the scan")
    say(f"session: {session}")
    if json:
        print_json({
            "session": str(session), "slides": counts_of(session), "marks": marks, "left_out": dict(last.left_out),
        })


@contextmanager
def _told_by_signals(runner: ScanRunner, stop: StopToken) -> Iterator[None]:
    """Let SIGUSR1 pause and go on, and SIGTERM end the scan after the tile at hand."""
    paused = False

    def on_pause(_number: int, _frame: FrameType | None) -> None:
        nonlocal paused
        paused = not paused
        (runner.pause if paused else runner.resume)()
        say_from_handler("pausing after this tile; the signal USR1 goes on" if paused else "going on")

    def on_end(_number: int, _frame: FrameType | None) -> None:
        stop.request()
        say_from_handler("stopping at the next safe point")

    before = [(number, signal.signal(number, handler)) for number, handler in (
        (signal.SIGUSR1, on_pause), (signal.SIGTERM, on_end),
    )]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def counts_of(session: Path) -> dict[str, dict[str, int]]:
    """Return how many tiles and captures each slide of a session has."""
    from mobilescope.data.session import Session

    with Session.open(session) as opened:
        return {
            slide.name: {"tiles": len(opened.tiles(slide.name)), "captures": len(opened.captures(slide.name))}
            for slide in opened.slides
        }


def marks_of(session: Path) -> dict[str, dict[str, int]]:
    """Return how many tiles of each slide bear each mark, in their latest attempt."""
    from mobilescope.data.session import Session

    marks: dict[str, dict[str, int]] = {}
    with Session.open(session) as opened:
        for slide in opened.slides:
            records: list[Any] = opened.tiles(slide.name)
            marks[slide.name] = dict(Counter(mark for tile in records for mark in tile.mark.split(",") if mark))
    return marks
