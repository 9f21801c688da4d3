"""Which rung of the quality ladder to stand on: the best that holds the frame rate, by what each was seen to take."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """Ways to enhance a frame, the best first."""

    FULL = "full"
    REGION = "region"
    DISTILLED = "distilled"
    COLOUR = "colour"


RUNG_TITLES = {
    Rung.FULL: "full network, whole field",
    Rung.REGION: "full network, region",
    Rung.DISTILLED: "small network, whole field",
    Rung.COLOUR: "bicubic and colour, no network",
}

# A rung is left when it takes longer than its share by this much, and taken on trial only when it stays below by that
# much: between the two nothing changes.
_TOO_SLOW = 1.08
_FAST_ENOUGH = 0.92
# One frame so slow needs no others to say so.
_HOPELESS = 2.0
_EVIDENCE_FRAMES = 5
# What the first frames after a change take is not the rung's: graphs are built, caches are cold.
_WARM_UP_FRAMES = 1
_FIRST_RETRY_S, _LAST_RETRY_S = 10.0, 300.0


@dataclass(frozen=True)
class RungChange:
    """A step on the ladder, and why."""

    before: Rung
    after: Rung
    reason: str


class RungController:
    """Picks the rung. It knows no clock and runs nothing: it is told what each frame took, and when.

    It begins at the best rung and steps down while a rung is too slow. On a lower rung it tries the better one again
    after 10 s, and after a trial that failed it waits twice as long before the next, up to 5 minutes.

    Parameters
    ----------
    rungs : sequence of Rung
        Those that there are, the best first.
    frames_per_s : float
        The rate to hold: a frame may take one over that.
    """

    def __init__(self, rungs: Sequence[Rung], frames_per_s: float) -> None:
        if not rungs or not frames_per_s > 0:
            raise ValueError(f"a ladder of {len(rungs)} rungs for {frames_per_s} frames/s")
        self._rungs = tuple(rungs)
        self._place = 0
        self._rate = frames_per_s
        self._seen: deque[float] = deque(maxlen=_EVIDENCE_FRAMES)
        self._warm_up = _WARM_UP_FRAMES
        self._took_s: dict[Rung, float] = {}
        self._retry_after_s = dict.fromkeys(self._rungs, _FIRST_RETRY_S)
        self._left_s: dict[Rung, float] = {}
        self._on_trial = False
        self._why_lower = ""

    @property
    def rung(self) -> Rung:
        """The rung for the next frame."""
        return self._rungs[self._place]

    @property
    def reason(self) -> str:
        """Why this rung: what was wrong with the better one, or that this one holds the rate."""
        if self._why_lower:
            return self._why_lower
        if self._on_trial:
            return "on trial"
        return self._figures(self._took_s[self.rung]) if self.rung in self._took_s else "being measured"

    @property
    def took_s(self) -> dict[Rung, float]:
        """What a frame took on each rung that was tried, when it was last tried."""
        return dict(self._took_s)

    def observe(self, seconds: float, now_s: float) -> RungChange | None:
        """Take in what a frame took on the present rung; return the change if there is one."""
        if self._warm_up:
            self._warm_up -= 1
            return None
        self._seen.append(seconds)
        took_s = statistics.median(self._seen)
        self._took_s[self.rung] = took_s
        allowed_s = 1 / self._rate
        limit = _FAST_ENOUGH if self._on_trial else _TOO_SLOW
        if len(self._seen) < _EVIDENCE_FRAMES and seconds < _HOPELESS * allowed_s:
            return None
        if took_s > limit * allowed_s:
            return self._step_down(took_s, now_s)
        self._on_trial = False
        self._retry_after_s[self.rung] = _FIRST_RETRY_S
        return self._try_better(now_s)

    def _step_down(self, took_s: float, now_s: float) -> RungChange | None:
        slow = self.rung
        if self._place == len(self._rungs) - 1:
            self._why_lower = f"no rung holds {self._rate:g} frames/s here: {self._figures(took_s)}"
            return self._try_better(now_s)
        self._left_s[slow] = now_s
        if self._on_trial:
            self._retry_after_s[slow] = min(2 * self._retry_after_s[slow], _LAST_RETRY_S)
        return self._change(self._place + 1, f"{slow} takes {self._allowance(took_s)}", on_trial=False)

    def _try_better(self, now_s: float) -> RungChange | None:
        if self._place == 0:
            return None
        better = self._rungs[self._place - 1]
        if now_s - self._left_s[better] < self._retry_after_s[better]:
            return None
        return self._change(self._place - 1, "", on_trial=True)

    def _change(self, place: int, why_lower: str, *, on_trial: bool) -> RungChange:
        before = self.rung
        self._place, self._on_trial, self._why_lower = place, on_trial, why_lower
        self._seen.clear()
        self._warm_up = _WARM_UP_FRAMES
        return RungChange(before, self.rung, self.reason)

    def _figures(self, took_s: float) -> str:
        return f"it takes {self._allowance(took_s)}"

    def _allowance(self, took_s: float) -> str:
        return f"{_ms(took_s)}, {self._rate:g} frames/s allow {_ms(1 / self._rate)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.3g} ms"
