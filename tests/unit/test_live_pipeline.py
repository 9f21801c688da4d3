"""The live pipeline shows the newest frame, drops without queueing, measures, stops at once and hides no failure."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from mobilescope.core.errors import DeviceError
from mobilescope.core.mailbox import Mailbox
from mobilescope.core.protocols import Frame
from mobilescope.enhance.live import LivePipeline
from mobilescope.enhance.live_statistics import LiveStatistics, Rate, Window
from mobilescope.enhance.live_values import Enhanced, LiveState, Region

PATIENCE_S = 20


class HandFed:
    """A live source that gives what a test feeds it."""

    name, on_demand = "hand-fed", False

    def __init__(self):
        self._box, self.closed, self.fed = Mailbox(), 0, 0

    def feed(self):
        self._box.put(a_frame(self.fed))
        self.fed += 1

    def finish(self, failure=None):
        self._box.end(failure)

    def read(self):
        return self._box.take()

    def close(self):
        self.closed += 1
        self._box.close()


class Recorded:
    """A source on demand of a given length."""

    name, on_demand = "recorded", True

    def __init__(self, length):
        self._length, self.made, self.closed = length, 0, False

    def read(self):
        if self.closed or self.made == self._length:
            return None
        self.made += 1
        return a_frame(self.made - 1)

    def close(self):
        self.closed = True


@dataclass(frozen=True)
class Verdict:
    state: str
    reasons: tuple[str, ...] = ()


@dataclass
class Gate:
    """Work that a test holds up: tells when it has begun, goes on when it may."""

    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def enhance(self, pixels):
        self.begun.release()
        assert self.free.acquire(timeout=PATIENCE_S)
        return plain(pixels)


def a_frame(index):
    return Frame(np.full((2, 3, 3), index % 256, np.uint8), index, time.monotonic(), None)


def plain(pixels):
    return Enhanced(pixels, Region.whole(pixels.shape), "plain")


def until(condition):
    for _ in range(PATIENCE_S * 1000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it did not happen")


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("live")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    until(lambda: not threads())


@pytest.mark.parametrize("source", [Recorded(3), HandFed()])
def test_a_source_that_waits_to_be_asked_is_not_called_silent(source):
    gate = Gate()
    with LivePipeline(source, gate.enhance, lambda _picture: None) as pipeline:
        if not source.on_demand:
            source.feed()
        assert gate.begun.acquire(timeout=PATIENCE_S)
        time.sleep(0.01)
        assert (pipeline.snapshot().silent_s == 0) == source.on_demand
        for _ in range(3):
            gate.free.release()


def test_every_frame_of_a_source_on_demand_is_shown_in_order():
    shown = []
    source = Recorded(40)
    pipeline = LivePipeline(source, plain, lambda picture: shown.append(picture.frame.index))
    pipeline.start()
    assert pipeline.wait(PATIENCE_S)
    assert shown == list(range(40))
    snapshot = pipeline.snapshot()
    assert (snapshot.state, snapshot.frames_in, snapshot.frames_shown, snapshot.dropped) == (LiveState.ENDED, 40, 40, 0)
    assert source.closed


def test_a_slow_enhancement_drops_all_but_the_newest_frame():
    source, gate, shown = HandFed(), Gate(), []
    with LivePipeline(source, gate.enhance, lambda picture: shown.append(picture.frame.index)) as pipeline:
        source.feed()
        assert gate.begun.acquire(timeout=PATIENCE_S)
        for _ in range(9):
            source.feed()
            until(lambda: pipeline.snapshot().frames_in == source.fed)
        gate.free.release()
        assert gate.begun.acquire(timeout=PATIENCE_S)
        until(lambda: len(shown) == 1)  # else the second picture may take its place
        gate.free.release()
        until(lambda: len(shown) == 2)
        snapshot = pipeline.snapshot()
    assert shown == [0, 9]
    assert (snapshot.frames_in, snapshot.frames_shown, snapshot.dropped) == (10, 2, 8)
    assert snapshot.state is LiveState.RUNNING


def test_a_slow_screen_drops_all_but_the_newest_picture():
    source, gate, shown, free = HandFed(), Gate(), [], threading.Semaphore(0)

    def show(picture):
        shown.append(picture.frame.index)
        assert free.acquire(timeout=PATIENCE_S)

    with LivePipeline(source, gate.enhance, show):
        for _ in range(6):
            source.feed()
            assert gate.begun.acquire(timeout=PATIENCE_S)
            gate.free.release()
            until(lambda: shown)  # the first one holds the screen up
        source.feed()
        assert gate.begun.acquire(timeout=PATIENCE_S)  # so the picture before was handed on
        free.release()
        until(lambda: len(shown) == 2)
        gate.free.release(10)
        free.release(10)
    assert shown[:2] == [0, 5]


def test_each_stage_is_measured():
    source = Recorded(3)

    def enhance(pixels):
        time.sleep(0.02)
        return plain(pixels)

    with LivePipeline(source, enhance, lambda _picture: time.sleep(0.01)) as pipeline:
        assert pipeline.wait(PATIENCE_S)
    delays = pipeline.snapshot().delays
    assert set(delays) == {"capture", "wait", "enhance", "show", "total"}
    assert delays["enhance"].median_ms >= 20
    assert delays["show"].median_ms >= 10
    assert delays["total"].median_ms >= 30
    for delay in delays.values():
        assert 0 <= delay.median_ms <= delay.p95_ms


def test_a_silent_source_is_told():
    source = HandFed()
    with LivePipeline(source, plain, lambda _picture: None) as pipeline:
        source.feed()
        until(lambda: pipeline.snapshot().frames_shown == 1)
        assert pipeline.snapshot().silent_s < PATIENCE_S
        until(lambda: pipeline.snapshot().silent_s > 0.05)
        before_s = pipeline.snapshot().silent_s
        source.feed()
        until(lambda: pipeline.snapshot().silent_s < before_s)


def test_the_preview_sees_frames_before_they_are_enhanced():
    source, gate, seen = HandFed(), Gate(), []
    with LivePipeline(source, gate.enhance, lambda _picture: None, preview=lambda f: seen.append(f.index)) as pipeline:
        for number in range(3):
            source.feed()
            until(lambda number=number: number in seen)
        assert pipeline.snapshot().frames_shown == 0
        assert pipeline.snapshot().delays["preview"].median_ms >= 0
        gate.free.release(5)


def test_a_slow_judge_holds_nobody_up_and_its_latest_verdict_is_told():
    source, judged, free = HandFed(), [], threading.Semaphore(0)

    def judge(frame):
        assert free.acquire(timeout=PATIENCE_S)
        judged.append(frame.index)
        return Verdict("caution", ("out of focus",))

    shown = []
    with LivePipeline(source, plain, lambda picture: shown.append(picture.frame.index), judge=judge) as pipeline:
        for number in range(5):
            source.feed()
            until(lambda number=number: number in shown)
        assert pipeline.snapshot().verdict is None
        free.release()
        until(lambda: pipeline.snapshot().verdict is not None)
        free.release(5)
    assert pipeline.snapshot().verdict == Verdict("caution", ("out of focus",))
    assert judged[0] == 0


def test_pictures_are_kept_now_and_then():
    kept = []
    source = Recorded(30)
    with LivePipeline(source, plain, lambda _picture: None, keep=kept.append, keep_every_s=1000.0) as pipeline:
        assert pipeline.wait(PATIENCE_S)
    indices = [picture.frame.index for picture in kept]
    assert 1 <= len(indices) <= 2
    assert indices[-1] == 29  # the last one is not lost with the end


def test_it_stops_after_the_frames_asked_for():
    shown = []
    with LivePipeline(Recorded(1000), plain, lambda p: shown.append(p.frame.index), frames=7) as pipeline:
        assert pipeline.wait(PATIENCE_S)
    assert shown == list(range(7))
    assert pipeline.snapshot().state is LiveState.ENDED
    assert pipeline.snapshot().frames_shown == 7


def test_a_stop_lets_at_most_the_frame_in_work_finish():
    source, gate, shown = HandFed(), Gate(), []
    pipeline = LivePipeline(source, gate.enhance, lambda picture: shown.append(picture.frame.index))
    assert pipeline.snapshot().state is LiveState.READY
    pipeline.start()
    for _ in range(3):
        source.feed()
        until(lambda: pipeline.snapshot().frames_in == source.fed)
    assert gate.begun.acquire(timeout=PATIENCE_S)
    pipeline.request_stop()
    assert not pipeline.wait(0.01)
    assert pipeline.snapshot().state is LiveState.STOPPING
    gate.free.release()
    assert pipeline.wait(PATIENCE_S)
    assert pipeline.snapshot().state is LiveState.STOPPED
    assert shown == []
    assert not gate.begun.acquire(blocking=False)
    assert source.closed


def broken(*_):
    raise DeviceError("it broke", "mend it")


def test_a_run_of_one_frame_keeps_it():
    kept = []
    for _ in range(20):  # which thread comes first is chance
        with LivePipeline(Recorded(3), plain, lambda _picture: None, keep=kept.append, frames=1) as pipeline:
            assert pipeline.wait(PATIENCE_S)
    assert [picture.frame.index for picture in kept] == [0] * 20


@pytest.mark.parametrize("part", ["source", "enhance", "show", "preview", "judge", "keep"])
def test_a_failure_anywhere_ends_the_run_with_that_error(part):
    source = HandFed()
    parts = {"enhance": plain, "show": lambda _: None, "preview": lambda _: None, "judge": lambda _: Verdict("trusted"),
             "keep": lambda _: None}
    if part != "source":
        parts[part] = broken
    enhance, show = parts.pop("enhance"), parts.pop("show")
    pipeline = LivePipeline(source, enhance, show, **parts)
    pipeline.start()
    source.feed()
    if part == "source":
        source.finish(DeviceError("it broke", "mend it"))
    with pytest.raises(DeviceError, match="it broke; mend it"):
        pipeline.wait(PATIENCE_S)
    assert pipeline.snapshot().state is LiveState.FAILED
    assert source.closed


def test_what_fails_later_is_noted_on_what_failed_first():
    class Stubborn(HandFed):
        def close(self):
            super().close()
            raise OSError("the port is stuck")

    source = Stubborn()
    pipeline = LivePipeline(source, broken, lambda _picture: None)
    pipeline.start()
    source.feed()
    with pytest.raises(DeviceError, match="it broke") as caught:
        pipeline.wait(PATIENCE_S)
    assert any("the port is stuck" in note for note in caught.value.__notes__)


def test_a_failure_met_within_the_block_is_told_once():
    class Stubborn(HandFed):
        def close(self):
            first = not self.closed
            super().close()
            if first:
                raise OSError("the port is stuck")

    source = Stubborn()
    pipeline = LivePipeline(source, broken, lambda _picture: None)

    def run():
        with pipeline:
            source.feed()
            pipeline.wait(PATIENCE_S)

    with pytest.raises(DeviceError, match="it broke") as caught:
        run()
    said = " ".join(caught.value.__notes__)
    assert said.count("the port is stuck") == 1
    assert "it broke" not in said


def test_leaving_the_block_with_an_error_keeps_that_error_and_stops_the_threads():
    source = HandFed()
    with pytest.raises(KeyError, match="mine"), LivePipeline(source, plain, lambda _picture: None):
        raise KeyError("mine")
    assert source.closed


def test_delays_are_of_the_latest_frames_only():
    window = Window(length=100)
    assert math.isnan(window.delay().median_ms)
    for _ in range(1000):
        window.add(5.0)
    for number in range(100):
        window.add(number / 1000)
    assert window.delay().median_ms == pytest.approx(49.5)
    assert window.delay().p95_ms == pytest.approx(94.05)


def test_a_rate_forgets_what_was_long_ago():
    rate = Rate()
    assert rate.per_s(0.0) == 0.0
    for number in range(20):
        rate.add(0.1 * number, number)
    assert rate.per_s(2.0) == pytest.approx(10.0)
    assert rate.per_s(100.0) == pytest.approx(1 / (100.0 - 1.8))  # one since the last but one: it falls on
    for number in range(20, 30):
        rate.add(100.0 + 0.5 * number, number)
    assert rate.per_s(115.0) == pytest.approx(2.0)


def test_a_picture_every_ten_seconds_has_its_rate_and_its_gap():
    statistics = LiveStatistics()
    for number in range(5):
        statistics.captured(number + 1, 10.0 * number)
    snapshot = statistics.snapshot(LiveState.RUNNING, seconds=41.0, now_s=41.0, verdict=None)
    assert snapshot.fps_in == pytest.approx(0.1, rel=0.1)
    assert (snapshot.usual_gap_s, snapshot.silent_s) == (10.0, 1.0)
