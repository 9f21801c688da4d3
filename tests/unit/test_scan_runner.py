"""A scan can be paused, cancelled and gone on with; marks, retakes and focus follow from what the sink holds."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from memory_sink import MemorySink
from ready_microscope import PIXEL_UM, ReadyMicroscope, ReadyStage, textured

from mobilescope.acquire.disk_guard import DiskGuard
from mobilescope.acquire.runner import RunState, ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.errors import CancelledError, DiskSpaceError, LimitError, MobilescopeError, PlanError
from mobilescope.core.protocols import FUSED_PLANE, TileKey
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import ChannelPlan, FocusPlan, ZStackPlan
from mobilescope.plans.tile_areas import Following, TileArea

FRAME_PX = 128
FIELD_UM = FRAME_PX * PIXEL_UM
PICTURE = textured(1024)


def grid(rows=2, columns=3, **options):
    return FieldGrid(rows, columns, FIELD_UM, FIELD_UM, **options)


def slide_run(rows=2, columns=3, **options):
    return SlideRun("s", TileArea(grid(rows, columns)), **options)


def microscope(**options):
    return ReadyMicroscope(PICTURE, FRAME_PX, **options)


def running(runner):
    """Run in a thread; return it with the place that an error goes to."""
    ended = []

    def work():
        try:
            ended.append(runner.run())
        except MobilescopeError as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, ended


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_run_tells_how_far_it_is_and_how_long_it_will_take():
    seen = []
    sink = MemorySink()
    runner = ScanRunner(microscope(stage=ReadyStage(settle_s=0.001)), sink, [slide_run()], on_progress=seen.append)
    assert runner.snapshot.state is RunState.READY
    last = runner.run()
    assert (last.state, last.done, last.total, last.remaining_s) == (RunState.FINISHED, 6, 6, 0)
    assert [(progress.done, progress.total) for progress in seen] == [(done, 6) for done in range(1, 7)]
    assert all("left" in progress.note for progress in seen[:-1])


def test_a_paused_run_takes_nothing_until_it_goes_on():
    sink = MemorySink()
    device = microscope(stage=ReadyStage(settle_s=0.03))
    runner = ScanRunner(device, sink, [slide_run(3, 4)])
    thread, ended = running(runner)
    wait_for(lambda: len(sink.tiles) >= 2)
    runner.pause()
    wait_for(lambda: runner.snapshot.state is RunState.PAUSED)
    moves, taken = device.stage.moves, len(sink.tiles)
    time.sleep(0.25)
    assert (device.stage.moves, runner.snapshot.done) == (moves, taken)
    assert taken < 12
    runner.resume()
    thread.join(60)
    assert ended[0].state is RunState.FINISHED
    assert len(sink.tiles) == 12


@pytest.mark.parametrize("paused", [False, True])
def test_a_cancelled_run_ends_within_one_tile_and_another_goes_on(paused):
    sink = MemorySink()
    device = microscope(stage=ReadyStage(settle_s=0.03))
    runner = ScanRunner(device, sink, [slide_run(3, 4)])
    thread, ended = running(runner)
    wait_for(lambda: len(sink.tiles) >= 2)
    if paused:
        runner.pause()
        wait_for(lambda: runner.snapshot.state is RunState.PAUSED)
    taken = len(sink.tiles)
    runner.cancel()
    thread.join(60)
    assert isinstance(ended[0], CancelledError)
    assert runner.snapshot.state is RunState.CANCELLED
    assert taken <= len(sink.tiles) <= taken + 2
    ScanRunner(device, sink, [slide_run(3, 4)]).run()
    assert len(sink.order) == 12


def test_a_tile_outside_the_range_is_named_and_nothing_moves():
    device = microscope(stage=ReadyStage(limit_um=70))
    with pytest.raises(LimitError, match=r"slide s, tile row 0 column 0 .*-86\.4.*-70 to 70.*nothing was moved"):
        ScanRunner(device, MemorySink(), [slide_run(1, 4)]).run()
    assert device.stage.moves == device.snaps == 0


def test_a_stack_higher_than_the_drive_is_refused_and_one_near_its_end_stays_inside():
    device = microscope(stage=ReadyStage(z_limits_um=(-3.0, 3.0)))
    tall = slide_run(1, 1, z=ZStackPlan(planes=3, step_um=4.0))
    with pytest.raises(PlanError, match="8 µm high"):
        ScanRunner(device, MemorySink(), [tall]).run()
    sink = MemorySink()
    low = slide_run(1, 1, z=ZStackPlan(planes=3, step_um=1.5), focus=FocusPlan(first_half_range_um=3.0))
    ScanRunner(device, sink, [low]).run()
    heights = [taken[0][1].position.z_um for taken in sink.attempts.values()]
    assert np.diff(heights) == pytest.approx([1.5, 1.5])
    assert max(heights) <= 3


def test_planes_and_channels_are_taken_together_and_fused(monkeypatch):
    selected = []

    class Switch:
        def refusal(self, name, exposure_ms, colour, brightness):
            return "" if name != "blue" else "no such light"

        def select(self, name, exposure_ms, colour, brightness):
            selected.append((name, exposure_ms))

        def rest(self):
            selected.append("rest")

    channels = (ChannelPlan(name="red", exposure_ms=10), ChannelPlan(name="green", exposure_ms=40))
    run = slide_run(1, 2, channels=channels, z=ZStackPlan(planes=3, step_um=1.0, fuse=True))
    sink = MemorySink()
    fused = []
    ScanRunner(
        microscope(), sink, [run], switch=Switch(),
        fuse=lambda planes: fused.append(len(planes)) or np.full_like(planes[0], 7),
    ).run()
    first = [key for key, *_ in sink.order[:8]]
    assert first == [
        TileKey("s", 0, 0, channel, plane) for channel in ("red", "green") for plane in (-1, 0, 1, FUSED_PLANE)
    ]
    assert fused == [3] * 4
    assert selected == [("red", 10), ("green", 40)] * 2 + ["rest"]
    assert (sink.attempts[TileKey("s", 0, 1, "green", FUSED_PLANE)][0][1].pixels == 7).all()
    heights = [sink.attempts[key][0][1].position.z_um for key in first[:3]]
    assert np.diff(heights) == pytest.approx([1, 1])
    with pytest.raises(PlanError, match=r"'blue'.*no such light"):
        ScanRunner(microscope(), sink, [replace(run, channels=(ChannelPlan(name="blue"),))], switch=Switch()).run()
    with pytest.raises(PlanError, match="no channels"):
        ScanRunner(microscope(), sink, [run]).run()


def test_the_default_fusion_takes_the_sharpest_plane_of_each_place():
    from mobilescope.imaging.tile_marks import sharpest

    sharp = textured(128, seed=4)
    blurred = np.full_like(sharp, 150)
    left, right = sharp.copy(), sharp.copy()
    left[:, 64:], right[:, :64] = blurred[:, 64:], blurred[:, :64]
    fused = sharpest([left, right])
    assert (fused == sharp).mean() > 0.95


def test_a_stack_that_a_kill_left_in_parts_is_taken_whole_again():
    run = slide_run(1, 2, z=ZStackPlan(planes=3, step_um=1.0))
    sink = MemorySink()
    ScanRunner(microscope(), sink, [run]).run()
    del sink.attempts[TileKey("s", 0, 1, "", 1)]
    sink.order.clear()
    ScanRunner(microscope(), sink, [run]).run()
    assert [(key.column, key.plane, attempt) for key, attempt, _ in sink.order] == [(1, -1, 1), (1, 0, 1), (1, 1, 1)]


def white(image):
    return replace(image, pixels=np.where(image.pixels > 100, 255, image.pixels).astype(np.uint8))


def white_once(count, image):
    """Saturate the third frame."""
    return white(image) if count == 3 else image


def test_a_saturated_tile_is_taken_again_at_the_end_and_loses_its_mark():
    sink, seen = MemorySink(), []
    last = ScanRunner(microscope(fault=white_once), sink, [slide_run()], on_progress=seen.append).run()
    cells = [((key.row, key.column), attempt, mark) for key, attempt, mark in sink.order]
    assert cells[2] == ((0, 2), 0, "saturated")
    assert cells[6:] == [((0, 2), 1, "")]
    assert last.marks == {}
    assert "1 to take again" in seen[3].note


def test_a_mark_stays_when_the_second_attempt_fails_too_and_there_is_no_third():
    def always(count, image):
        return white(image)

    sink = MemorySink()
    assert ScanRunner(microscope(fault=always), sink, [slide_run(1, 2)]).run().marks == {"saturated": 2}
    assert [attempt for _, attempt, _ in sink.order] == [0, 0, 1, 1]
    ScanRunner(microscope(fault=always), sink, [slide_run(1, 2)]).run()
    assert len(sink.order) == 4


def test_a_retake_that_was_cut_off_is_made_by_the_next_run():
    sink = MemorySink()

    def stop_at_six(count):
        if count == 6:
            runner.cancel()

    runner = ScanRunner(microscope(fault=white_once, on_snap=stop_at_six), sink, [slide_run()])
    with pytest.raises(CancelledError):
        runner.run()
    assert len(sink.order) == 6
    ScanRunner(microscope(), sink, [slide_run()]).run()
    assert [((key.row, key.column), attempt) for key, attempt, _ in sink.order[6:]] == [((0, 2), 1)]


def test_clear_glass_is_marked_blank_and_not_taken_again():
    mask = np.zeros((1024, 1024), bool)
    mask[:, :500] = True
    sink = MemorySink()
    run = SlideRun("s", TileArea(grid(1, 4, overlap=0.0)))
    last = ScanRunner(ReadyMicroscope(textured(1024, tissue=mask), FRAME_PX), sink, [run]).run()
    assert last.marks == {"blank": 2}
    assert [(key.column, mark) for key, _, mark in sink.order] == [(0, ""), (1, ""), (2, "blank"), (3, "blank")]


def test_tissue_that_the_limit_cuts_off_is_told_also_by_the_run_that_finds_all_done():
    area = TileArea(grid(8, 8, overlap=0.1), following=Following((4, 4), 5))
    device, sink = ReadyMicroscope(textured(1024), FRAME_PX), MemorySink()
    for _ in range(2):
        left = ScanRunner(device, sink, [SlideRun("s", area)]).run().left_out
        assert len(sink.attempts) == 5
        assert left["s"] >= 4


def test_tissue_is_followed_in_the_pictures_and_after_a_cut():
    mask = np.zeros((1024, 1024), bool)
    mask[300:720, 480:560] = mask[640:720, 200:560] = True
    area = TileArea(grid(8, 8, overlap=0.1), following=Following((4, 4), 64))
    device = ReadyMicroscope(textured(1024, tissue=mask), FRAME_PX)

    def tissue_tiles():
        half = FRAME_PX // 2
        for stop in area.positions():
            row, column = round(stop.y_um / PIXEL_UM + 512), round(stop.x_um / PIXEL_UM + 512)
            if mask[row - half + 4 : row + half - 4, column - half + 4 : column + half - 4].mean() > 0.02:
                yield stop.row, stop.column

    whole = MemorySink()
    assert ScanRunner(device, whole, [SlideRun("s", area)]).run().left_out == {}
    assert set(tissue_tiles()) <= {(key.row, key.column) for key in whole.attempts}
    assert len(whole.attempts) < 50

    cut = MemorySink()
    runner = ScanRunner(device, cut, [SlideRun("s", area)], on_progress=lambda p: p.done == 9 and runner.cancel())
    with pytest.raises(CancelledError):
        runner.run()
    ScanRunner(device, cut, [SlideRun("s", area)]).run()
    assert cut.attempts.keys() == whole.attempts.keys()


def test_a_focus_surface_is_measured_first_and_spares_the_searches():
    sink = MemorySink()
    device = microscope(tilt=0.03)
    run = slide_run(6, 6, focus=FocusPlan(mode="surface", points=9, tolerance_um=2.0))
    ScanRunner(device, sink, [run]).run()
    verdicts = [sink.attempts[key][0][2].verdict for key, *_ in sink.order]
    assert verdicts[:9] == ["focused"] * 9
    assert verdicts[9:] == ["surface"] * 27
    for taken in sink.attempts.values():
        at = taken[0][1].position
        assert abs(at.z_um - device.height_um(at.x_um, at.y_um)) < 1.5


def test_a_focus_surface_is_rebuilt_from_what_was_stored():
    sink = MemorySink()
    device = microscope(tilt=0.03, on_snap=lambda count: count == 12 and runner.cancel())
    run = slide_run(6, 6, focus=FocusPlan(mode="surface", points=9, tolerance_um=2.0))
    runner = ScanRunner(device, sink, [run])
    with pytest.raises(CancelledError):
        runner.run()
    snaps, whole = device.snaps, device.whole
    ScanRunner(device, sink, [run]).run()
    assert device.snaps - snaps == device.whole - whole == 24  # not one more picture to find the focus
    assert len(sink.attempts) == 36


def test_a_slide_that_tilts_by_more_than_the_narrow_range_is_followed():
    sink = MemorySink()
    device = microscope(tilt=0.11)
    ScanRunner(device, sink, [slide_run(1, 5)]).run()
    assert {taken[0][2].verdict for taken in sink.attempts.values()} == {"focused"}
    for taken in sink.attempts.values():
        at = taken[0][1].position
        assert abs(at.z_um - device.height_um(at.x_um, at.y_um)) < 2.5


def test_a_disk_without_room_is_refused_before_anything_moves(tmp_path, monkeypatch):
    device = microscope()
    disk = DiskGuard(tmp_path, 3 * FRAME_PX**2, 10**15)
    with pytest.raises(DiskSpaceError, match=r"does not fit.*MB free; 6 frames"):
        ScanRunner(device, MemorySink(), [slide_run()], disk=disk).run()
    assert device.stage.moves == 0


class ShrinkingDisk:
    """A disk that something else fills up after some tiles, for a while."""

    def __init__(self, sink, after):
        self.sink, self.after, self.full = sink, after, True

    def shortage(self, frames):
        return "the disk has 3 MB free" if self.full and len(self.sink.order) >= self.after else ""


def test_a_disk_that_fills_up_ends_the_run_before_it_is_full():
    sink = MemorySink()
    with pytest.raises(DiskSpaceError, match="3 MB free"):
        ScanRunner(microscope(), sink, [slide_run()], disk=ShrinkingDisk(sink, 3)).run()
    assert len(sink.order) in (3, 4)


def test_a_run_waits_for_room_where_somebody_can_make_some():
    sink = MemorySink()
    disk = ShrinkingDisk(sink, 3)
    runner = ScanRunner(microscope(), sink, [slide_run()], disk=disk, wait_for_room=True)
    thread, ended = running(runner)
    wait_for(lambda: runner.snapshot.state is RunState.PAUSED)
    assert runner.snapshot.note == "the disk has 3 MB free"
    disk.full = False
    thread.join(60)
    assert ended[0].state is RunState.FINISHED
    assert len(sink.order) == 6
