"""Asking the person at a real microscope to change the slide."""

from __future__ import annotations

import sys

from mobilescope.app.console import say
from mobilescope.core.errors import UserError
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
            "run the command in a terminal; a program of your own gives ask_mount to build_instruments",
        )
    what = "a clear place, or a blank slide," if slide == BLANK else f"slide {slide!r}"
    say(f"Put {what} under the objective, focused roughly, then press Enter (Ctrl-C ends).")
    if not sys.stdin.readline():
        raise UserError(f"slide {slide!r} was not confirmed", "run the command in a terminal, and press Enter there")
