"""How far the phone's clocks are from this computer's, measured by questions and answers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from threading import Lock

_KEPT = 16
_WORTH_SAYING_MS = 2000.0


@dataclass(frozen=True)
class ClockReading:
    """How much the phone's time of day is ahead of ours, and by how much that may be wrong."""

    ahead_ms: float
    uncertainty_ms: float

    @property
    def worth_saying(self) -> bool:
        """Whether a person should know."""
        return abs(self.ahead_ms) - self.uncertainty_ms > _WORTH_SAYING_MS


@dataclass(frozen=True)
class _Sample:
    round_trip_s: float
    steady_offset_s: float
    ahead_ms: float


class PhoneClock:
    """Answers to "what time is it": the one that came back soonest is the best; old ones are forgotten.

    One thread asks and takes the answers; any may read.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)
        self._asked: dict[int, tuple[float, float]] = {}
        self._next = 0

    def ask(self) -> int:
        """Return the number of a question that is sent now."""
        self._next += 1
        self._asked[self._next] = time.monotonic(), time.time()
        for old in [number for number in self._asked if number <= self._next - _KEPT]:
            del self._asked[old]
        return self._next

    def answer(self, number: int, *, phone_ms: float, wall_ms: float) -> None:
        """Take an answer that has come now; one to no question is ignored."""
        asked = self._asked.pop(number, None)
        if asked is None:
            return
        steady_s, wall_s = asked
        round_trip_s = time.monotonic() - steady_s
        middle_s = steady_s + round_trip_s / 2
        ahead_ms = wall_ms - 1000 * (wall_s + round_trip_s / 2)
        with self._lock:
            self._samples.append(_Sample(round_trip_s, middle_s - phone_ms / 1000, ahead_ms))

    @property
    def reading(self) -> ClockReading | None:
        """The difference of the times of day; None before the first answer."""
        best = self._best()
        return None if best is None else ClockReading(best.ahead_ms, 500 * best.round_trip_s)

    def monotonic_s(self, phone_ms: float) -> float:
        """Return the phone's steady time on this computer's `time.monotonic`; now, before the first answer."""
        best, now_s = self._best(), time.monotonic()
        return now_s if best is None else min(now_s, best.steady_offset_s + phone_ms / 1000)

    def _best(self) -> _Sample | None:
        with self._lock:
            return min(self._samples, key=lambda sample: sample.round_trip_s, default=None)
