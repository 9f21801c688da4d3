"""The live pipeline: capture, enhance and show in threads of their own that hand on the newest frame only."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from threading import Event
from typing import Self

from mobilescope.core.errors import MobilescopeError
from mobilescope.core.mailbox import Mailbox
from mobilescope.core.protocols import Frame, FrameSource
from mobilescope.enhance.live_statistics import LiveStatistics
from mobilescope.enhance.live_values import (
    Enhanced,
    FrameTimes,
    LivePicture,
    LiveSnapshot,
    LiveState,
    Picture,
    Verdict,
)

Enhance = Callable[[Picture], Enhanced]
# A judge of pictures looks at many more pixels than one pass of the network: this part of the time is his.
_JUDGE_SHARE = 0.2
_CLOCK = time.monotonic


@dataclass(frozen=True, eq=False)
class _Handed:
    frame: Frame
    handed_s: float


@dataclass(frozen=True, eq=False)
class _Made:
    picture: LivePicture
    handed_s: float
    started_s: float
    done_s: float


class LivePipeline:
    """Takes frames from a source to the screen. Between its threads stand mailboxes for one: it never queues.

    A frame that a newer one overtakes is dropped and counted. From a source on demand no frame is dropped: the next one
    is asked for when there is room. The pipeline closes its source.

    Parameters
    ----------
    enhance : callable
        Makes an `Enhanced` of a frame's pixels.
    show : callable
        Shows a `LivePicture`; returns when it is on the screen.
    preview : callable, optional
        Shows each frame as it came, before it is enhanced; returns when it is on the screen.
    judge : callable, optional
        Says how far a frame may be trusted; it works beside the others, a fifth of the time at most.
    keep : callable, optional
        Takes a `LivePicture` every ``keep_every_s`` seconds, to write it down.
    frames : int, optional
        Stop after so many were shown.
    """

    def __init__(
        self,
        source: FrameSource,
        enhance: Enhance,
        show: Callable[[LivePicture], None],
        *,
        preview: Callable[[Frame], None] | None = None,
        judge: Callable[[Frame], Verdict] | None = None,
        keep: Callable[[LivePicture], object] | None = None,
        keep_every_s: float = 2.0,
        frames: int | None = None,
    ) -> None:
        self._source = source
        self._enhance, self._show = enhance, show
        self._preview, self._judge, self._keep = preview, judge, keep
        self._keep_every_s = keep_every_s
        self._frames = frames
        self._to_enhance: Mailbox[_Handed] = Mailbox()
        self._to_show: Mailbox[_Made] = Mailbox()
        self._to_preview: Mailbox[Frame] = Mailbox()
        self._to_judge: Mailbox[Frame] = Mailbox()
        self._to_keep: Mailbox[LivePicture] = Mailbox()
        self._statistics = LiveStatistics()
        self._verdict: Verdict | None = None
        self._stop, self._over = Event(), Event()
        self._finished = False
        self._threads: list[Future[None]] = []
        self._failures: list[BaseException] = []
        self._started_s = self._ended_s = 0.0

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Stop and wait for the threads; raises what failed in them."""
        self.request_stop()
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            if failure is not error:
                error.add_note(f"and the live pipeline failed: {failure}")

    def start(self) -> None:
        """Start the threads."""
        work = [self._capturing, self._enhancing, self._showing]
        work += [self._previewing] if self._preview else []
        work += [self._judging] if self._judge else []
        work += [self._keeping] if self._keep else []
        self._started_s = _CLOCK()
        pool = ThreadPoolExecutor(len(work), thread_name_prefix="live")
        self._threads = [pool.submit(self._run, job) for job in work]
        pool.shutdown(wait=False)

    def request_stop(self) -> None:
        """Ask for the end, from any thread: at most the frame in work is finished."""
        self._stop.set()
        self._over.set()
        for mailbox in (self._to_enhance, self._to_show, self._to_preview, self._to_judge):
            mailbox.close()
        self._to_keep.end()  # the picture that waits there was shown, and may be the only one of a short run
        self._source.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all threads have ended and return True, or False where that takes longer.

        What failed first in one of the threads is raised here, with what failed after it in its notes.
        """
        if wait_for(self._threads, timeout_s).not_done:
            return False
        if self._failures:
            first, *others = self._failures
            del self._failures[1:]  # each is noted once, however often this is asked
            for other in others:
                first.add_note(f"and then: {other}")
            raise first
        return True

    def snapshot(self) -> LiveSnapshot:
        """Return what was done so far."""
        state = self._state()
        now_s = self._ended_s if state.over else _CLOCK()
        snapshot = self._statistics.snapshot(
            state, seconds=now_s - self._started_s if self._threads else 0.0, now_s=now_s, verdict=self._verdict
        )
        # A source that nobody has asked yet, or that has come to its end, is not silent.
        return replace(snapshot, silent_s=0.0) if self._source.on_demand or self._finished else snapshot

    def _state(self) -> LiveState:
        if not self._threads:
            return LiveState.READY
        if not all(thread.done() for thread in self._threads):
            return LiveState.STOPPING if self._stop.is_set() else LiveState.RUNNING
        if self._failures:
            return LiveState.FAILED
        return LiveState.ENDED if self._finished else LiveState.STOPPED

    def _run(self, job: Callable[[], None]) -> None:
        """Do one thread's work; its failure ends the others'."""
        try:
            job()
        except BaseException as failure:
            self._failures.append(failure)
            try:
                self.request_stop()
            except (MobilescopeError, OSError) as other:
                failure.add_note(f"and the source could not be closed: {other}")
            raise
        finally:
            self._ended_s = _CLOCK()

    def _capturing(self) -> None:
        try:
            while not self._stop.is_set():
                if self._source.on_demand and not self._to_enhance.wait_until_taken():
                    break
                frame = self._source.read()
                if frame is None:
                    break
                now_s = _CLOCK()
                self._to_enhance.put(_Handed(frame, now_s))
                self._to_preview.put(frame)
                self._to_judge.put(frame)
                self._statistics.captured(frame.index + 1, now_s)
            if not self._stop.is_set():
                self._finished = True
        finally:
            self._source.close()
            self._to_enhance.end()
            self._to_preview.end()

    def _enhancing(self) -> None:
        while (handed := self._to_enhance.take()) is not None:
            started_s = _CLOCK()
            enhanced = self._enhance(handed.frame.pixels)
            made = _Made(LivePicture(handed.frame, enhanced), handed.handed_s, started_s, _CLOCK())
            if self._source.on_demand and not self._to_show.wait_until_taken():
                break
            self._to_show.put(made)
        self._to_show.end()

    def _showing(self) -> None:
        while (made := self._to_show.take()) is not None:
            self._show(made.picture)
            now_s = _CLOCK()
            times = FrameTimes(
                capture_s=made.handed_s - made.picture.frame.captured_s,
                wait_s=made.started_s - made.handed_s,
                enhance_s=made.done_s - made.started_s,
                show_s=now_s - made.done_s,
            )
            shown = self._statistics.shown(made.picture.frame.index, times, now_s)
            self._to_keep.put(made.picture)
            if shown == self._frames:
                self._finished = True
                self.request_stop()
        self._to_keep.end()
        self._to_judge.close()
        self._over.set()

    def _previewing(self) -> None:
        assert self._preview is not None
        while (frame := self._to_preview.take()) is not None:
            self._preview(frame)
            self._statistics.previewed(_CLOCK() - frame.captured_s)

    def _judging(self) -> None:
        assert self._judge is not None
        while (frame := self._to_judge.take()) is not None:
            started_s = _CLOCK()
            self._verdict = self._judge(frame)
            self._over.wait((_CLOCK() - started_s) * (1 / _JUDGE_SHARE - 1))

    def _keeping(self) -> None:
        assert self._keep is not None
        while (picture := self._to_keep.take()) is not None:
            self._keep(picture)
            self._over.wait(self._keep_every_s)
