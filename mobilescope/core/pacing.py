"""When the frames of a stream are due that has no clock of its own: a file, a folder, the twin."""

from __future__ import annotations

import math
import time
from threading import Event


class Pace:
    """Numbers of frames as they fall due, one each ``interval_s``; those that nobody asked for in time are skipped.

    Parameters
    ----------
    interval_s : float or None
        Seconds between frames; None gives the next one at once whenever asked.
    """

    def __init__(self, interval_s: float | None) -> None:
        if interval_s is not None and not (interval_s > 0 and math.isfinite(interval_s)):
            raise ValueError(f"an interval of {interval_s} s between frames")
        self._interval_s = interval_s
        self._start_s: float | None = None
        self._closed = Event()

    def wait_after(self, index: int) -> int | None:
        """Wait until a frame after ``index`` is due; return the newest such number, None once closed.

        Frame 0 is due when this is first called.
        """
        if self._interval_s is None:
            return None if self._closed.is_set() else index + 1
        if self._start_s is None:
            self._start_s = time.monotonic()
        due_in_s = (index + 1) * self._interval_s - (time.monotonic() - self._start_s)
        if self._closed.wait(max(0.0, due_in_s)):
            return None
        return max(index + 1, newest_due(time.monotonic() - self._start_s, self._interval_s))

    def close(self) -> None:
        """Wake whoever waits."""
        self._closed.set()


def newest_due(elapsed_s: float, interval_s: float) -> int:
    """Return the number of the newest frame due ``elapsed_s`` after frame 0 was."""
    # A clock that reads a hair less than the due time must not put a frame off by a whole interval.
    return math.floor(elapsed_s / interval_s + 1e-9)
