"""Asking the person at a real microscope to change the slide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from mobilescope.app.terminal.console import say
from mobilescope.core.errors import PlanError, UserError
from mobilescope.twin.slides import BLANK


def ask_in_terminal(slide: str) -> None:
    """Ask for a slide and wait for Enter.

    Raises
    ------
    UserError
        Nobody can answer: standard input is not a terminal, or has ended.
    """
    if not sys.stdin.isatty():
        raise UserError(
            f"slide {slide!r} has to be put under the objective, and nobody can be asked here",
            "run the command in a terminal, or scan one slide that lies there already with --yes; "
            "a program of your own gives ask_mount to build_instruments",
        )
    what = "a clear place, or a blank slide," if slide == BLANK else f"slide {slide!r}"
    say(f"Put {what} under the objective, focused roughly, then press Enter (Ctrl-C ends).")
    if not sys.stdin.readline():
        raise UserError(f"slide {slide!r} was not confirmed", "run the command in a terminal, and press Enter there")


def lying_there(slides: Sequence[str]) -> Callable[[str], None]:
    """Return what takes a microscope's word instead of asking: the one slide of a scan lies under the objective.

    Raises
    ------
    PlanError
        There are several slides, which somebody has to change.
    """
    first = slides[0]
    others = [slide for slide in slides if slide != first]
    if others:
        raise PlanError(
            f"--yes is for one slide that lies there already, and this plan has {first!r} and {others[0]!r}",
            "choose one with --slide, or run the command in a terminal without --yes",
        )

    def confirm(slide: str) -> None:
        if slide != first:
            raise UserError(f"slide {slide!r} has to be put under the objective, and only {first!r} lies there")

    return confirm
