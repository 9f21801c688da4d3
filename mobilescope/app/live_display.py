"""What a live run shows without a window: a status line, drawn in place on a terminal and now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.status import Status

from mobilescope.app.console import say, stderr
from mobilescope.app.live import LiveRun
from mobilescope.enhance.live_words import status_line

_LOOK_S = 0.1
_LINE_EVERY_S = 2.0


def watch(run: LiveRun, told: threading.Event, *, seconds: float | None) -> None:
    """Show a run's status until it ends, is told to, or its seconds are over; raises what failed in it."""
    until_s = None if seconds is None else time.monotonic() + seconds
    with status_place() as put:
        while not told.is_set() and not run.pipeline.wait(_LOOK_S):
            put(status_line(run.pipeline.snapshot(), run.ladder.status()))
            if until_s is not None and time.monotonic() >= until_s:
                break


class _Lines:
    """Puts a line now and then."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            say(text)


@contextmanager
def status_place() -> Iterator[_Lines | StatusLine]:
    """Yield what puts a status line: in place on a terminal, now and then elsewhere."""
    if not stderr.is_terminal:
        yield _Lines()
        return
    with stderr.status("starting") as status:
        yield StatusLine(status)


class StatusLine:
    """Puts a line in the place of the one before."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, text: str) -> None:
        """Show the line."""
        self._status.update(text.replace("[", r"\["))
