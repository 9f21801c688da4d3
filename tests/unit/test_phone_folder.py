"""A watched folder of phone pictures: only whole ones count, copies and strangers are told, nothing is guessed."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time

import pytest
from phone_files import SHAPE, dng, jpeg, jpeg_bytes, pair

from mobilescope.core.errors import CancelledError, DeviceError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.clock import PhoneClock
from mobilescope.devices.phones.folder_pictures import FolderPictures
from mobilescope.devices.phones.names import PictureNames, is_picture, is_safe, is_temporary, paired_by_name

NOBODY = StopToken()


@pytest.fixture
def watch(tmp_path):
    """Build the source over tmp_path/in; it keeps what was told in ``said``."""
    folder = tmp_path / "in"
    folder.mkdir()

    def make(pictures="dng+jpeg", patience_s=15.0, settle_s=0.1):
        said = []
        source = FolderPictures(
            folder, pictures=pictures, settle_s=settle_s, patience_s=patience_s, tell=said.append
        )
        source.prepare()
        source.folder, source.said = folder, said
        return source

    return make


def later(what, after_s=0.1):
    thread = threading.Timer(after_s, what)
    thread.start()
    return thread


def test_a_pair_is_kept_with_what_its_files_tell(watch):
    source = watch()
    raw, beside = pair(source.folder, "IMG_1", after_s=5)
    picture = source.take(NOBODY, ())
    assert picture.jpeg == beside.read_bytes()
    assert (picture.iso, picture.exposure_ms, picture.camera) == (100, 20, "Maker Phone 1")
    assert picture.facts["dng_file"] == raw.name
    assert len(picture.facts["dng_sha256"]) == 64
    assert picture.captured == "2026:11:29 10:00:05"


def test_what_lay_there_before_is_none_of_it(watch, tmp_path):
    pair(tmp_path / "in", "old")
    source = watch(patience_s=0.6)
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, ())


def test_a_file_that_still_grows_is_waited_for(watch):
    source = watch()
    data = dng(source.folder.parent / "a.dng").read_bytes()
    jpeg(source.folder / "a.jpg")

    def grow():
        with (source.folder / "a.dng").open("wb") as file:
            for begin in range(0, len(data), 2000):
                file.write(data[begin:begin + 2000])
                file.flush()
                time.sleep(0.04)

    thread = later(grow)
    picture = source.take(NOBODY, ())
    thread.join()
    assert picture.bayer.shape == SHAPE


def test_a_file_that_is_long_from_the_beginning_is_read_when_it_is_whole(watch):
    """Some programs make room for the whole file first and fill it then."""
    source = watch(settle_s=0.15)
    whole = dng(source.folder.parent / "a.dng").read_bytes()
    jpeg(source.folder / "a.jpg")
    (source.folder / "a.dng").write_bytes(b"\0" * len(whole))
    thread = later(lambda: (source.folder / "a.dng").write_bytes(whole), 0.6)
    assert source.take(NOBODY, ()).bayer is not None
    thread.join()


@pytest.mark.parametrize("name", [
    ".pending-17-IMG.dng", ".IMG.dng.aX3", "IMG.dng.part", "IMG.dng.crdownload", "IMG.part.dng", "~syncthing~IMG.dng",
    "._IMG.dng", "IMG.dng.tmp", "IMG.tmp",
])
def test_temporary_names_are_left_alone(name, watch):
    source = watch("dng", patience_s=0.5)
    dng(source.folder / name)
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, ())
    assert source.said == []


def test_a_file_is_taken_when_it_gets_its_own_name(watch):
    source = watch("dng")
    dng(source.folder / "IMG.dng.part")
    thread = later(lambda: (source.folder / "IMG.dng.part").rename(source.folder / "IMG.dng"), 0.3)
    assert source.take(NOBODY, ()).facts["dng_file"] == "IMG.dng"
    thread.join()


def test_the_jpeg_may_come_long_after_the_raw_picture(watch):
    source = watch()
    dng(source.folder / "IMG_1.dng")
    thread = later(lambda: jpeg(source.folder / "IMG_1.jpg"), 0.5)
    picture = source.take(NOBODY, ())
    thread.join()
    assert picture.bayer is not None
    assert picture.jpeg


def test_half_a_picture_is_told_with_what_to_set(watch):
    source = watch(patience_s=0.6)
    dng(source.folder / "IMG_1.dng")
    with pytest.raises(DeviceError, match=r'only IMG_1.dng came.*pictures = "dng\+jpeg"'):
        source.take(NOBODY, ())


def test_raw_picture_and_jpeg_numbered_apart_are_one_if_their_times_agree(watch):
    source = watch()
    dng(source.folder / "RAW_77.dng", after_s=3)
    jpeg(source.folder / "IMG_12.jpg", after_s=3)
    picture = source.take(NOBODY, ())
    assert (picture.facts["dng_file"], picture.facts["jpeg_file"]) == ("RAW_77.dng", "IMG_12.jpg")


def test_raw_picture_and_jpeg_of_other_times_are_not_one(watch):
    source = watch(patience_s=5)
    dng(source.folder / "RAW_77.dng", after_s=3)
    jpeg(source.folder / "IMG_12.jpg", after_s=60)
    with pytest.raises(DeviceError, match="not of one picture"):
        source.take(NOBODY, ())


@pytest.mark.parametrize("untold", ["dng", "jpeg"])
def test_raw_picture_and_jpeg_numbered_apart_are_not_guessed_to_be_one(untold, watch):
    source = watch(patience_s=5)
    dng(source.folder / "RAW_77.dng", told=untold != "dng")
    jpeg(source.folder / "IMG_12.jpg", told=untold != "jpeg")
    with pytest.raises(DeviceError, match=r"not both say when they were taken"):
        source.take(NOBODY, ())


def test_of_one_name_a_pair_needs_no_times(watch):
    source = watch()
    dng(source.folder / "IMG_1.dng", told=False)
    jpeg(source.folder / "IMG_1.jpg")
    assert source.take(NOBODY, ()).jpeg


def test_a_pair_whose_jpeg_was_used_alone_is_passed_over(watch):
    source = watch(patience_s=0.6)
    _, beside = pair(source.folder, "IMG_1")
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, {hashlib.sha256(beside.read_bytes()).hexdigest()})
    assert "byte for byte" in source.said[0]


def test_a_copy_of_a_used_picture_is_passed_over(watch):
    source = watch("dng")
    first = dng(source.folder / "IMG_1.dng")
    used = source.take(NOBODY, ())
    source.prepare()
    shutil.copy(first, source.folder / "IMG_1 (1).dng")
    thread = later(lambda: dng(source.folder / "IMG_2.dng", seed=2, after_s=9), 0.5)
    picture = source.take(NOBODY, {used.facts["dng_sha256"]})
    thread.join()
    assert picture.facts["dng_file"] == "IMG_2.dng"
    assert "passed over" in source.said[0]
    assert "byte for byte" in source.said[0]


def test_of_two_pictures_for_one_field_the_first_counts_and_the_second_is_not_taken_for_the_next_field(watch):
    source = watch("dng", patience_s=0.8)
    for number in (1, 2):
        dng(source.folder / f"IMG_{number}.dng", seed=number, after_s=number)
        os.utime(source.folder / f"IMG_{number}.dng", (time.time() + number, time.time() + number))
    assert source.take(NOBODY, ()).facts["dng_file"] == "IMG_1.dng"
    source.prepare()
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, ())


def test_a_picture_taken_before_it_was_asked_for_is_told_by_the_phones_clock_however_wrong_it_is(watch, monkeypatch):
    """A sync app may bring a second picture of the last field after the next one was asked for."""
    source = watch("dng", patience_s=1.0)
    clock_s = [1_000_000.0]
    monkeypatch.setattr("mobilescope.devices.phones.arrivals.time.time", lambda: clock_s[0])
    dng(source.folder / "IMG_1.dng", seed=1, after_s=0)
    source.take(NOBODY, ())
    clock_s[0] += 60
    source.prepare()
    thread = later(lambda: dng(source.folder / "IMG_2.dng", seed=2, after_s=2), 0.1)
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, ())
    thread.join()
    assert "taken before this field was asked for" in source.said[0]
    clock_s[0] += 60
    source.prepare()
    thread = later(lambda: dng(source.folder / "IMG_3.dng", seed=3, after_s=121), 0.1)
    assert source.take(NOBODY, ()).facts["dng_file"] == "IMG_3.dng"
    thread.join()


def test_a_clock_that_was_set_anew_begins_anew():
    clock = PhoneClock()
    clock.heard(1000, 5000, 5010)
    assert clock.surely_before(1040, 5060)
    assert not clock.surely_before(1058, 5060)
    clock.heard(90_000, 5100, 5110)
    assert not clock.surely_before(90_030, 5120)


@pytest.mark.parametrize("make", [
    lambda path: path.write_bytes(b"II*\x00 and nothing more"),
    lambda path: path.write_bytes(jpeg_bytes()),
    lambda path: path.write_bytes(dng(path.parent.parent / "b.dng").read_bytes()[:4000]),
], ids=["header alone", "a JPEG", "cut short"])
def test_what_only_looks_like_a_raw_picture_ends_with_its_name(make, watch):
    source = watch("dng", settle_s=0.05)
    make(source.folder / "IMG_1.dng")
    with pytest.raises(DeviceError, match=r"can't be used.*IMG_1\.dng"):
        source.take(NOBODY, ())


def test_a_jpeg_without_notes_is_taken_and_says_so(watch):
    source = watch("jpeg")
    jpeg(source.folder / "a.jpg", told=False)
    picture = source.take(NOBODY, ())
    assert (picture.bayer, picture.cfa, picture.facts["exif"]) == (None, "", "none")
    assert (picture.iso, picture.captured_s) == (0, None)


def test_the_orientation_is_kept_and_turns_nothing(watch):
    source = watch("jpeg")
    jpeg(source.folder / "a.jpg", orientation=6)
    picture = source.take(NOBODY, ())
    assert (picture.shape, picture.facts["orientation"]) == (SHAPE, "6")


def test_links_and_strange_names_are_left_alone(watch, tmp_path):
    source = watch("dng", patience_s=0.6)
    (source.folder / "link.dng").symlink_to(dng(tmp_path / "elsewhere.dng"))
    dng(source.folder / "a\nb.dng")
    os.mkfifo(source.folder / "pipe.dng")
    with pytest.raises(DeviceError, match="no picture came"):
        source.take(NOBODY, ())
    assert len(source.said) == 1
    assert r"'a\nb.dng'" in source.said[0]


def test_a_camera_that_saves_what_nothing_reads_is_told_so_once(watch):
    source = watch("jpeg")
    for number in (1, 2):
        (source.folder / f"IMG_{number}.heic").write_bytes(b"ftypheic")
    thread = later(lambda: jpeg(source.folder / "a.jpg"), 0.4)
    source.take(NOBODY, ())
    thread.join()
    assert len(source.said) == 1
    assert "HEIC is not read: set the camera to DNG or JPEG" in source.said[0]


def test_a_folder_that_is_gone_is_told(watch):
    source = watch()
    shutil.rmtree(source.folder)
    with pytest.raises(DeviceError, match=r"can't be read \(No such file"):
        source.take(NOBODY, ())


def test_a_stop_ends_the_waiting(watch):
    stop = StopToken()
    stop.request()
    with pytest.raises(CancelledError):
        watch().take(stop, ())


def test_without_any_picture_the_frame_is_not_known(watch):
    with pytest.raises(UserError, match="frame_rows and frame_columns"):
        watch().shape()


@pytest.mark.parametrize(("names", "pairs"), [
    (["IMG_1.dng", "IMG_1.jpg"], [("IMG_1.dng", "IMG_1.jpg")]),
    (["img_1.DNG", "IMG_1.JPG"], [("img_1.DNG", "IMG_1.JPG")]),
    (
        ["PXL_5.RAW-01.COVER.jpg", "PXL_5.RAW-02.ORIGINAL.dng"],
        [("PXL_5.RAW-02.ORIGINAL.dng", "PXL_5.RAW-01.COVER.jpg")],
    ),
    (["IMG_1_RAW.dng", "IMG_1.jpeg"], [("IMG_1_RAW.dng", "IMG_1.jpeg")]),
    (["a.dng", "b.jpg"], [("a.dng", None), (None, "b.jpg")]),
    (["a.dng", "a.jpg", "a.jpeg"], [("a.dng", "a.jpg"), (None, "a.jpeg")]),
])
def test_names_that_belong_together(names, pairs):
    expected = {PictureNames(*pair) for pair in pairs}
    found = paired_by_name(names)
    assert len(found) == len(expected)
    if names[-1] == "a.jpeg":
        assert {len(picture.names) for picture in found} == {1, 2}
    else:
        assert set(found) == expected


@pytest.mark.parametrize("name", [
    "../a.dng", "a/b.dng", "..", "", "a\0.dng", "a\x1b[2J.dng", "x" * 300 + ".dng", "a\\b.dng",
])
def test_names_that_lead_elsewhere_are_not_safe(name):
    assert not is_safe(name)
    assert not is_picture(name, (".dng",))


def test_usual_names_are_not_taken_for_temporary_ones():
    for name in ("IMG_20261129_100000.dng", "PXL_5.RAW-02.ORIGINAL.dng", "photo (1).jpg", "Partial view.jpg"):
        assert not is_temporary(name)
