"""The benchtop on Micro-Manager: what the instrument file says is checked, done, kept, and undone at the end."""

from __future__ import annotations

import numpy as np
import pytest
from java_process import JavaProcess
from micromanager_demo import demo_config, demo_link, no_question, reset

from mobilescope.core.errors import ConfigError, DeviceError, LinkLostError
from mobilescope.core.protocols import ChannelSwitch
from mobilescope.core.stage_calibration import StageCalibration
from mobilescope.data.schema import TILE_ROW
from mobilescope.devices.micromanager import JavaCore
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop

GREY = {"Camera.PixelType": "8bit", "Camera.Mode": "Artificial Waves"}


@pytest.fixture(scope="module", params=["python", "java"])
def shared_link(request):
    with demo_link(request.param) as made:
        yield made


@pytest.fixture
def link(shared_link):
    reset(shared_link)
    return shared_link


@pytest.fixture
def make(link):
    """Build a microscope on the link."""

    def build(*, core=link, ask_mount=no_question, calibration=None, **keys):
        backend = "java" if isinstance(link, JavaCore) else "python"
        return MicroManagerBenchtop(core, demo_config(backend, **keys), calibration=calibration, ask_mount=ask_mount)

    return build


class Meddled:
    """A link with some answers changed."""

    def __init__(self, link, **answers):
        self._link, self._answers = link, answers
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._link, name)

    def call(self, what, method, *arguments):
        self.calls.append((method, *arguments))
        change = self._answers.get(method)
        answer = self._link.call(what, method, *arguments)
        return answer if change is None else change(answer)


def calibration(**changes):
    values = {
        "pixel_size_um": 1.0, "device_to_stage": ((1, 0), (0, 1)), "rotation_deg": 0, "mirrored": False,
        "residual_um": 0.1, "pixel_size_error": 0.001, "backlash_um": (1, 1), "moves": 16, "frame_rows": 512,
        "frame_columns": 512,
    }
    return StageCalibration(**(values | changes))


class TestPixels:
    def test_the_demo_cameras_test_pattern_has_its_colours(self, link, make):
        """Its first rows ramp the first byte of a pixel, which is blue; then green, then red."""
        pixels = make().snap().pixels
        assert pixels[10, 510].tolist() == [0, 0, 255]
        assert pixels[100, 510].tolist() == [0, 255, 0]
        assert pixels[150, 510].tolist() == [255, 0, 0]

    def test_16_bit_colour_is_scaled(self, link, make):
        waves = {"Camera.PixelType": "64bitRGB", "Camera.Mode": "Artificial Waves"}
        pixels = make(properties=waves, exposure_ms=50.0).snap().pixels
        raw = np.asarray(link.call("read it again", "get_image")).view(np.uint16).reshape(512, 512, 4)
        assert np.abs(pixels - raw[..., 2::-1] / 257).max() <= 0.51
        assert pixels[..., 0].max() > 100

    def test_a_grey_camera_is_refused_with_the_way_out(self, make):
        with pytest.raises(ConfigError, match=r'gives 512x512 grey, 8 bit.*"Camera\.PixelType" = "32bitRGB"'):
            make(properties=GREY)

    @pytest.mark.parametrize("kind", ["8bit", "16bit"])
    def test_grey_is_copied_where_that_is_wanted(self, make, kind):
        image = make(properties=GREY | {"Camera.PixelType": kind}, grey="copy", exposure_ms=50.0).snap()
        assert (image.pixels == image.pixels[..., :1]).all()
        assert image.pixels.std() > 5
        assert "grey" in image.settings["frame"]


