"""What the live view says about itself, in words: the same in a terminal and in the window."""

from __future__ import annotations

import math

from mobilescope.enhance.ladder import LadderStatus
from mobilescope.enhance.live_values import LiveSnapshot, Verdict
from mobilescope.enhance.rung_controller import RUNG_TITLES

# What a camera may take to set itself; and a picture every ten seconds is no silence.
_SILENT_S = 2.0
_SILENT_GAPS = 2
NOT_FOR_DIAGNOSIS = "computed, not for diagnosis"


def silence_words(snapshot: LiveSnapshot) -> str:
    """Return that no frame comes; empty where they come as they did before."""
    is_silent = snapshot.silent_s > max(_SILENT_S, _SILENT_GAPS * snapshot.usual_gap_s)
    return f"NO NEW FRAME for {snapshot.silent_s:.0f} s" if is_silent else ""


def rate_words(snapshot: LiveSnapshot) -> str:
    """Return how many frames a second come and are shown, or that none comes."""
    return silence_words(snapshot) or f"{snapshot.fps_shown:.1f} of {snapshot.fps_in:.1f} frames/s enhanced"


def delay_words(snapshot: LiveSnapshot) -> str:
    """Return how long a frame takes to the screen, and where the time goes."""
    delays = snapshot.delays
    if "total" not in delays or math.isnan(delays["total"].median_ms):
        return "delay not measured yet"
    parts = ", ".join(f"{stage} {delays[stage].median_ms:.0f}" for stage in ("capture", "wait", "enhance", "show"))
    return f"delay {delays['total'].median_ms:.0f} ms ({parts})"


def rung_words(status: LadderStatus) -> str:
    """Return what enhances, and why that."""
    return f"{RUNG_TITLES[status.rung]}: {status.reason}"


def trust_words(verdict: Verdict | None) -> str:
    """Return how far the picture is to be trusted, and why."""
    if verdict is None:
        return "not judged yet"
    return ": ".join([verdict.state, *(["; ".join(verdict.reasons)] if verdict.reasons else [])])


def status_line(snapshot: LiveSnapshot, status: LadderStatus) -> str:
    """Return one line for a terminal."""
    return ", ".join([
        rate_words(snapshot), delay_words(snapshot), f"{snapshot.dropped} dropped", rung_words(status),
        f"trust: {trust_words(snapshot.verdict)}",
    ])
