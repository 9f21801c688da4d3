"""The light of a real phone that sends JPEGs alone, calibrated over a camera on the network."""

from __future__ import annotations

import numpy as np
import pytest
from mjpeg_camera import MjpegCamera
from software_instruments import SoftwareRing, SoftwareStage

from mobilescope.acquire.phone_light import take_light_frames
from mobilescope.app.instruments.phone_opening import picture_source
from mobilescope.app.pictures.known_light import KnownLight
from mobilescope.core.errors import CancelledError, DeviceError
from mobilescope.core.phone_config import PhoneConfig
from mobilescope.core.progress import StopToken
from mobilescope.data.phone_light import PhoneLight
from mobilescope.devices.phones.moving import StageMover
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.imaging.flat_field import shading_of

SHAPE = (96, 128)
DARK = np.zeros((*SHAPE, 3), np.uint8)
LIT = np.broadcast_to(np.linspace(180, 120, SHAPE[1])[None, :, None], (*SHAPE, 3)).round().astype(np.uint8)


class SeenRing(SoftwareRing):
    """A ring whose light the camera sees; the camera has a little noise in light, and none in the dark."""

    def __init__(self, camera):
        super().__init__()
        self._camera, self._rng = camera, np.random.default_rng(1)

    def state(self):
        state = super().state()
        self._camera.show(LIT + self._rng.integers(0, 3, LIT.shape).astype(np.uint8) if state.on else DARK)
        return state


@pytest.fixture
def phone():
    with MjpegCamera(DARK) as camera:
        config = PhoneConfig(kind="stream", pixel_um=0.5, url=camera.url, latency_ms=60, patience_s=5)
        made = RealPhone(
            picture_source(config), illuminator=SeenRing(camera), mover=StageMover(SoftwareStage, None), pixel_um=0.5,
            frame_shape=SHAPE, ask_mount=lambda _slide: None,
        )
        yield made
        made.close()


def test_black_pictures_that_are_all_the_same_are_dark_frames(phone):
    taken = take_light_frames(phone, "blank", frames=3)
    light = PhoneLight.of(taken.dark, taken.clear, taken.last, 3)
    assert (light.pictures, light.frame_shape, taken.dark.max()) == ("jpeg", SHAPE, 0)
    shading = shading_of(KnownLight.of(light, {}).smooth())
    assert shading[:, :8].max() < 1.1
    assert shading[24, -4, 1] > 1.8


def test_in_light_the_same_picture_again_is_still_a_camera_that_hangs(phone):
    phone.capture(0, 0)
    phone.capture(0, 0)
    phone.illuminator.state = lambda: SoftwareRing.state(phone.illuminator)  # the camera sees the ring no more
    phone.illuminator.set_colour(255, 255, 255)
    with pytest.raises(DeviceError, match=r"same picture again.*hangs"):
        phone.capture(0, 0)


def test_a_calibration_that_is_stopped_does_not_say_that_anything_is_kept(phone):
    stop = StopToken()
    with pytest.raises(CancelledError, match=r"stopped on request") as stopped:
        take_light_frames(phone, "blank", frames=3, stop=stop, on_progress=lambda _: stop.request())
    assert stopped.value.remedy == "run the same command again; nothing was written"
    assert not SoftwareRing.state(phone.illuminator).on