class TestFrames:
    def test_a_frame_of_another_size_is_refused(self, link, make):
        microscope = make()
        link.call("meddle", "set_property", "Camera", "Binning", "2")
        with pytest.raises(DeviceError, match=r"was 512x512 colour, 8 bit and is now 256x256 colour"):
            microscope.snap()

    def test_half_a_frame_is_refused(self, link, make):
        microscope = make(core=Meddled(link, get_image=lambda frame: frame.reshape(-1)[: frame.size // 2]))
        with pytest.raises(DeviceError, match="524288 bytes where a frame of 512x512 colour, 8 bit has 1048576"):
            microscope.snap()

    def test_the_whole_frame_is_restored_when_a_part_fails(self, link, make):
        failing = Meddled(link)
        microscope = make(core=failing)

        def fail(_):
            raise DeviceError("no picture")

        failing._answers["get_image"] = fail
        with pytest.raises(DeviceError, match="no picture"):
            microscope.snap(roi_px=64)
        assert link.call("look", "get_roi") == [0, 0, 512, 512]

    def test_a_part_is_the_middle_of_the_frame(self, make):
        microscope = make()
        whole = microscope.snap().pixels
        assert whole.shape == (512, 512, 3)
        # The test pattern starts anew in each region of interest, so that only the size tells.
        assert microscope.snap(roi_px=100).pixels.shape == (100, 100, 3)

    def test_a_camera_that_reads_whole_blocks_is_cut_to_size(self, link, make):
        class Blocky(Meddled):
            def call(self, what, method, *arguments):
                if method == "set_roi":
                    x, y, width, height = arguments
                    arguments = (x // 16 * 16, y, -(-(x % 16 + width) // 16) * 16, height)
                return super().call(what, method, *arguments)

        microscope = make(core=Blocky(link))
        assert microscope.snap(roi_px=100).pixels.shape == (100, 100, 3)
        assert ("set_roi", 192, 206, 128, 100) in microscope._link.calls

    def test_a_region_of_interest_of_the_person_is_the_frame_and_is_kept(self, link, make):
        link.call("choose", "set_roi", 100, 50, 256, 200)
        microscope = make()
        assert microscope.frame_shape == (200, 256)
        assert microscope.snap(roi_px=64).pixels.shape == (64, 64, 3)
        assert link.call("look", "get_roi") == [100, 50, 256, 200]

    def test_live_view_is_refused_since_its_frames_may_be_old(self, link, make):
        microscope = make()
        link.call("start", "start_continuous_sequence_acquisition", 1.0)
        with pytest.raises(DeviceError, match="stop live view in Micro-Manager"):
            microscope.snap()

    def test_every_picture_is_exposed_after_the_call(self, link, make):
        watched = Meddled(link)
        microscope = make(core=watched)
        watched.calls.clear()
        microscope.snap()
        names = [name for name, *_ in watched.calls]
        assert names.index("snap_image") < names.index("get_image")
        assert names.count("snap_image") == 1


class TestRoles:
    @pytest.mark.parametrize("role", ["camera", "xy_stage", "focus", "autofocus", "objective", "shutter", "light"])
    def test_an_unknown_device_is_refused_with_the_loaded_ones(self, make, role):
        with pytest.raises(ConfigError, match=rf"benchtop\.{role}: .* has no device 'Nosepiece'.*loaded DHub, Camera"):
            make(**{role: "Nosepiece"})

    def test_the_objective_is_recorded_and_watched(self, link, make):
        microscope = make()
        assert microscope.snap().settings["objective"] == "Nikon 10X S Fluor"
        link.call("turn", "set_property", "Objective", "Label", "Nikon 20X Plan Fluor ELWD")
        with pytest.raises(DeviceError, match="was 'Nikon 10X S Fluor' and is now 'Nikon 20X"):
            microscope.snap()

    def test_versions_and_configuration_are_recorded(self, link, make):
        image = make().snap()
        assert link.facts.items() <= image.settings.items()
        assert "MMCore version" in image.device
        # What a session has room for.
        assert len(image.device.encode()) <= TILE_ROW["device"].itemsize

    def test_exposure_is_set_and_recorded(self, make):
        assert make(exposure_ms=3.0).snap().exposure_ms == 3

    def test_limits_are_the_instrument_files(self, make):
        microscope = make(x_limits_um=(-10, 20), y_limits_um=(-30, 40), z_limits_um=(-2, 3))
        assert microscope.stage.z_range_um() == (-2, 3)
        microscope.stage.move_xy(20.0, 40.0)
        for target in ((21.0, 0.0), (0.0, 41.0)):
            with pytest.raises(DeviceError, match="outside the stage's range"):
                microscope.stage.move_xy(*target)

    def test_the_autofocus_device_works_within_the_limits(self, make):
        microscope = make(z_limits_um=(-5.0, 5.0))
        assert microscope.full_focus() == microscope.stage.position().z_um

    def test_continuous_focus_is_switched_off(self, link, make):
        watched = Meddled(link, is_continuous_focus_enabled=lambda _: True)
        make(core=watched)
        assert ("enable_continuous_focus", False) in watched.calls


class TestProperties:
    def test_tables_without_quotes_are_taken(self, link, make):
        make(properties={"Camera": {"Gain": 3, "DropPixels": False}})
        assert link.call("look", "get_property", "Camera", "Gain") == "3"

    @pytest.mark.parametrize(
        ("properties", "why"),
        [
            ({"Nosepiece.Label": "10x"}, r"has no device 'Nosepiece'.*loaded DHub"),
            ({"Camera.Colour": "yes"}, r"Camera has no property 'Colour'.*PixelType"),
            ({"Camera.PixelType": "RGB"}, r"can't be 'RGB'.*32bitRGB"),
            ({"Camera.CameraID": "V2"}, "can only be read"),
        ],
    )
    def test_what_a_device_does_not_have_is_refused(self, make, properties, why):
        with pytest.raises(ConfigError, match=why):
            make(properties=properties)

    def test_a_value_that_was_not_taken_is_refused(self, link, make):
        stubborn = Meddled(link, get_property=lambda value: "0" if value == "3" else value)
        with pytest.raises(ConfigError, match=r"Camera\.Gain was set to 3 and reads 0"):
            make(core=stubborn, properties={"Camera.Gain": 3})


class TestPixelSize:
    def test_it_is_micro_managers_where_nothing_else_says_it(self, make):
        assert make().pixel_size_um == 1.0

    def test_a_calibration_says_it_best(self, make):
        assert make(calibration=calibration(pixel_size_um=1.005)).pixel_size_um == 1.005

    @pytest.mark.parametrize(
        ("keys", "why"),
        [
            ({"pixel_size_um": 0.5}, r"instrument file \(benchtop.pixel_size_um\) says 0\.5 .* says 1 µm"),
            ({"calibration": calibration(pixel_size_um=1.02)}, r"the calibration says 1\.02 .* says 1 µm"),
            (
                {"calibration": calibration(), "pixel_size_um": 1.02},
                r"the calibration says 1 .*instrument file \(benchtop.pixel_size_um\) says 1\.02",
            ),
            ({"frame_rows": 1024}, "benchtop.frame_rows is 1024, and the camera gives 512"),
            ({"calibration": calibration(objective="Nikon 40X")}, "taken with objective 'Nikon 40X'"),
            ({"calibration": calibration(binning="2")}, "taken with binning '2', and now it is '1'"),
        ],
    )
    def test_what_does_not_agree_is_refused(self, make, keys, why):
        with pytest.raises(ConfigError, match=why):
            make(**keys)

    def test_without_any_it_is_refused(self, link, make):
        with pytest.raises(ConfigError, match="no pixel size is known"):
            make(core=Meddled(link, get_pixel_size_um=lambda _: 0.0))


class TestLight:
    def test_the_core_opens_the_shutter_for_the_exposure_alone(self, link, make):
        link.call("meddle", "set_auto_shutter", False)
        image = make().snap()
        assert link.call("look", "get_shutter_open", "White Light Shutter") is False
        assert link.call("look", "get_property", "Core", "AutoShutter") == "1"
        assert image.light.on
        assert image.light.source == "Micro-Manager White Light Shutter"

    def test_a_shutter_that_stays_open_is_closed_at_the_end(self, link, make):
        microscope = make(auto_shutter=False)
        microscope.snap()
        assert link.call("look", "get_shutter_open", "White Light Shutter") is True
        microscope._lamp.rest()
        assert link.call("look", "get_shutter_open", "White Light Shutter") is False

    def test_the_lamp_is_on_for_pictures_and_off_at_the_end(self, link, make):
        microscope = make(light="LED", light_on="Label=550nm", light_off="Label=Closed")
        assert link.call("look", "get_state_label", "LED") != "550nm"
        image = microscope.snap()
        assert link.call("look", "get_state_label", "LED") == "550nm"
        assert "LED" in image.light.source
        microscope._lamp.rest()
        assert link.call("look", "get_state_label", "LED") == "Closed"


class TestMounting:
    def test_the_person_is_asked_once_for_each_slide(self, make):
        asked = []
        microscope = make(ask_mount=asked.append)
        for slide in ("a", "a", "b", "a"):
            microscope.mount(slide)
        assert asked == ["a", "b", "a"]

    def test_a_slide_that_was_not_confirmed_is_asked_for_again(self, make):
        asked = []

        def ask(slide):
            asked.append(slide)
            if len(asked) == 2:
                raise DeviceError("nobody here")

        microscope = make(ask_mount=ask)
        microscope.mount("a")
        with pytest.raises(DeviceError):
            microscope.mount("b")
        microscope.mount("a")
        assert asked == ["a", "b", "a"]


class TestRestart:
    """Micro-Manager is started anew in the middle of the work."""

    def test_it_is_brought_to_where_it_was(self):
        server = JavaProcess()
        link = JavaCore(port=server.port, timeout_s=2.0)
        config = demo_config("java", frame_px=128, exposure_ms=7.0)
        microscope = MicroManagerBenchtop(link, config, ask_mount=no_question)
        before = microscope.snap()
        server.order("die")
        with pytest.raises(LinkLostError):
            microscope.snap()
        second = JavaProcess(server.port)
        try:
            after = microscope.snap()
            assert np.array_equal(after.pixels, before.pixels)
            assert after.exposure_ms == link.call("look", "get_exposure", "Camera") == 7
            microscope.close()
        finally:
            second.close()
            server.close()


def test_closing_leaves_the_stand_dark():
    with demo_link("python") as link:
        microscope = MicroManagerBenchtop(link, demo_config(auto_shutter=False), ask_mount=no_question)
        microscope.snap()
        assert link.call("look", "get_shutter_open", "White Light Shutter") is True
        microscope.close()
        microscope.close()
        assert link.call("look", "get_shutter_open", "White Light Shutter") is False


def test_a_failure_at_the_start_is_told_before_anything_is_lit():
    with demo_link("python") as link:
        with pytest.raises(ConfigError):
            MicroManagerBenchtop(
                link, demo_config(light="LED", light_on="Label=550nm", light_off="Label=Closed", frame_rows=77),
                ask_mount=no_question,
            )
        assert link.call("look", "get_state_label", "LED") != "550nm"


class TestChannels:
    @pytest.fixture(autouse=True)
    def _as_found(self, link):
        link.call("choose", "set_channel_group", "Channel")
        link.call("start from", "set_config", "Channel", "FITC")
        link.call("wait", "wait_for_config", "Channel", "FITC")

    def test_a_microscope_on_micromanager_switches_channels(self, make):
        assert isinstance(make(), ChannelSwitch)

    def test_selecting_moves_the_devices_and_sets_the_exposure(self, make, link):
        microscope = make()
        microscope.select("DAPI", 25.0, None, 1.0)
        assert link.call("look", "get_state_label", "Dichroic") == "400DCLP"
        image = microscope.snap()
        assert image.exposure_ms == pytest.approx(25.0)
        assert image.settings["channel"] == "DAPI"

    def test_a_channel_without_an_exposure_has_the_usual_one(self, make):
        microscope = make(exposure_ms=3.0)
        microscope.select("DAPI", 25.0, None, 1.0)
        microscope.select("Rhodamine", None, None, 1.0)
        assert microscope.snap().exposure_ms == pytest.approx(3.0)

    def test_at_rest_all_is_as_it_was_found(self, make, link):
        microscope = make(exposure_ms=3.0)
        microscope.select("DAPI", 25.0, None, 1.0)
        microscope.rest()
        assert link.call("look", "get_current_config", "Channel") == "FITC"
        image = microscope.snap()
        assert image.exposure_ms == pytest.approx(3.0)
        assert "channel" not in image.settings

    @pytest.mark.parametrize(
        ("name", "colour", "brightness", "said"),
        [("DAPY", None, 1.0, "DAPI"), ("DAPI", (255, 0, 0), 1.0, "ring"), ("DAPI", None, 0.5, "brightness")],
    )
    def test_what_it_can_not_give_is_refused(self, make, name, colour, brightness, said):
        assert said in make().refusal(name, None, colour, brightness)

    def test_what_it_can_give_is_not_refused(self, make):
        assert make().refusal("DAPI", 25.0, None, 1.0) == ""

    def test_an_unknown_group_is_refused_with_the_known_ones(self, make):
        with pytest.raises(ConfigError, match=r"channel_group.*'Chanel'.*Channel"):
            make(channel_group="Chanel")

    def test_without_a_group_every_channel_is_refused_by_what_is_missing(self, make, link):
        link.call("choose none", "set_channel_group", "")
        assert "channel_group" in make().refusal("DAPI", None, None, 1.0)
