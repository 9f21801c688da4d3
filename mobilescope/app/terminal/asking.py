"""Asking the person at the terminal to do something, and waiting until it is done."""

from __future__ import annotations

import select
import sys

from mobilescope.app.terminal.console import say
from mobilescope.core.errors import UserError
from mobilescope.core.progress import StopToken

_POLL_S = 0.2


def ask_person(
    request: str, stop: StopToken | None = None, *, otherwise: str = "run the command in a terminal"
) -> None:
    """Show a request and wait for Enter.

    Parameters
    ----------
    stop : StopToken, optional
        Ends the waiting.
    otherwise : str
        What can be done where there is nobody to ask.

    Raises
    ------
    UserError
        Nobody can answer: standard input is not a terminal, or has ended.
    CancelledError
        A stop was asked for.
    """
    if not sys.stdin.isatty():
        raise UserError(f"a person has to {request}, and nobody can be asked here", otherwise)
    say(f"{request[0].upper()}{request[1:]}, then press Enter (Ctrl-C ends).")
    while stop is not None and not select.select([sys.stdin], [], [], _POLL_S)[0]:
        stop.raise_if_requested("waiting for Enter")
    if not sys.stdin.readline():
        raise UserError("nobody answered", "run the command in a terminal, and press Enter there")
