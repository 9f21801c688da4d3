"""What every phone keeps that obeys the protocol: twin, folder, adb, camera app, streams and browser in one suite."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from adb_server import CAMERA, AdbServer, Phone
from ip_webcam import IpWebcam
from memory_sink import MemorySink
from phone_files import SHAPE, dng, jpeg_bytes, pair
from phone_page_parts import ScriptedPhone
from rtsp_camera import RtspCamera
from software_instruments import SoftwareRing, SoftwareStage

from mobilescope.acquire.capture import capture_fields
from mobilescope.app.instruments.phone_opening import picture_source
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.errors import CancelledError, DeviceError, LimitError
from mobilescope.core.phone_config import PhoneConfig
from mobilescope.core.phone_picture import AttendedPhone, PictureSource
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import PhoneCamera
from mobilescope.devices.phone_page.pictures import BrowserPictures
from mobilescope.devices.phones.moving import StageMover
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.plans.grids import FieldGrid

PIXEL_UM = 0.5
KINDS = ("twin", "folder", "adb", "webcam", "stream", "rtsp", "browser")
REAL = KINDS[1:]
STREAMS = ("stream", "rtsp")


@dataclass
class Ready:
    """A phone with what stands behind it; ``again_s`` is how long the other side needs for another picture."""

    phone: object
    ring: SoftwareRing
    stage: SoftwareStage
    behind: object


class Operator:
    """Takes a picture into a folder some time after being asked to."""

    def __init__(self, folder):
        self.folder, self.taken, self.said = folder, 0, []
        self.shape, self.threads = SHAPE, []
        self.deliver = self._pair

    def told(self, text):
        self.said.append(text)
        if "take a picture" in text and self.deliver is not None:
            self.taken += 1
            thread = threading.Timer(0.05, self.deliver)
            self.threads.append(thread)
            thread.start()

    def _pair(self):
        pair(self.folder, f"IMG_{self.taken:04d}", seed=self.taken, after_s=self.taken, shape=self.shape)


def shot(number, shape=SHAPE, folder=None):
    """Return the files of a release of an Android camera."""
    path = folder / "shot.dng"
    dng(path, seed=number, shape=shape, after_s=number)
    name = f"PXL_{number:04d}"
    return {f"{name}.dng": path.read_bytes(), f"{name}.jpg": jpeg_bytes(seed=number, shape=shape, after_s=number)}


def real_phone(source, ring, stage, *, tell=None, shape=SHAPE):
    return RealPhone(
        source, illuminator=ring, mover=StageMover(lambda: stage, tell), pixel_um=PIXEL_UM, frame_shape=shape,
        ask_mount=lambda _slide: None,
    )


@pytest.fixture
def make_phone(tmp_path, make_twin, monkeypatch):
    """Build a phone of a kind over a stage and a ring in software."""
    stack = ExitStack()

    def make(kind, *, shape=SHAPE, lit=True, **options):
        ring, stage = SoftwareRing(), SoftwareStage()
        if lit:
            ring.set_colour(255, 255, 255)
        if kind == "twin":
            twin = make_twin({"s": "blood"}, phone={"bayer_rows": SHAPE[0], "bayer_columns": SHAPE[1]})
            if lit:
                twin.phone.illuminator.set_colour(255, 255, 255)
            return Ready(twin.phone, twin.phone.illuminator, stage, twin)
        tell = None
        if kind == "browser":
            behind = ScriptedPhone(tmp_path, SHAPE)
            source = BrowserPictures(behind.serving, by_hand=options.get("by_hand", False), patience_s=2)
            phone = real_phone(source, ring, stage, shape=shape)
            stack.callback(phone.close)
            return Ready(phone, ring, stage, behind)
        if kind == "folder":
            folder = tmp_path / "arriving"
            folder.mkdir(exist_ok=True)
            behind = Operator(folder)
            stack.callback(lambda: [thread.join() for thread in behind.threads])
            config = {"folder": folder, "settle_s": 0.15, "patience_s": 20} | options
            monkeypatch.setattr("mobilescope.app.instruments.phone_opening.say", behind.told)
            tell = behind.told
        elif kind == "adb":
            android = Phone(shoot=lambda number: shot(number, folder=tmp_path))
            behind = stack.enter_context(AdbServer(android))
            config = {"host": "127.0.0.1", "port": behind.port, "patience_s": 20, "settle_s": 0.05} | options
        elif kind == "webcam":
            behind = stack.enter_context(IpWebcam())
            config = {"url": behind.url, "patience_s": 5} | options
        else:
            behind = stack.enter_context(IpWebcam() if kind == "stream" else RtspCamera())
            url = f"{behind.url}/video" if kind == "stream" else behind.url
            config = {"url": url, "latency_ms": 20, "patience_s": 2} | options
        source = picture_source(
            PhoneConfig(kind="stream" if kind in STREAMS else kind, pixel_um=PIXEL_UM, **config)
        )
        if kind == "adb":
            source._app_starts_s = 0.0
        phone = real_phone(source, ring, stage, tell=tell, shape=shape)
        stack.callback(phone.close)
        return Ready(phone, ring, stage, behind)

    with stack:
        yield make


@pytest.fixture(params=KINDS)
def ready(request, make_phone):
    made = make_phone(request.param)
    made.phone.mount("s")
    return made


def test_it_is_a_phone(ready):
    assert isinstance(ready.phone, PhoneCamera)
    assert ready.phone.frame_shape == SHAPE
    width, height = ready.phone.field_of_view_um
    assert width / height == pytest.approx(SHAPE[1] / SHAPE[0])


def test_a_capture_holds_raw_or_jpeg_with_what_develops_it(ready):
    before_s = time.time()
    capture = ready.phone.capture(120.0, -40.0)
    assert capture.bayer is not None or capture.jpeg
    if capture.bayer is not None:
        assert (capture.bayer.dtype, capture.bayer.shape) == (np.uint16, SHAPE)
        assert sorted(capture.cfa) == sorted("RGGB")
        assert capture.black_level < capture.white_level
    else:
        assert (capture.cfa, capture.black_level, capture.white_level) == ("", 0, 255)
    if capture.jpeg:
        assert cv2.imdecode(np.frombuffer(capture.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (*SHAPE, 3)
    assert develop_fresh(capture).shape == (SHAPE[0] // 2, SHAPE[1] // 2, 3)
    assert before_s <= capture.time_s <= time.time()
    assert (capture.nominal.x_um, capture.nominal.y_um) == (120.0, -40.0)
    assert capture.device


def test_the_light_is_told_as_it_was(ready):
    assert ready.phone.capture(0, 0).light == ready.ring.state()
    ready.ring.set_colour(10, 200, 30, 0.5)
    light = ready.phone.capture(100, 0).light
    assert (light.red, light.green, light.blue, light.brightness) == (10, 200, 30, 0.5)
    ready.ring.off()
    assert not ready.phone.capture(0, 100).light.on


def test_settings_are_text_that_fits_a_session(ready):
    settings = ready.phone.capture(0, 0).settings
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in settings.items())
    assert len(str(settings).encode()) < 2048


def test_each_capture_is_a_picture_of_its_own(ready):
    first, second = ready.phone.capture(0, 0), ready.phone.capture(50, 0)
    assert first.time_s < second.time_s
    assert first.jpeg != second.jpeg


@pytest.mark.parametrize("kind", REAL)
def test_the_stage_goes_to_each_field_and_its_word_is_kept(kind, make_phone):
    ready = make_phone(kind)
    capture = ready.phone.capture(300.0, 150.0)
    at = ready.stage.position()
    assert (at.x_um, at.y_um) == (300.0, 150.0)
    assert capture.settings["stage_um"] == "300.00 150.00 0.00"
    with pytest.raises(LimitError):
        ready.phone.capture(1e6, 0)


@pytest.mark.parametrize("kind", REAL)
def test_a_field_out_of_reach_is_refused_before_anything_moves(kind, make_phone):
    ready, sink = make_phone(kind), MemorySink()
    grid = FieldGrid(1, 3, 40_000.0, 100.0)
    with pytest.raises(LimitError, match="x ="):
        capture_fields(ready.phone, sink, "s", grid)
    assert ready.stage.position().x_um == 0
    assert sink.captures == {}


@pytest.mark.parametrize("kind", REAL)
def test_the_frame_is_learned_where_the_file_does_not_tell_it(kind, make_phone):
    ready = make_phone(kind, shape=None)
    if kind == "folder":
        pair(ready.behind.folder, "before")
    if kind == "adb":
        android = ready.behind.phones[0]
        android.files |= {f"{CAMERA}/{name}": data for name, data in android.shoot(900).items()}
    assert ready.phone.frame_shape == SHAPE
    assert ready.phone.capture(0, 0).nominal.x_um == 0


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize(("shape", "said"), [((48, 96), "begin another session"), ((96, 64), "lock the rotation")])
def test_a_changed_resolution_and_a_turned_picture_are_refused(kind, shape, said, make_phone, tmp_path):
    ready = make_phone(kind)
    if kind == "folder":
        ready.behind.shape = shape
    elif kind == "adb":
        ready.behind.phones[0].shoot = lambda number: shot(number, shape, tmp_path)
    else:
        ready.behind.shape = shape
    with pytest.raises(DeviceError, match=rf"{shape[1]}x{shape[0]} px.*{SHAPE[1]}x{SHAPE[0]}.*{said}"):
        ready.phone.capture(0, 0)


@pytest.mark.parametrize("kind", ["webcam", *STREAMS, "browser"])
def test_the_same_picture_twice_is_a_camera_that_hangs(kind, make_phone):
    ready = make_phone(kind)
    ready.behind.frozen = True
    ready.phone.capture(0, 0)
    with pytest.raises(DeviceError, match=r"same picture again.*hangs"):
        ready.phone.capture(0, 0)


@pytest.mark.parametrize("kind", REAL)
def test_it_can_be_closed_twice_and_is_real(kind, make_phone):
    ready = make_phone(kind)
    ready.phone.capture(0, 0)
    assert isinstance(ready.phone, AttendedPhone)
    assert isinstance(ready.phone._source, PictureSource)
    ready.phone.close()
    ready.phone.close()


@pytest.mark.parametrize("kind", ["folder", "adb", "browser"])
def test_waiting_ends_when_a_stop_is_asked_for(kind, make_phone):
    ready = make_phone(kind)
    if kind == "folder":
        ready.behind.deliver = None
    elif kind == "browser":
        ready.behind.deaf = True
    else:
        ready.behind.phones[0].shoot = None
    stop = StopToken()
    ready.phone.heed(stop)
    threading.Timer(0.3, stop.request).start()
    with pytest.raises(CancelledError):
        ready.phone.capture(0, 0)


@pytest.mark.parametrize("kind", ["webcam", *STREAMS, "browser"])
def test_a_phone_that_went_to_sleep_is_told_and_comes_back(kind, make_phone):
    ready = make_phone(kind)
    ready.phone.capture(0, 0)
    ready.behind.pull()
    with pytest.raises(DeviceError, match=r"(does not answer.*wake it|sent no more pictures|no phone is connected)"):
        ready.phone.capture(0, 0)
    ready.behind.plug()
    if kind != "browser":
        ready.phone._source.close()
    assert ready.phone.capture(0, 0).jpeg
