"""What every microscope, phone scope and light keeps: the twin, and Micro-Manager's demo devices of both backends."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from micromanager_demo import demo_benchtop

from mobilescope.app.instruments.lighting import RingLight
from mobilescope.core.config import RingConfig
from mobilescope.core.errors import ConfigError, LimitError, UserError
from mobilescope.core.protocols import BenchtopMicroscope, ExposureControl, Illuminator, PhoneCamera
from mobilescope.devices.micromanager import MicroManagerStage, demo_configuration
from mobilescope.imaging.raw import develop_srgb

SMALL = {"bayer_rows": 128, "bayer_columns": 160}


TWINS = ("twin over micromanager", "twin over software")


def twin(kind, make_twin):
    device = MicroManagerStage(demo_configuration()) if kind == "twin over micromanager" else None
    return make_twin({"blood": "blood", "tissue": "h&e"}, device=device, frame_px=128).benchtop


def at_the_start(microscope):
    microscope.stage.move_xy(0.0, 0.0)
    microscope.stage.move_z(0.0)
    microscope.mount("blood")
    return microscope


@pytest.fixture(scope="module", params=[*TWINS, "micromanager, python", "micromanager, java"])
def built(request, make_twin):
    if request.param in TWINS:
        yield twin(request.param, make_twin)
        return
    backend = request.param.removeprefix("micromanager, ")
    with demo_benchtop(backend, frame_px=128) as microscope:
        yield microscope


@pytest.fixture
def microscope(built):
    return at_the_start(built)


@pytest.fixture(params=TWINS)
def twin_microscope(request, make_twin):
    return at_the_start(twin(request.param, make_twin))


@pytest.fixture(params=["twin"])
def phone(make_twin):
    return make_twin({"blood": "blood", "tissue": "h&e"}, phone=SMALL).phone


class TestBenchtopMicroscope:
    def test_it_is_one(self, microscope):
        assert isinstance(microscope, BenchtopMicroscope)

    def test_a_picture_is_colour_of_the_frames_shape(self, microscope):
        image = microscope.snap()
        assert image.pixels.dtype == np.uint8
        assert image.pixels.shape == (*microscope.frame_shape, 3)
        assert image.pixel_size_um == microscope.pixel_size_um > 0

    @pytest.mark.parametrize(("roi_px", "side"), [(64, 64), (33, 33), (1000, 128)])
    def test_a_region_of_interest_is_a_square_within_the_frame(self, microscope, roi_px, side):
        assert microscope.snap(roi_px=roi_px).pixels.shape == (side, side, 3)

    def test_a_picture_carries_the_reported_position(self, microscope):
        microscope.stage.move_xy(60.0, -45.0)
        microscope.stage.move_z(4.5)
        at = microscope.snap().position
        assert at == microscope.stage.position()
        assert (at.x_um, at.y_um, at.z_um) == pytest.approx((60, -45, 4.5), abs=0.02)

    def test_a_picture_says_how_it_was_taken(self, microscope):
        image = microscope.snap()
        assert image.exposure_ms > 0
        assert image.light.on
        assert image.device
        assert image.time_s > 1.6e9

    def test_an_exposure_can_be_set_and_set_back(self, microscope):
        assert isinstance(microscope, ExposureControl)
        usual_ms = microscope.exposure_ms
        microscope.expose(usual_ms / 2)
        assert microscope.snap().exposure_ms == microscope.exposure_ms == pytest.approx(usual_ms / 2)
        microscope.expose(None)
        assert microscope.snap().exposure_ms == microscope.exposure_ms == pytest.approx(usual_ms)

    def test_times_do_not_run_backwards(self, microscope):
        times = [microscope.snap(roi_px=16).time_s for _ in range(3)]
        assert times == sorted(times)

    def test_its_stage_refuses_to_leave_its_range(self, microscope):
        before = microscope.stage.position()
        with pytest.raises(LimitError):
            microscope.stage.move_z(microscope.stage.z_range_um()[1] + 1)
        assert microscope.stage.position() == before

    def test_a_part_of_the_frame_leaves_the_next_picture_whole(self, microscope):
        microscope.snap(roi_px=32)
        assert microscope.snap().pixels.shape[:2] == microscope.frame_shape


class TestTwinBenchtop:
    """What a picture shows, which only a microscope with a specimen can tell."""

    @pytest.fixture
    def microscope(self, twin_microscope):
        return twin_microscope

    def test_the_picture_follows_the_stage(self, microscope):
        """Moving right by 20 µm brings what was right of the middle into it: 54 pixels to the left."""
        microscope.stage.move_xy(100.0, 0.0)
        before = microscope.snap().pixels[..., 1].astype(np.float32)
        microscope.stage.move_xy(120.0, 0.0)
        after = microscope.snap().pixels[..., 1].astype(np.float32)
        match = cv2.matchTemplate(before, after[32:96, 8:60], cv2.TM_CCOEFF_NORMED)
        _, score, _, (column, row) = cv2.minMaxLoc(match)
        assert score > 0.8
        # Both stops come from the left, so the play is the same; each stop repeats to 0.6 µm.
        assert (column - 8) * microscope.pixel_size_um == pytest.approx(20, abs=4)
        assert (row - 32) * microscope.pixel_size_um == pytest.approx(0, abs=4)

    def test_mounting_changes_the_slide(self, microscope):
        blood = microscope.snap().pixels
        microscope.mount("tissue")
        assert np.abs(blood.astype(int) - microscope.snap().pixels).mean() > 3

    def test_an_unknown_slide_is_refused_and_the_mounted_one_stays(self, microscope):
        before = microscope.snap().pixels
        with pytest.raises(ConfigError, match="'cheese'"):
            microscope.mount("cheese")
        assert np.abs(before.astype(int) - microscope.snap().pixels).mean() < 2


class TestPhoneCamera:
    def test_it_is_one(self, phone):
        assert isinstance(phone, PhoneCamera)

    def test_a_capture_is_a_raw_frame_with_its_jpeg(self, phone):
        phone.illuminator.set_colour(255, 255, 255)
        phone.mount("blood")
        capture = phone.capture(0.0, 0.0)
        assert capture.bayer.shape == phone.frame_shape
        assert capture.bayer.dtype == np.uint16
        assert capture.bayer.max() <= capture.white_level
        assert capture.black_level < capture.white_level
        assert sorted(capture.cfa) == sorted("RGGB")
        assert cv2.imdecode(np.frombuffer(capture.jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2] == phone.frame_shape

    def test_a_capture_develops_with_its_own_figures(self, phone):
        phone.illuminator.set_colour(255, 255, 255)
        capture = phone.capture(0.0, 0.0)
        picture = develop_srgb(
            capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
            white_balance=capture.white_balance,
        )
        assert 0.2 < picture.mean() / 65535 < 0.98

    def test_the_field_of_view_is_the_frame_times_the_pitch(self, phone):
        capture = phone.capture(0.0, 0.0)
        rows, columns = phone.frame_shape
        assert phone.field_of_view_um == pytest.approx(
            (columns * capture.bayer_pixel_um, rows * capture.bayer_pixel_um)
        )

    def test_a_capture_records_its_nominal_place_and_light(self, phone):
        phone.illuminator.set_colour(200, 100, 50, 0.5)
        capture = phone.capture(12.0, -34.0)
        assert (capture.nominal.x_um, capture.nominal.y_um) == (12, -34)
        assert capture.light == phone.illuminator.state()
        assert capture.exposure_ms > 0
        assert capture.iso > 0

    def test_an_unknown_slide_is_refused(self, phone):
        with pytest.raises(ConfigError, match="'cheese'"):
            phone.mount("cheese")


class TestIlluminator:
    """The ring that an instrument file asks for by default: the firmware, simulated, behind the real driver."""

    @pytest.fixture
    def light(self):
        with RingLight(RingConfig()) as light:
            yield light

    def test_it_is_one(self, light):
        assert isinstance(light, Illuminator)

    def test_it_starts_dark(self, light):
        assert not light.state().on

    def test_it_shows_what_it_was_told(self, light):
        light.set_colour(10, 20, 30, 0.5)
        state = light.state()
        assert (state.on, state.red, state.green, state.blue, state.brightness) == (True, 10, 20, 30, 0.5)

    def test_off_is_off_however_often(self, light):
        light.set_colour(255, 255, 255)
        light.off()
        light.off()
        state = light.state()
        assert (state.on, state.red, state.green, state.blue, state.brightness) == (False, 0, 0, 0, 0)

    def test_values_out_of_range_change_nothing(self, light):
        light.set_colour(1, 2, 3)
        before = light.state()
        for values in ((300, 0, 0), (0, -1, 0), (0, 0, 0, 2.0)):
            with pytest.raises(UserError):
                light.set_colour(*values)
        assert light.state() == before
