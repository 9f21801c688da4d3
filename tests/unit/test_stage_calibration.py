"""Calibrating finds how the camera stands to the stage, refuses what the pictures don't support, and then is obeyed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from micromanager_demo import demo_config, demo_link, no_question
from picturing_core import PicturingCore, stripes, texture

from mobilescope.acquire.stage_calibration import CalibrationOptions, calibrate_stage
from mobilescope.core.errors import CalibrationError, CancelledError, LimitError
from mobilescope.core.progress import StopToken
from mobilescope.core.stage_calibration import StageCalibration
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop

SPECIMEN = texture()


@pytest.fixture(scope="module")
def link():
    with demo_link("python") as made:
        yield made


@pytest.fixture
def make(link):
    """Build a microscope that sees a specimen; rough is its pixel size before the calibration."""

    def build(specimen=SPECIMEN, *, rough_um=0.8, calibration=None, x_limits_um=None, **camera):
        link.call("go home", "set_xy_position", "XY", 0.0, 0.0)
        core = PicturingCore(link, specimen, **camera)
        keys = {"pixel_size_um": rough_um} if calibration is None else {}
        config = demo_config(frame_px=256, x_limits_um=x_limits_um, **keys)
        return MicroManagerBenchtop(core, config, calibration=calibration, ask_mount=no_question)

    return build


def as_calibration(measured):
    (xx, xy), (yx, yy) = measured.affine.device_to_stage.tolist()
    return StageCalibration(
        pixel_size_um=measured.affine.pixel_size_um, device_to_stage=((xx, xy), (yx, yy)),
        rotation_deg=measured.affine.rotation_deg, mirrored=measured.affine.mirrored, residual_um=0.1,
        pixel_size_error=measured.affine.pixel_size_error, backlash_um=measured.backlash_um, moves=measured.moves,
        frame_rows=256, frame_columns=256,
    )


@pytest.mark.parametrize(("rotation_deg", "mirrored"), [(0, False), (7.0, False), (-93.0, False), (176.0, True)])
def test_how_the_camera_stands_to_the_stage_is_found(make, rotation_deg, mirrored):
    found = calibrate_stage(make(rotation_deg=rotation_deg, mirrored=mirrored, play_um=3.0))
    assert found.affine.pixel_size_um == pytest.approx(0.8, rel=0.002)
    assert found.affine.rotation_deg == pytest.approx(rotation_deg, abs=0.15)
    assert found.affine.mirrored is mirrored
    assert found.affine.residual_px < 0.2
    assert found.backlash_um == pytest.approx((3, 3), abs=0.2)


@pytest.mark.parametrize("rough_um", [0.25, 2.5])
def test_a_rough_pixel_size_is_enough(make, rough_um):
    found = calibrate_stage(make(rough_um=rough_um), options=CalibrationOptions(repeats=1))
    assert found.affine.pixel_size_um == pytest.approx(0.8, rel=0.003)


@pytest.mark.parametrize(("rotation_deg", "mirrored"), [(12.0, False), (171.0, True)])
def test_what_was_calibrated_is_obeyed(make, rotation_deg, mirrored):
    """A move to the right shows what was on the right: the content goes left by as much, and not up or down."""
    turned = {"rotation_deg": rotation_deg, "mirrored": mirrored}
    calibration = as_calibration(calibrate_stage(make(**turned)))
    microscope = make(calibration=calibration, **turned)
    assert microscope.pixel_size_um == calibration.pixel_size_um
    microscope.stage.move_xy(10.0, 20.0)
    before = microscope.snap().pixels[..., 1]
    for move, content in (((50.0, 0.0), (-50.0, 0.0)), ((0.0, 40.0), (0.0, -40.0))):
        microscope.stage.move_xy(10.0 + move[0], 20.0 + move[1])
        at = microscope.stage.position()
        assert (at.x_um, at.y_um) == pytest.approx((10 + move[0], 20 + move[1]), abs=0.05)
        match = cv2.matchTemplate(before, microscope.snap().pixels[88:168, 88:168, 1], cv2.TM_CCOEFF_NORMED)
        _, score, _, (column, row) = cv2.minMaxLoc(match)
        assert score > 0.9
        seen_um = -(np.array([column, row]) - 88) * microscope.pixel_size_um
        assert seen_um == pytest.approx(content, abs=1.0)


def test_limits_hold_in_the_coordinates_of_the_device(make):
    calibration = as_calibration(calibrate_stage(make(rotation_deg=180.0)))
    microscope = make(calibration=calibration, rotation_deg=180.0, x_limits_um=(-100.0, 500.0))
    microscope.stage.move_xy(-400.0, 0.0)
    with pytest.raises(LimitError, match=r"x = -150\.\d+ µm of the device, for \(150\.00, 0\.00\) µm in"):
        microscope.stage.move_xy(150.0, 0.0)


def test_allowed_play_is_covered_by_the_approach(make):
    found = calibrate_stage(make(play_um=28.0), options=CalibrationOptions(max_backlash_um=30.0))
    assert found.affine.pixel_size_um == pytest.approx(0.8, rel=0.002)
    assert found.backlash_um == pytest.approx((28, 28), abs=0.3)


REFUSED = {
    "blank": ({"specimen": np.full((600, 600, 3), 200, np.uint8)}, {}, "nothing to see here but noise"),
    "periodic": ({"specimen": stripes()}, {}, "repeats itself"),
    "a stage that stands still": ({"stuck": True}, {}, "does not follow the stage"),
    "too much play": ({"play_um": 25.0}, {"approach_um": 40.0}, "25.0 µm of play in x and 25.0"),
    "a pixel size that is not known well enough": ({}, {"max_error": 1e-6}, "the pixel size is known to"),
}


@pytest.mark.parametrize(("camera", "options", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_pictures_do_not_support_is_refused_and_the_stage_goes_home(make, camera, options, why):
    microscope = make(**camera)
    microscope.stage.move_xy(5.0, 6.0)
    with pytest.raises(CalibrationError, match=why):
        calibrate_stage(microscope, options=CalibrationOptions(**options))
    at = microscope.stage.position()
    assert (at.x_um, at.y_um) == pytest.approx((5, 6), abs=0.02)


def test_it_can_be_stopped(make):
    stop = StopToken()
    with pytest.raises(CancelledError):
        calibrate_stage(make(), on_progress=lambda progress: progress.done == 3 and stop.request(), stop=stop)
