"""Asking the person at a real microscope to change the slide."""

from __future__ import annotations

import sys

from mobilescope.app.console import say
from mobilescope.core.errors import UserError


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
    say(f"Put slide {slide!r} under the objective, focused roughly, then press Enter (Ctrl-C ends).")
    if not sys.stdin.readline():
        raise UserError(f"slide {slide!r} was not confirmed", "run the command in a terminal, and press Enter there")
