"""A camera over RTSP: fresh frames however it is read, and every way in which it may fail told with its cause."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from rtsp_camera import RtspCamera

from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.devices import camera_frames
from mobilescope.devices.camera_frames import CameraFrames
from mobilescope.devices.phones.stream_pictures import StreamPictures

SHAPE = (64, 160)
BITS = 10


def numbered(number, shape):
    """Return a picture that tells its number: a bright bar for each of its binary ones."""
    ones = [number >> bit & 1 for bit in range(BITS)]
    bars = np.repeat(np.uint8(ones) * 200 + 20, shape[1] // BITS)
    return np.broadcast_to(bars[None, :, None], (*shape, 3)).copy()


def number_of(pixels):
    bars = pixels.reshape(pixels.shape[0], BITS, -1).mean(axis=(0, 2)) > 120
    return int((bars << np.arange(BITS)).sum())


@pytest.fixture
def camera():
    with RtspCamera(numbered, shape=SHAPE) as camera:
        yield camera


@pytest.fixture
def opened(camera):
    """Open the camera as a stream that is closed at the end."""
    streams = []

    def make(url=None, **options):
        streams.append(CameraFrames(url or camera.url, **options))
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(camera_frames, "_TIMEOUT_MS", 1000)


def read_to_the_end(source):
    while source.read() is not None:
        pass


def test_what_was_sent_while_it_was_opened_is_let_pass(camera, opened):
    source = opened()
    already = camera.sent
    assert already > 5
    assert number_of(source.read().pixels) >= already


def test_the_newest_frame_comes_out_without_later_ones_that_push_it(camera, opened, monkeypatch):
    monkeypatch.setattr(camera_frames, "_TIMEOUT_MS", 60_000)
    camera.last, camera.hangs = 100, True
    source = opened()

    def read_on():
        # FFmpeg holds one frame back to see where it ends; a decoder of several threads one more for each.
        while number_of(source.read().pixels) < camera.last - 1:
            pass

    reader = threading.Thread(target=read_on)
    reader.start()
    reader.join(20)
    came = not reader.is_alive()
    camera.pull()
    reader.join()
    assert came


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("describes", [True, False])
def test_a_stream_that_is_joined_long_before_a_decoder_can_begin_is_waited_for(describes, camera, opened):
    camera.frame_s, camera.key_after, camera.describes = 0.008, 180, describes
    source = opened(patience_s=10)
    assert number_of(source.read().pixels) > 0
    # What has to be known of a stream before it is opened may come with that picture alone.
    assert camera.asked.count("PLAY") == (1 if describes else 2)


def test_damaged_pictures_are_passed_over_without_a_new_connection(camera, opened):
    camera.damaged = set(range(100, 110))
    source = opened()
    while number_of(source.read().pixels) < 115:
        pass
    assert camera.asked.count("PLAY") == 1


def test_a_slow_reader_gets_the_newest_frame(camera, opened):
    source = opened()
    first = number_of(source.read().pixels)
    for _ in range(2):
        wanted = camera.sent + 50
        camera.wait_for(wanted)
        late = number_of(source.read().pixels)
        assert late > first + 30
        first = late


def test_a_picture_is_of_the_time_after_the_field_stood_still(camera):
    source = StreamPictures(camera.url, latency_ms=100, patience_s=5)
    source.shape()
    for _ in range(3):
        source.prepare()
        before = camera.sent
        jpeg = source.take(StopToken(), ()).jpeg
        assert number_of(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)) > before
    source.close()


def test_tcp_is_asked_for_and_udp_is_taken_where_the_camera_wants_it(camera, opened):
    opened().read()
    assert [word for word in camera.asked if word.startswith("SETUP")] == ["SETUP RTP/AVP/TCP;unicast;interleaved=0-1"]
    camera.transports = {"udp"}
    assert opened().read().pixels.shape == (*SHAPE, 3)
    assert "client_port" in camera.asked[-2]


def test_a_password_opens_it_and_is_never_shown(camera, opened):
    camera.password = "lab:s@cret"
    source = opened(camera.url.replace("//", "//lab:s%40cret@"))
    assert source.read().pixels.shape == (*SHAPE, 3)
    assert source.name == f"camera {camera.url}"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("fault", "who", "said"), [
    ({"deaf": True}, "", r"127\.0\.0\.1:\d+ did not answer; wake the camera"),
    ({"password": "lab:s@cret"}, "", r"it asks for a name and a password; write the address as rtsp://NAME:PASSWORD@127"),
    ({"password": "lab:s@cret"}, "lab:hunter2@", r"it asks for a name and a password; check those in its address"),
    ({"missing": True}, "lab:hunter2@", r"it answers 404 Not Found; check the path"),
])
def test_why_it_does_not_open_is_told(fault, who, said, camera):
    for name, value in fault.items():
        setattr(camera, name, value)
    with pytest.raises(UserError, match=rf"can't be opened: {said}") as caught:
        CameraFrames(camera.url.replace("//", f"//{who}"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("address", "said"), [
    ("rtsp://127.0.0.1:9/live", r"nothing listens at 127\.0\.0\.1:9; wake"),
    ("http://127.0.0.1:9/video", r"nothing listens at 127\.0\.0\.1:9; wake"),
    ("rtsp://nowhere.invalid/live", r"there is no host 'nowhere\.invalid'; check"),
    ("rtsp://127.0.0.1:99999/live", r"opened; check that the address opens"),
    ("http://", r"camera http:// can't be opened: it names no host; write it as http://HOST"),
])
def test_an_address_where_nothing_is_is_told(address, said):
    with pytest.raises(UserError, match=said):
        CameraFrames(address)


@pytest.mark.usefixtures("impatient")
def test_a_camera_that_agrees_and_sends_nothing_is_told(camera, capfd):
    camera.mute = True
    with pytest.raises(UserError, match=r"can't be opened: it answers, but sends no video; check"):
        CameraFrames(camera.url)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("hangs", [False, True])
def test_a_stream_that_ends_or_falls_silent_is_told(hangs, camera, opened, capfd):
    camera.password = "lab:s@cret"
    source = opened(camera.url.replace("//", "//lab:s%40cret@"), patience_s=0.5)
    source.read()
    camera.hangs, camera.last = hangs, 0
    with pytest.raises(DeviceError, match=r"sent no more pictures and did not come back in 0\.5 s: it answers, but"):
        read_to_the_end(source)
    assert capfd.readouterr().err == ""


def test_a_cable_that_was_pulled_is_told_and_one_that_is_back_goes_on(camera, opened):
    source = opened(patience_s=20)
    source.read()
    camera.pull()
    camera.plug()
    already = camera.sent
    while number_of(source.read().pixels) <= already:
        pass
    impatient = opened(patience_s=0.5)
    impatient.read()
    camera.pull()
    with pytest.raises(DeviceError, match=r"did not come back in 0\.5 s: nothing listens at"):
        read_to_the_end(impatient)


def test_closing_wakes_a_reader(camera, opened):
    source, seen = opened(), []
    reader = threading.Thread(target=lambda: seen.extend(iter(source.read, None)))
    reader.start()
    source.close()
    reader.join(10)
    assert not reader.is_alive()
