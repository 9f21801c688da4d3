"""What every live stream keeps that obeys the protocol: folder, video file, camera, twin, phone page in one suite."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import cv2
import numpy as np
import pytest
import tifffile
from mjpeg_camera import MjpegCamera
from phone_page_parts import RawPage, jpeg_of, serving
from PIL import Image
from rtsp_camera import RtspCamera
from software_instruments import SoftwareRing

from mobilescope.core.errors import DeviceError, InputFileError, UserError
from mobilescope.core.protocols import FrameSource
from mobilescope.devices.camera_frames import CameraFrames
from mobilescope.devices.folder_frames import FolderFrames
from mobilescope.devices.video_frames import VideoFrames
from mobilescope.twin.live_stream import TwinLiveStream
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.slides import SlideRack, SlideSpec

FRAMES = 6
QUICK_FPS = 100.0


def picture(number=0, rows=48, columns=64):
    """Return a picture whose left half is red, and whose right half tells its number in blue."""
    image = np.zeros((rows, columns, 3), dtype=np.uint8)
    image[:, : columns // 2, 0] = 200
    image[:, columns // 2 :, 2] = 40 * (number % FRAMES + 1)
    return image


def write_folder(folder, count=FRAMES):
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture(number)[..., ::-1])
    return folder


def write_video(path, count=FRAMES, fps=QUICK_FPS):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(picture(number)[..., ::-1].copy())
    writer.release()
    return path


def twin_stream(ring=None, **options):
    parameters = load_parameters({"phone": {"bayer_rows": 96, "bayer_columns": 128}})
    ring = ring or SoftwareRing()
    ring.set_colour(255, 255, 255)
    slide = SlideRack({"a": SlideSpec(specimen="blood", seed=3)}, parameters.surface).slide("a")
    return TwinLiveStream(slide, parameters.phone, ring, title="a", frames_per_s=QUICK_FPS, **options)


def read_to_the_end(source):
    while source.read() is not None:
        pass


@contextmanager
def opened(kind, tmp_path):
    if kind == "phone page":
        with serving(tmp_path) as server:
            source, page, over = server.hub.frames(), RawPage(server).paired(), threading.Event()

            def send():
                for number in range(100_000):
                    if over.wait(1 / QUICK_FPS):
                        return
                    page.preview(number, data=jpeg_of(picture(number)))

            sender = threading.Thread(target=send)
            sender.start()
            yield source
            over.set()
            sender.join()
            page.close()
            source.close()
        return
    if kind == "camera":
        with MjpegCamera(picture()) as camera:
            source = CameraFrames(camera.url, pixel_size_um=0.5)
            yield source
            source.close()
        return
    if kind == "rtsp":
        with RtspCamera(lambda number, _: picture(number), shape=(48, 64)) as camera:
            source = CameraFrames(camera.url, pixel_size_um=0.5)
            yield source
            source.close()
        return
    source = {
        "folder": lambda: FolderFrames(write_folder(tmp_path / "f"), frames_per_s=QUICK_FPS, loop=True),
        "folder on demand": lambda: FolderFrames(write_folder(tmp_path / "f"), frames_per_s=None, loop=True),
        "video": lambda: VideoFrames(write_video(tmp_path / "v.avi"), loop=True),
        "video on demand": lambda: VideoFrames(write_video(tmp_path / "v.avi"), on_demand=True, loop=True),
        "twin": twin_stream,
    }[kind]()
    yield source
    source.close()


KINDS = ("folder", "folder on demand", "video", "video on demand", "camera", "rtsp", "twin", "phone page")


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    with opened(request.param, tmp_path) as source:
        yield source


def test_frames_are_rgb_bytes_that_count_up(source):
    assert isinstance(source, FrameSource)
    frames = [source.read() for _ in range(4)]
    for frame in frames:
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.shape[:2] == (48, 64)
        assert frame.pixels.shape[2] == 3
        assert frame.captured_s <= time.monotonic()
    indices = [frame.index for frame in frames]
    assert indices[0] >= 0
    assert all(earlier < later for earlier, later in pairwise(indices))
    times = [frame.captured_s for frame in frames]
    assert times == sorted(times)
    if source.on_demand:
        assert indices == [0, 1, 2, 3]


def test_red_is_the_first_channel(source):
    pixels = source.read().pixels[:, :24].astype(int)
    assert pixels[..., 0].mean() > pixels[..., 2].mean() + 10


def test_a_frame_stays_as_it_was_when_later_ones_come(source):
    first = source.read()
    before = first.pixels.copy()
    source.read()
    source.read()
    np.testing.assert_array_equal(first.pixels, before)


def test_after_closing_there_is_nothing_more_to_read(source):
    source.read()
    source.close()
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("kind", ["folder", "video", "camera", "rtsp", "twin", "phone page"])
def test_closing_wakes_a_reader(kind, tmp_path):
    with opened(kind, tmp_path) as source:
        seen = []

        def read_all():
            while (frame := source.read()) is not None:
                seen.append(frame.index)

        reader = threading.Thread(target=read_all)
        reader.start()
        source.close()
        reader.join(10)
        assert not reader.is_alive()


@pytest.mark.parametrize("make", [
    lambda folder: FolderFrames(write_folder(folder / "f"), frames_per_s=None, pixel_size_um=0.7),
    lambda folder: VideoFrames(write_video(folder / "v.avi"), on_demand=True, pixel_size_um=0.7),
])
def test_what_has_an_end_gives_every_frame_in_order_and_then_none(make, tmp_path):
    source = make(tmp_path)
    frames = [source.read() for _ in range(FRAMES)]
    assert [frame.index for frame in frames] == list(range(FRAMES))
    blues = [frame.pixels[:, 40:, 2].mean() for frame in frames]
    np.testing.assert_allclose(blues, [40 * (number + 1) for number in range(FRAMES)], atol=12)
    assert {frame.pixel_size_um for frame in frames} == {0.7}
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("make", [
    lambda folder: FolderFrames(write_folder(folder / "f"), frames_per_s=None, loop=True),
    lambda folder: VideoFrames(write_video(folder / "v.avi"), on_demand=True, loop=True),
])
def test_a_loop_begins_again(make, tmp_path):
    source = make(tmp_path)
    frames = [source.read() for _ in range(FRAMES + 1)]
    assert frames[-1].index == FRAMES
    np.testing.assert_array_equal(frames[-1].pixels, frames[0].pixels)
    source.close()


@pytest.mark.parametrize("make", [
    lambda folder: FolderFrames(write_folder(folder / "f"), frames_per_s=QUICK_FPS),
    lambda folder: VideoFrames(write_video(folder / "v.avi")),
])
def test_a_paced_stream_does_not_wait_for_a_slow_reader(make, tmp_path):
    source = make(tmp_path)
    assert source.read().index == 0
    time.sleep(3.5 / QUICK_FPS)
    assert source.read().index >= 3
    source.close()


def test_a_folder_takes_grey_and_16_bit_pictures_and_names_the_one_it_cant_read(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((8, 8), 90, np.uint8))
    cv2.imwrite(str(folder / "b.png"), np.full((8, 8, 3), 257 * 90, np.uint16))
    (folder / "c.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("not looked at")
    source = FolderFrames(folder, frames_per_s=None)
    for _ in range(2):
        np.testing.assert_array_equal(source.read().pixels, np.full((8, 8, 3), 90, np.uint8))
    with pytest.raises(InputFileError, match=r"c\.png"):
        source.read()
    source.close()


@pytest.mark.parametrize(("name", "said"), [
    ("whole.jpg", "truncated"), ("floats.tif", "float32 samples"), ("signed.tif", "int16 samples"),
    ("gone", "no image"),
])
def test_a_folder_shows_no_picture_as_something_else(tmp_path, name, said):
    """Half a JPEG came out grey at its end, and signed samples black."""
    folder = write_folder(tmp_path / "f")
    first = min(folder.iterdir())
    source = FolderFrames(folder, frames_per_s=None)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    first.unlink()
    if name == "whole.jpg":
        first.write_bytes(cv2.imencode(".jpg", picture.astype(np.uint8))[1].tobytes()[:-900])
    elif name != "gone":
        kind = np.float32 if name == "floats.tif" else np.int16
        tifffile.imwrite(first, picture.astype(kind), photometric="rgb")
    with pytest.raises(UserError, match=said):
        source.read()
    source.close()


def test_a_folder_turns_nothing_and_passes_on_what_a_tiff_says_of_its_pixels(tmp_path):
    """As `enhance` does, so that a picture is the same on both ways."""
    picture, notes = Image.fromarray(np.zeros((40, 60, 3), np.uint8)), Image.Exif()
    notes[0x0112] = 6  # orientation: a quarter turn
    picture.save(tmp_path / "a.jpg", exif=notes)
    tifffile.imwrite(tmp_path / "b.tif", np.asarray(picture), resolution=(1e4 / 0.9,) * 2, resolutionunit="CENTIMETER")
    source = FolderFrames(tmp_path, frames_per_s=None)
    first, second = source.read(), source.read()
    source.close()
    assert (first.pixels.shape, first.pixel_size_um) == ((40, 60, 3), None)
    assert second.pixel_size_um == pytest.approx(0.9)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="no pictures"):
        FolderFrames(tmp_path, frames_per_s=10)
    with pytest.raises(InputFileError, match="no folder"):
        FolderFrames(tmp_path / "nowhere", frames_per_s=10)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"\0" * 4096)
    with pytest.raises(InputFileError, match="not a video"):
        VideoFrames(tmp_path / "v.mp4")
    with pytest.raises(InputFileError, match="no video file"):
        VideoFrames(tmp_path / "nowhere.mp4")


def test_a_video_that_breaks_off_fails_instead_of_ending(tmp_path):
    path = write_video(tmp_path / "v.avi", count=200)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    source = VideoFrames(path, on_demand=True)
    with pytest.raises(InputFileError, match="breaks off after"):
        read_to_the_end(source)
    source.close()


def test_a_camera_keeps_only_its_newest_frame():
    with MjpegCamera(picture()) as camera:
        source = CameraFrames(camera.url)
        first = source.read()
        time.sleep(0.3)
        late = source.read()
        assert late.index - first.index > 3
        # What lay around is one frame, and the next one is a new one.
        assert source.read().captured_s > late.captured_s
        source.close()


def test_a_camera_that_was_unplugged_comes_back():
    with MjpegCamera(picture()) as camera:
        source = CameraFrames(camera.url, patience_s=20)
        before = source.read().index
        camera.pull()
        camera.plug()
        while (frame := source.read()).index <= before + 1:
            pass
        np.testing.assert_allclose(frame.pixels[10, 10], [200, 0, 0], atol=8)
        source.close()


def test_a_stream_of_jpegs_may_change_its_size_and_nothing_is_squeezed():
    """A phone is turned, or its app set to more pixels, and the stream goes on."""
    disc = np.full((120, 160, 3), 90, np.uint8)
    cv2.circle(disc, (80, 60), 40, (200, 60, 60), -1)
    with MjpegCamera(disc) as camera:
        source = CameraFrames(camera.url, pixel_size_um=0.9)
        turned, larger = disc.transpose(1, 0, 2), cv2.resize(disc, (320, 240))
        for sent, pixel_um in ((disc, 0.9), (turned, 0.9), (larger, None), (disc, 0.9)):
            camera.show(sent)
            frames = (source.read() for _ in range(100))
            frame = next((frame for frame in frames if frame.pixels.shape == sent.shape), None)
            assert frame is not None
            assert frame.pixel_size_um == pixel_um
            assert np.abs(frame.pixels.astype(int) - sent).mean() < 3
        source.close()


def test_damaged_jpegs_are_passed_over():
    with MjpegCamera(picture()) as camera:
        source = CameraFrames(camera.url)
        before = source.read()
        camera.send(b"\xff\xd8\xff\xdb no picture \xff\xd9")
        time.sleep(0.3)
        camera.show(picture())
        while (frame := source.read()).captured_s < before.captured_s + 0.3:
            pass
        assert frame.index > before.index
        np.testing.assert_allclose(frame.pixels[10, 10], [200, 0, 0], atol=8)
        source.close()


def test_a_camera_that_is_gone_is_an_error_that_says_so():
    with MjpegCamera(picture()) as camera:
        source = CameraFrames(camera.url, patience_s=0.5)
        source.read()
        camera.pull()
        with pytest.raises(DeviceError, match=r"sent no more pictures.*check"):
            read_to_the_end(source)
        source.close()


def test_a_camera_that_is_not_there_is_refused():
    with MjpegCamera(picture()) as camera:
        url = camera.url
    with pytest.raises(UserError, match="can't be opened"):
        CameraFrames(url)
    with pytest.raises(UserError, match=r"camera 63 can't be opened.*cable"):
        CameraFrames(63)
