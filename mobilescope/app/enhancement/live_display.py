"""What a live run shows without a window: a status line, drawn in place on a terminal and now and then elsewhere."""

from __future__ import annotations

import threading
import time

from mobilescope.app.enhancement.live import LiveRun
from mobilescope.app.terminal.status_lines import status_place
from mobilescope.enhance.live_words import status_line

_LOOK_S = 0.1


def watch(run: LiveRun, told: threading.Event, *, seconds: float | None) -> None:
    """Show a run's status until it ends, is told to, or its seconds are over; raises what failed in it."""
    until_s = None if seconds is None else time.monotonic() + seconds
    with status_place() as put:
        while not told.is_set() and not run.pipeline.wait(_LOOK_S):
            put(status_line(run.pipeline.snapshot(), run.ladder.status()))
            if until_s is not None and time.monotonic() >= until_s:
                break
