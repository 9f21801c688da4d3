"""What goes wrong at stage, camera, clock and sink ends a scan with the tile's name, and nothing taken is lost."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from memory_sink import MemorySink
from ready_microscope import PIXEL_UM, ReadyMicroscope, ReadyStage, textured

from mobilescope.acquire.runner import RunState, ScanRunner
from mobilescope.acquire.scan import scan_slide
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.errors import DeviceError, SessionError
from mobilescope.core.protocols import PositionUm
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.tile_areas import TileArea

FRAME_PX = 128
GRID = FieldGrid(2, 3, FRAME_PX * PIXEL_UM, FRAME_PX * PIXEL_UM)
PICTURE = textured(640)
NAME = r"slide s, tile row 1 column 1: "


def microscope(**options):
    return ReadyMicroscope(PICTURE, FRAME_PX, **options)


class Keeping:
    """A camera's buffer: lets a test hand out an older frame."""

    def __init__(self, bad, times):
        self.bad, self.times, self.last = bad, times, None

    def __call__(self, count, image):
        if 5 <= count < 5 + self.times:
            return self.bad(image, self.last)
        self.last = image
        return image


def half(image, last):
    pixels = image.pixels.copy()
    pixels[80:] = 0
    return replace(image, pixels=pixels)


def torn(image, last):
    pixels = image.pixels.copy()
    pixels[80:] = last.pixels[80:]
    return replace(image, pixels=pixels)


BAD = {
    "stale": (lambda image, last: replace(image, pixels=last.pixels), "the same frame as before the move"),
    "half": (half, r"half a frame \(the last 38%"),
    "torn": (torn, "half a frame .part of it shows the last one"),
    "smaller": (lambda image, last: replace(image, pixels=image.pixels[:64]), "shape 64x128x3 instead of 128x128x3"),
    "grey": (lambda image, last: replace(image, pixels=image.pixels[..., 0]), "shape 128x128 instead"),
    "16 bit": (lambda image, last: replace(image, pixels=image.pixels.astype(np.uint16)), "type uint16"),
    "dark": (lambda image, last: replace(image, pixels=np.zeros_like(image.pixels)), "without a picture"),
    "old": (lambda image, last: replace(image, time_s=image.time_s - 3), r"taken \d\.\d\d s before the stage"),
    "elsewhere": (
        lambda image, last: replace(image, position=PositionUm(0.0, 0.0, image.position.z_um)),
        "µm from where the stage",
    ),
}


@pytest.mark.parametrize(("bad", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_frame_is_taken_once_more(bad, said):
    sink = MemorySink()
    scan_slide(microscope(fault=Keeping(bad, 1)), sink, "s", GRID)
    assert len(sink.order) == 6
    ((level, text),) = sink.events
    assert level == "warning"
    assert text.startswith("slide s, tile row 1 column 1: the camera gave ")


@pytest.mark.parametrize(("bad", "said"), BAD.values(), ids=BAD.keys())
def test_a_second_bad_frame_ends_the_run_with_tile_and_cause(bad, said):
    sink = MemorySink()
    runner = ScanRunner(microscope(fault=Keeping(bad, 2)), sink, [SlideRun("s", TileArea(GRID))])
    with pytest.raises(DeviceError, match=NAME + ".*" + said) as failed:
        runner.run()
    assert "run the same command again" in failed.value.remedy
    assert runner.snapshot.state is RunState.FAILED
    assert len(sink.order) == 4
    scan_slide(microscope(), sink, "s", GRID)
    assert len(sink.order) == 6


def test_a_stage_that_does_not_arrive_ends_the_run_with_the_tile(monkeypatch):
    device = microscope()
    move = device.stage.move_xy

    def sticking(x_um, y_um):
        if (x_um, y_um) == (0.0, pytest.approx(28.8)):
            raise DeviceError("the xy stage was sent to 0 µm and reports 12 µm", "check for an obstacle")
        move(x_um, y_um)

    monkeypatch.setattr(device.stage, "move_xy", sticking)
    sink = MemorySink()
    with pytest.raises(DeviceError, match=NAME + "the xy stage was sent to") as failed:
        scan_slide(device, sink, "s", GRID)
    assert failed.value.remedy == "check for an obstacle"
    assert len(sink.order) == 4


def test_a_stage_that_says_nothing_but_stands_elsewhere_is_found_out():
    class Lazy(ReadyStage):
        def move_xy(self, x_um, y_um):
            super().move_xy(x_um - 20 if self.moves > 30 else x_um, y_um)

    with pytest.raises(DeviceError, match=r"slide s, tile row \d column \d.*20\.0 µm from where the stage was sent"):
        scan_slide(microscope(stage=Lazy()), MemorySink(), "s", GRID)


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_a_clock_that_jumps_ends_nothing_and_is_written_down(jump_s, monkeypatch):
    real, jumped = time.time, []
    monkeypatch.setattr(time, "time", lambda: real() + sum(jumped))

    def jump(count, image):
        if count == 3:
            jumped.append(jump_s)
            return replace(image, time_s=time.time())
        return image

    sink = MemorySink()
    scan_slide(microscope(fault=jump), sink, "s", GRID)
    assert len(sink.order) == 6
    ((level, text),) = sink.events
    assert level == "warning"
    assert f"clock was set by {jump_s:+.1f} s" in text


def test_a_sink_that_fails_is_told_and_hides_nothing():
    def full():
        if len(sink.order) == 3:
            raise SessionError("writing failed", "check the disk")

    sink = MemorySink(full)
    with pytest.raises(SessionError, match="writing failed"):
        scan_slide(microscope(), sink, "s", GRID)
    assert len(sink.order) == 3


def test_the_last_tile_is_waited_for():
    def fail():
        if len(sink.order) == 6:
            time.sleep(0.05)
            raise SessionError("writing failed", "check the disk")

    sink = MemorySink(fail)
    with pytest.raises(SessionError, match="writing failed"):
        scan_slide(microscope(), sink, "s", GRID)


def test_a_failure_of_the_last_store_is_added_to_the_one_before_it(monkeypatch):
    device = microscope()

    def fail():
        if len(sink.order) == 2:
            time.sleep(0.02)
            raise SessionError("writing failed", "check the disk")

    def sticking(x_um, y_um):
        if len(sink.order) == 2 or x_um > 50:
            raise DeviceError("the stage is stuck", "free it")
        ReadyStage.move_xy(device.stage, x_um, y_um)

    sink = MemorySink(fail)
    monkeypatch.setattr(device.stage, "move_xy", sticking)
    with pytest.raises(DeviceError, match="stuck") as failed:
        scan_slide(device, sink, "s", GRID)
    assert any("writing failed" in note for note in failed.value.__notes__)


def test_a_saturated_field_is_no_stale_frame():
    """An overexposed field has no noise that tells two frames apart."""
    def white(count, image):
        return replace(image, pixels=np.full_like(image.pixels, 255))

    sink = MemorySink()
    assert ScanRunner(microscope(fault=white), sink, [SlideRun("s", TileArea(GRID))]).run().marks["saturated"] == 6
