"""The words of the live view name the rate, the delay, the rung and the trust, and a stream that stands still."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mobilescope.enhance.ladder import LadderStatus
from mobilescope.enhance.live_values import Delay, LiveSnapshot, LiveState
from mobilescope.enhance.live_words import status_line
from mobilescope.enhance.rung_controller import Rung


@dataclass(frozen=True)
class Verdict:
    state: str
    reasons: tuple[str, ...]


DELAYS = {stage: Delay(10.0, 20.0) for stage in ("capture", "wait", "enhance", "show")} | {"total": Delay(40.0, 80.0)}
SNAPSHOT = LiveSnapshot(
    LiveState.RUNNING, 3.0, 60, 30, 29, 20.0, 10.0, 0.05, delays=DELAYS, verdict=Verdict("caution", ("dark",))
)
STATUS = LadderStatus(Rung.COLOUR, "full takes 90 ms, 15 frames/s allow 66.7 ms", None, tuple(Rung), None)


def test_a_status_line_has_everything():
    assert status_line(SNAPSHOT, STATUS) == (
        "10.0 of 20.0 frames/s enhanced, delay 40 ms (capture 10, wait 10, enhance 10, show 10), 29 dropped, "
        "bicubic and colour, no network: full takes 90 ms, 15 frames/s allow 66.7 ms, trust: caution: dark"
    )


def test_before_the_first_frame_nothing_is_made_up():
    start = LiveSnapshot(LiveState.RUNNING, 0.5, 0, 0, 0, 0.0, 0.0, 0.5)
    line = status_line(start, STATUS)
    assert "delay not measured yet" in line
    assert "trust: not judged yet" in line


def test_a_stream_that_stands_still_is_not_passed_over():
    assert status_line(replace(SNAPSHOT, silent_s=7.4), STATUS).startswith("NO NEW FRAME for 7 s, ")


def test_a_picture_every_ten_seconds_is_no_silence_and_a_missing_one_is():
    slow = replace(SNAPSHOT, fps_in=0.1, fps_shown=0.1, usual_gap_s=10.0)
    assert status_line(replace(slow, silent_s=11.0), STATUS).startswith("0.1 of 0.1 frames/s enhanced, ")
    assert status_line(replace(slow, silent_s=21.0), STATUS).startswith("NO NEW FRAME for 21 s, ")
