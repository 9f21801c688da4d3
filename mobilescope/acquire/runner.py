"""A scan as something that runs: it can be paused, gone on with and cancelled from another thread within one tile.

The state of a scan is what the sink holds, and nothing else: a run that follows one that was killed finds out from the
stored tiles what is left, where the focus lies and how far the tissue reaches.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from mobilescope.acquire.background_sink import BackgroundSink
from mobilescope.acquire.disk_guard import DiskGuard
from mobilescope.acquire.focus_keeping import FocusKeeper
from mobilescope.acquire.plan_checks import check_runs
from mobilescope.acquire.slide_run import Fusion, SlideRun, TileReport, by_cell, next_attempt, stored_reports
from mobilescope.acquire.tile_taking import TileTaker
from mobilescope.acquire.walks import Walk, walk_of
from mobilescope.core.errors import CancelledError, DiskSpaceError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope, CaptureSink, ChannelSwitch
from mobilescope.imaging.tile_marks import sharpest
from mobilescope.plans.grids import GridPosition
from mobilescope.plans.tile_areas import Cell

# Tile times that the remaining time is estimated from.
_TIMES_KEPT = 25
_POLL_S = 0.1
# Frames that must fit beside the margin for a tile to be begun.
_ROOM_AHEAD = 2


class RunState(Enum):
    """What a run is doing."""

    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class RunSnapshot:
    """A run at one moment.

    Attributes
    ----------
    done, total : int
        Tiles of the slide at hand; the total grows while a scan follows the tissue.
    again : int
        Tiles that are to be taken again at the slide's end.
    marks : dict
        Marked tiles of this slide by mark.
    remaining_s : float or None
        Estimated from the last tiles; None before the first.
    note : str
        Why the run is paused or failed.
    left_out : dict
        Tiles at the border of the tissue that the plan's limit leaves out, by slide.
    """

    state: RunState = RunState.READY
    slide: str = ""
    done: int = 0
    total: int = 0
    again: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    remaining_s: float | None = None
    note: str = ""
    left_out: dict[str, int] = field(default_factory=dict)


class ScanRunner:
    """Scans slides into a sink.

    Parameters
    ----------
    runs : sequence of SlideRun
        What to do, slide by slide.
    switch : ChannelSwitch, optional
        Needed for plans with channels.
    fuse : Fusion
        Fuses z stacks where the plan asks for it.
    disk : DiskGuard, optional
        Refuses a run that the disk has no room for, before it starts and during it.
    wait_for_room : bool
        On a disk that becomes full, pause until there is room, instead of ending with DiskSpaceError.
    stop : StopToken, optional
        Cancels the run as `cancel` does.
    """

    def __init__(
        self,
        microscope: BenchtopMicroscope,
        sink: CaptureSink,
        runs: Sequence[SlideRun],
        *,
        switch: ChannelSwitch | None = None,
        fuse: Fusion = sharpest,
        disk: DiskGuard | None = None,
        wait_for_room: bool = False,
        on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> None:
        self._microscope, self._target, self.runs = microscope, sink, tuple(runs)
        self._switch, self._fuse, self._disk, self._wait_for_room = switch, fuse, disk, wait_for_room
        self._on_progress, self._stop = on_progress, stop or StopToken()
        # A plain flag: signal handlers set it, and the lock of an Event would not bear that.
        self._paused = False
        self._lock = threading.Lock()
        self._snapshot = RunSnapshot()
        self._times_s: deque[float] = deque(maxlen=_TIMES_KEPT)

    @property
    def snapshot(self) -> RunSnapshot:
        """The run at this moment."""
        with self._lock:
            return self._snapshot

    def pause(self) -> None:
        """Stop after the tile at hand until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False

    def cancel(self) -> None:
        """End the run after the tile at hand; everything taken is kept."""
        self._stop.request()

    def check(self) -> None:
        """Refuse, before anything moves, a plan that can't be carried out or has no room; `run` does it as well."""
        check_runs(self.runs, self._microscope, self._switch)
        self._check_room_for_all()

    def run(self) -> RunSnapshot:
        """Take everything that the sink does not have yet.

        Raises
        ------
        LimitError, PlanError
            The plan can't be carried out; nothing was moved.
        DiskSpaceError
            The disk has too little room.
        CancelledError
            The run was cancelled.
        DeviceError
            Stage or camera failed; the message names the tile, and what was taken is kept.
        """
        self._set(state=RunState.RUNNING)
        try:
            self.check()
            with BackgroundSink(self._target) as sink:
                mounted = ""
                for run in self.runs:
                    mounted = self._scan(run, sink, mounted)
        except CancelledError:
            self._set(state=RunState.CANCELLED)
            raise
        except BaseException as error:
            self._set(state=RunState.FAILED, note=str(error))
            raise
        finally:
            if self._switch is not None and any(run.channels for run in self.runs):
                self._switch.rest()
        self._set(state=RunState.FINISHED, remaining_s=0.0)
        return self.snapshot

    def _scan(self, run: SlideRun, sink: BackgroundSink, mounted: str) -> str:
        """Scan one slide; return the slide that is mounted then."""
        states = sink.tile_marks(run.slide)
        walk, focus, reports = walk_of(run), FocusKeeper(run.focus), stored_reports(run, states)
        places = by_cell(run.area.positions())
        for cell, report in reports.items():
            walk.report(cell, report)
            if report.focused_z_um is not None:
                focus.add(places[cell].x_um, places[cell].y_um, report.focused_z_um)
        now = self._progress(run, walk, reports)
        self._set(**now)
        if reports:
            self._show(now)
        slide = run.mounted or run.slide
        if walk.next() is None and not _to_take_again(reports):
            self._tell_left_out(run, walk)
            return mounted
        self._checkpoint(run, sink)
        if slide != mounted:
            self._microscope.mount(slide)
        taker = TileTaker(self._microscope, sink, run, focus, switch=self._switch, fuse=self._fuse)

        def take(stop: GridPosition, *, again: bool) -> None:
            sink.look()
            self._checkpoint(run, sink)
            cell, started = (stop.row, stop.column), time.monotonic()
            attempt = reports[cell].attempt + 1 if again else next_attempt(run, cell, states)
            wanted = again or walk.is_focus_point(cell)
            shorter = reports[cell].saturated_in if again else frozenset()
            reports[cell] = taker.take(stop, attempt=attempt, search_wanted=wanted, shorter=shorter)
            walk.report(cell, reports[cell])
            self._times_s.append(time.monotonic() - started)
            now = self._progress(run, walk, reports)
            sink.when_stored(lambda: self._show(now))

        while (stop := walk.next()) is not None:
            take(stop, again=False)
        for cell in _to_take_again(reports):
            take(places[cell], again=True)
        self._tell_left_out(run, walk)
        return slide

    def _tell_left_out(self, run: SlideRun, walk: Walk) -> None:
        """Keep in the snapshot that a scan which follows the tissue ended at its limit, not at clear glass."""
        if walk.left_out():
            self._set(left_out={**self.snapshot.left_out, run.slide: walk.left_out()})

    def _checkpoint(self, run: SlideRun, sink: BackgroundSink) -> None:
        """End, wait or go on, between two tiles."""
        what = f"the scan of slide {run.slide!r}"
        self._stop.raise_if_requested(what)
        shortage = self._shortage(_ROOM_AHEAD * run.frames_per_tile)
        if shortage and not self._wait_for_room:
            raise DiskSpaceError(shortage, "free some space, then run the same command again")
        if shortage or self._paused:
            sink.settle()
        while shortage or self._paused:
            self._set(state=RunState.PAUSED, note=shortage or "paused")
            time.sleep(_POLL_S)
            self._stop.raise_if_requested(what)
            shortage = self._shortage(_ROOM_AHEAD * run.frames_per_tile)
        if self.snapshot.state is RunState.PAUSED:
            self._set(state=RunState.RUNNING, note="")

    def _check_room_for_all(self) -> None:
        """Refuse before the start what the disk can't hold; how far tissue reaches is not known then."""
        frames = 0
        for run in self.runs:
            stored = len(stored_reports(run, self._target.tile_marks(run.slide)))
            tiles = 1 if run.area.following is not None else len(run.area) - stored
            frames += max(0, tiles) * run.frames_per_tile
        shortage = self._shortage(frames) if frames else ""
        if shortage:
            raise DiskSpaceError(f"the scan does not fit: {shortage}", "free some space or choose another disk")

    def _shortage(self, frames: int) -> str:
        return "" if self._disk is None else self._disk.shortage(frames)

    def _progress(self, run: SlideRun, walk: Walk, reports: dict[Cell, TileReport]) -> dict[str, Any]:
        """Return how far the run is, as fields of its snapshot."""
        again, left = len(_to_take_again(reports)), walk.remaining()
        marks = Counter(mark for report in reports.values() for mark in report.marks)
        return {
            "slide": run.slide, "done": len(reports), "total": len(reports) + left, "again": again,
            "marks": dict(marks),
            "remaining_s": (left + again) * statistics.median(self._times_s) if self._times_s else None,
        }

    def _show(self, progress: dict[str, Any]) -> None:
        """Tell how far the run is; called when that is stored."""
        self._set(**progress)
        now = self.snapshot
        self._on_progress(Progress(f"scan {now.slide}", now.done, now.total, _note(now)))

    def _set(self, **changes: Any) -> None:
        with self._lock:
            before, self._snapshot = self._snapshot, replace(self._snapshot, **changes)
            now = self._snapshot
        if RunState.PAUSED in (before.state, now.state) and before.state is not now.state:
            self._on_progress(Progress(f"scan {now.slide}", now.done, max(1, now.total), now.note))


def _to_take_again(reports: dict[Cell, TileReport]) -> list[Cell]:
    return [cell for cell, report in reports.items() if report.wants_another_try]


def _note(now: RunSnapshot) -> str:
    """Return the remaining time and what is marked, for the eye."""
    parts = []
    if now.remaining_s:
        parts.append(f"{_duration(now.remaining_s)} left")
    if now.again:
        parts.append(f"{now.again} to take again")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
