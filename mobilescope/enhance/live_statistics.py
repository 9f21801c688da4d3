"""Delays and rates of a live run, over the latest frames, in memory that does not grow."""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from threading import Lock

import numpy as np

from mobilescope.enhance.live_values import Delay, FrameTimes, LiveSnapshot, LiveState, Verdict

_WINDOW_FRAMES = 256
_RATE_S = 5.0
_GAPS = 9
STAGES = ("capture", "wait", "enhance", "show", "total")


class Window:
    """The latest measurements of one kind."""

    def __init__(self, length: int = _WINDOW_FRAMES) -> None:
        self._values: deque[float] = deque(maxlen=length)

    def add(self, value: float) -> None:
        """Take one in, and let the oldest go where there are too many."""
        self._values.append(value)

    def delay(self) -> Delay:
        """Return median and 95th percentile of seconds as milliseconds."""
        if not self._values:
            return Delay(math.nan, math.nan)
        median, high = np.percentile(np.fromiter(self._values, float), [50, 95])
        return Delay(float(median) * 1e3, float(high) * 1e3)


class Rate:
    """How often something happened lately, from the times of its latest occurrences."""

    def __init__(self) -> None:
        self._times_s: deque[tuple[float, int]] = deque(maxlen=_WINDOW_FRAMES)

    def add(self, time_s: float, count: int) -> None:
        """Take in that ``count`` had happened in all by a time."""
        self._times_s.append((time_s, count))

    def per_s(self, now_s: float) -> float:
        """Return occurrences a second over the last seconds; 0 where there were fewer than two ever.

        Where fewer than two were lately, it is over the time since the one before the latest: what is slow has its
        rate, and that of what has stopped falls.
        """
        if len(self._times_s) < 2:
            return 0.0
        recent = [entry for entry in self._times_s if now_s - entry[0] <= _RATE_S]
        if len(recent) < 2:
            (first_s, first), (_, last) = self._times_s[-2], self._times_s[-1]
            return (last - first) / (now_s - first_s)
        (first_s, first), (last_s, last) = recent[0], recent[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


class LiveStatistics:
    """Counts and times of a run, added to by its threads and read by any."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._windows = {stage: Window() for stage in STAGES}
        self._preview: Window | None = None
        self._made_rate, self._shown_rate = Rate(), Rate()
        self._made = self._shown = self._dropped = 0
        self._heard_s: float | None = None
        self._gaps_s: deque[float] = deque(maxlen=_GAPS)

    def captured(self, made: int, now_s: float) -> None:
        """Take in that the source has made so many frames in all."""
        with self._lock:
            if self._heard_s is not None:
                self._gaps_s.append(now_s - self._heard_s)
            self._made, self._heard_s = made, now_s
            self._made_rate.add(now_s, made)

    def previewed(self, delay_s: float) -> None:
        """Take in how long a frame took to the screen as it came."""
        with self._lock:
            self._preview = self._preview or Window()
            self._preview.add(delay_s)

    def shown(self, index: int, times: FrameTimes, now_s: float) -> int:
        """Take in a frame's number and its times; return how many were shown in all."""
        with self._lock:
            self._shown += 1
            self._dropped = index + 1 - self._shown
            self._shown_rate.add(now_s, self._shown)
            for stage, window in self._windows.items():
                window.add(getattr(times, f"{stage}_s"))
            return self._shown

    def snapshot(self, state: LiveState, *, seconds: float, now_s: float, verdict: Verdict | None) -> LiveSnapshot:
        """Return everything as it stands now."""
        with self._lock:
            delays = {stage: window.delay() for stage, window in self._windows.items()}
            if self._preview is not None:
                delays["preview"] = self._preview.delay()
            return LiveSnapshot(
                state=state, seconds=seconds, frames_in=self._made, frames_shown=self._shown, dropped=self._dropped,
                fps_in=self._made_rate.per_s(now_s), fps_shown=self._shown_rate.per_s(now_s),
                silent_s=seconds if self._heard_s is None else now_s - self._heard_s,
                usual_gap_s=median(self._gaps_s) if self._gaps_s else 0.0, delays=delays, verdict=verdict,
            )
