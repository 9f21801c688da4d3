"""Taking one tile: move, focus, every channel and plane, each frame checked, marked and handed to the sink."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.autofocus import FocusOptions, autofocus
from mobilescope.acquire.background_sink import BackgroundSink
from mobilescope.acquire.focus_drive import FocusDrive
from mobilescope.acquire.focus_keeping import FocusKeeper, Search
from mobilescope.acquire.frame_checks import FrameCheck, Moment
from mobilescope.acquire.slide_run import BLANK, SATURATED, UNFOCUSED, Fusion, SlideRun, TileReport
from mobilescope.core.errors import DeviceError
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import (
    FUSED_PLANE,
    BenchtopImage,
    BenchtopMicroscope,
    ChannelSwitch,
    ExposureControl,
    TileKey,
)
from mobilescope.imaging.tile_marks import shows_specimen, white_share
from mobilescope.plans.grids import GridPosition
from mobilescope.plans.scan_plans import ChannelPlan

FOCUSED, RANGE_EDGE = "focused", "range_edge"
_LEAST_TOLERANCE_UM = 5.0
# Of the exposure that saturated a tile, what it is taken again with.
_SHORTER = 0.5


class TileTaker:
    """Takes the tiles of one slide.

    Parameters
    ----------
    switch : ChannelSwitch, optional
        Changes the light between channels; not needed without channels.
    fuse : Fusion
        Makes one sharp picture of a stack, where the plan asks for it.
    """

    def __init__(
        self,
        microscope: BenchtopMicroscope,
        sink: BackgroundSink,
        run: SlideRun,
        focus: FocusKeeper,
        *,
        switch: ChannelSwitch | None,
        fuse: Fusion,
    ) -> None:
        self._microscope, self._stage, self._sink = microscope, microscope.stage, sink
        self._run, self._focus, self._switch, self._fuse = run, focus, switch, fuse
        self._drive = FocusDrive(microscope.stage, run.approach_um)
        # Tiles that miss by half the overlap no longer meet their neighbours.
        width_um, height_um = run.area.grid.field_width_um, run.area.grid.field_height_um
        miss_um = max(_LEAST_TOLERANCE_UM, max(run.area.grid.overlap, 0.0) * min(width_um, height_um) / 2)
        self._check = FrameCheck(microscope.frame_shape, miss_um)

    def take(
        self, stop: GridPosition, *, attempt: int, search_wanted: bool, shorter: Set[str] = frozenset()
    ) -> TileReport:
        """Take everything that the plan wants of one tile.

        Parameters
        ----------
        shorter : set of str
            Channels that were overexposed before: exposed for half the time where the camera allows it.

        Raises
        ------
        DeviceError
            Stage or camera failed, or two frames running were bad; the message names the tile.
        """
        try:
            self._stage.move_xy(stop.x_um, stop.y_um)
            if self._run.channels:
                self._select(self._run.channels[0])
            record = self._find_focus(stop, wanted=search_wanted)
            marks: set[str] = set()
            saturated: set[str] = set()
            for number, channel in enumerate(self._run.channels or (None,)):
                if channel is not None and number:
                    self._select(channel)
                name = channel.name if channel is not None else ""
                with self._exposed(shorter=name in shorter):
                    found = self._take_stack(stop, channel, record, attempt)
                marks |= found
                if SATURATED in found:
                    saturated.add(name)
        except DeviceError as error:
            raise type(error)(f"{_name(self._run, stop)}: {error.cause}", error.remedy) from error
        focused = record.z_um if record.verdict == FOCUSED else None
        return TileReport(frozenset(marks), attempt, focused, frozenset(saturated))

    @contextmanager
    def _exposed(self, *, shorter: bool) -> Iterator[None]:
        """Expose for a part of the time, if it is to be shorter and the camera allows it."""
        camera = self._microscope
        if not shorter or not isinstance(camera, ExposureControl):
            yield
            return
        before_ms = camera.exposure_ms
        camera.expose(before_ms * _SHORTER)
        try:
            yield
        finally:
            camera.expose(before_ms)

    def _find_focus(self, stop: GridPosition, *, wanted: bool) -> FocusRecord:
        """Search where it is due; leave the stage at the z that the tile is taken at."""
        search = self._focus.search(stop.index, stop.x_um, stop.y_um, wanted=wanted)
        if search is None:
            z_um = self._in_range(self._focus.predict(stop.x_um, stop.y_um) or 0.0)
            self._drive.move(z_um)
            verdict = "predicted" if self._run.focus.mode == "every" else "surface"
            return FocusRecord(verdict=verdict, z_um=z_um, score=0.0)
        record = self._searched(search)
        widest_um = self._run.focus.first_half_range_um
        if record.verdict == RANGE_EDGE and search.half_range_um < widest_um:
            # The slide tilts more than the tiles so far let expect.
            narrow, record = record, self._searched(replace(search, half_range_um=widest_um))
            record = replace(
                record, images_taken=narrow.images_taken + record.images_taken, seconds=narrow.seconds + record.seconds
            )
        if record.verdict == FOCUSED:
            self._drive.arrived(record.z_um)
            self._focus.add(stop.x_um, stop.y_um, record.z_um)
            return record
        expected = self._focus.predict(stop.x_um, stop.y_um)
        z_um = self._in_range(record.z_um if expected is None else expected)
        self._drive.move(z_um)
        self._sink.add_event(
            "warning",
            f"{_name(self._run, stop)}: autofocus says {record.verdict}; taken at z = {z_um:.2f} µm",
        )
        return replace(record, z_um=z_um)

    def _searched(self, search: Search) -> FocusRecord:
        centre_um = self._stage.position().z_um if search.centre_z_um is None else self._in_range(search.centre_z_um)
        approach_um = self._run.approach_um
        record = autofocus(
            self._microscope,
            # What the drive needs to turn round is added to the range, not taken from it.
            centre_z_um=centre_um - approach_um / 2, half_range_um=search.half_range_um + abs(approach_um) / 2,
            options=FocusOptions(mode="sweep" if self._run.focus.sweep else "search", approach_um=approach_um),
        )
        return record if record.verdict == FOCUSED else replace(record, z_um=centre_um)

    def _take_stack(
        self, stop: GridPosition, channel: ChannelPlan | None, record: FocusRecord, attempt: int
    ) -> set[str]:
        """Take one channel's planes from the lowest up; return the marks of all of them."""
        planes: list[NDArray[np.uint8]] = []
        marks: set[str] = set()
        middle: BenchtopImage | None = None
        base_um = self._in_range(record.z_um)  # a stack at the end of the range is moved inside as a whole
        for plane, offset_um in self._run.offsets_um.items():
            if self._run.z is not None or channel is not None:
                self._drive.move(base_um + offset_um)
            image = self._snap(stop, channel)
            mark = self._marks(image, record)
            marks |= mark
            self._store(stop, channel, plane, image, record, attempt, mark)
            if self._run.z is not None and self._run.z.fuse:
                planes.append(image.pixels)
                middle = image if plane == 0 else middle
        if planes and middle is not None:
            fused = replace(middle, pixels=self._fuse(planes), settings=middle.settings | {"fused": str(len(planes))})
            self._store(stop, channel, FUSED_PLANE, fused, record, attempt, marks)
        return marks

    def _store(
        self, stop: GridPosition, channel: ChannelPlan | None, plane: int, image: BenchtopImage, record: FocusRecord,
        attempt: int, marks: set[str],
    ) -> None:
        key = TileKey(self._run.slide, stop.row, stop.column, channel.name if channel else "", plane)
        self._sink.add_benchtop_tile(key, stop.index, image, record, attempt=attempt, mark=",".join(sorted(marks)))

    def _snap(self, stop: GridPosition, channel: ChannelPlan | None) -> BenchtopImage:
        """Take a frame, a bad one once more; the frame before is stored by then."""
        self._sink.settle()
        settled = Moment.now()
        for last in (False, True):
            image = self._microscope.snap()
            problem = self._check.problem(image, (stop.x_um, stop.y_um), settled)
            if not problem:
                break
            if last:
                raise DeviceError(
                    f"the camera gave {problem}, twice",
                    "check camera, cable and light, then run the same command again",
                )
            self._sink.add_event("warning", f"{_name(self._run, stop)}: the camera gave {problem}; taken again")
        jump_s = settled.clock_jump_s()
        if abs(jump_s) > 1:
            self._sink.add_event("warning", f"{_name(self._run, stop)}: the system's clock was set by {jump_s:+.1f} s")
        return image

    def _marks(self, image: BenchtopImage, record: FocusRecord) -> set[str]:
        marks = set()
        if white_share(image.pixels) > self._run.saturated:
            marks.add(SATURATED)
        if not shows_specimen(image.pixels):
            marks.add(BLANK)
        elif record.verdict not in (FOCUSED, "predicted", "surface"):
            marks.add(UNFOCUSED)
        return marks

    def _select(self, channel: ChannelPlan) -> None:
        assert self._switch is not None
        self._switch.select(channel.name, channel.exposure_ms, channel.colour, channel.brightness)

    def _in_range(self, z_um: float) -> float:
        """Return the z nearest to the one wanted at which the whole stack can be reached."""
        low, high = self._stage.z_range_um()
        offsets = self._run.offsets_um.values()
        return min(max(z_um, low - min(0.0, *offsets)), high - max(0.0, *offsets))


def _name(run: SlideRun, stop: GridPosition) -> str:
    return f"slide {run.slide}, tile row {stop.row} column {stop.column}"
