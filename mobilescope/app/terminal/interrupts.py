"""Ctrl-C before a command answers it in its own way: none is lost, wherever Python is when it comes."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

_heard = False


def hear_interrupts() -> None:
    """Remember each Ctrl-C besides raising it as KeyboardInterrupt, which Python's own handler only raises.

    Python can't pass on an exception that is raised in a finalizer or in the callback of a weak reference: it prints
    it and goes on, and every import runs such a callback. A program that was started deaf to Ctrl-C, as a shell's
    script starts those in its background, stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    signal.signal(signal.SIGINT, _hear)
    sys.unraisablehook = _tell_all_but_interrupts


def raise_unanswered() -> None:
    """Raise KeyboardInterrupt where a Ctrl-C came before, which must have been swallowed for the program to come here.

    Whoever puts another handler into the place of this one calls it afterwards.
    """
    if _heard:
        raise KeyboardInterrupt


def _hear(_number: int, _frame: FrameType | None) -> None:
    global _heard  # one process has one Ctrl-C
    _heard = True
    raise KeyboardInterrupt


def _tell_all_but_interrupts(unraisable: Any) -> None:
    """Stand in for `sys.unraisablehook`: a swallowed interrupt is answered soon, and a traceback would alarm."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
