"""Phone pictures taken elsewhere: paired, ordered, copies told, bad ones named, and gone on with."""

from __future__ import annotations

import math
import os
import shutil
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest
import tifffile
from ingested import CONFIG, captures, ingest
from phone_files import SHAPE, dng, jpeg, jpeg_bytes, pair

from mobilescope.app.acquisition.acquiring import known_files, plan_of
from mobilescope.app.acquisition.ingesting import IngestOptions, ingest_folder
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.errors import CancelledError, InputFileError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import LightState, PositionUm
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.capture_files import jpeg_picture
from mobilescope.imaging.colour import decode_8bit, encode_16bit


def test_pairs_go_in_by_the_time_at_which_they_were_taken_whatever_they_are_called(folder):
    for name, after_s in (("c", 0), ("a", 120), ("b", 60)):
        pair(folder, name, seed=after_s, after_s=after_s)
    result = ingest(folder)
    assert (result.added, result.already, result.unplaced, result.skipped) == (3, 0, 3, ())
    records = captures(folder)
    assert [record.settings["dng_file"] for record in records] == ["c.dng", "b.dng", "a.dng"]
    assert [record.index for record in records] == [0, 1, 2]
    assert [round(record.time_s - records[0].time_s) for record in records] == [0, 60, 120]
    first = records[0]
    assert (first.cfa, first.black_level, first.white_level, first.iso) == ("RGGB", 64, 4095, 100)
    assert (first.exposure_ms, first.pixel_size_um, first.light.source) == (20, 0.5, "not recorded")
    assert math.isnan(first.position.x_um)
    assert math.isnan(first.position.y_um)
    with Session.open(folder.parent / "s.h5") as session:
        assert session.jpeg(first) == (folder / "c.jpg").read_bytes()
        assert session.header.benchtop_shape == (128, 96)
        assert session.header.phone_shape == SHAPE
        assert [slide.name for slide in plan_of(session).slides] == ["s"]


def test_the_same_command_again_adds_what_is_new_alone(folder):
    pair(folder, "a")
    ingest(folder)
    pair(folder, "b", seed=1, after_s=9)
    result = ingest(folder, slide=None, pixel_um=None)
    assert (result.added, result.already) == (1, 1)
    assert [record.index for record in captures(folder)] == [0, 1]
    assert (ingest(folder).added, ingest(folder).already) == (0, 2)


def test_a_stop_keeps_what_is_in_and_the_next_run_goes_on(folder):
    for number in range(4):
        dng(folder / f"{number}.dng", seed=number, after_s=number)
    stop = StopToken()

    def stop_after_two(progress):
        if progress.stage == "ingest s" and progress.done == 2:
            stop.request()

    with pytest.raises(CancelledError):
        ingest_folder(
            folder, folder.parent / "s.h5", CONFIG, IngestOptions(slide="s", pixel_um=0.5), source="x", stop=stop,
            on_progress=stop_after_two,
        )
    assert len(captures(folder)) == 2
    assert ingest(folder).added == 2
    assert [record.settings["dng_file"] for record in captures(folder)] == [f"{n}.dng" for n in range(4)]


def test_a_raw_picture_that_comes_after_its_jpeg_makes_no_second_capture_and_is_told(folder):
    jpeg(folder / "a.jpg", seed=1)
    ingest(folder)
    dng(folder / "a.dng", seed=1)
    result = ingest(folder)
    assert (result.added, result.already) == (0, 1)
    assert [(each.file, "new session" in each.reason) for each in result.skipped] == [("a.dng", True)]
    assert len(captures(folder)) == 1


def test_a_jpeg_is_known_from_the_pair_that_it_came_with(folder):
    pair(folder, "a")
    ingest(folder)
    (folder / "a.dng").unlink()
    result = ingest(folder)
    assert (result.added, result.already, result.skipped) == (0, 1, ())


def test_a_file_that_can_not_be_read_is_named_and_the_rest_goes_in(folder):
    pair(folder, "a")
    jpeg(folder / "b.jpg", seed=2, after_s=60)

    def gone_meanwhile(progress):
        (folder / "b.jpg").unlink(missing_ok=True)

    result = ingest_folder(
        folder, folder.parent / "s.h5", CONFIG, IngestOptions(slide="s", pixel_um=0.5), source="x",
        on_progress=gone_meanwhile,
    )
    assert result.added == 1
    assert result.to_json()["skipped"] == [
        {"file": "b.jpg", "reason": f"{folder / 'b.jpg'} can't be read (No such file or directory)"}
    ]


def test_a_pair_is_of_one_moment_though_one_file_alone_names_the_zone(folder):
    # Far from any zone that this computer may be in.
    dng(folder / "RAW_1.dng", zone="+13:45")
    jpeg(folder / "IMG_9.jpg")
    dng(folder / "IMG_5.dng", seed=2, after_s=600, zone="+13:45")
    jpeg(folder / "IMG_5.jpg", seed=2, after_s=600)
    assert ingest(folder).skipped == ()
    records = captures(folder)
    assert [record.settings["jpeg_file"] for record in records] == ["IMG_9.jpg", "IMG_5.jpg"]
    at = datetime(2026, 11, 29, 10, tzinfo=timezone(timedelta(hours=13, minutes=45))).timestamp()
    assert [record.time_s for record in records] == [at, at + 600]


def test_copies_are_told_and_left_out(folder):
    pair(folder, "a")
    shutil.copy(folder / "a.dng", folder / "Copy of a.dng")
    shutil.copy(folder / "a.jpg", folder / "z.jpg")
    result = ingest(folder)
    assert result.added == 1
    assert set(result.duplicates) == {("Copy of a.dng", "a.dng"), ("z.jpg", "a.jpg")}
    assert captures(folder)[0].settings["jpeg_file"] == "a.jpg"


def test_bad_files_are_named_with_the_reason_and_the_rest_goes_in(folder):
    pair(folder, "good")
    (folder / "fake.dng").write_bytes(b"II*\x00 not at all")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes(jpeg_bytes(seed=3)[:600])
    (folder / "empty.jpg").touch()
    dng(folder / "small.dng", seed=5, shape=(32, 32), after_s=50)
    dng(folder / "turned.dng", seed=6, shape=SHAPE[::-1], after_s=51)
    dng(folder / "IMG.part.dng", seed=7)
    (folder / "live.HEIC").write_bytes(b"ftypheic")
    (folder / "notes.txt").write_text("not looked at")
    result = ingest(folder)
    assert result.added == 1
    reasons = {each.file: each.reason for each in result.skipped}
    assert set(reasons) == {
        "fake.dng", "text.jpg", "cut.jpg", "empty.jpg", "small.dng", "turned.dng", "IMG.part.dng",
        "live.HEIC",
    }
    assert reasons["live.HEIC"] == "HEIC is not read: set the camera to DNG or JPEG"
    assert "no JPEG" in reasons["text.jpg"]
    assert "not whole" in reasons["cut.jpg"]
    assert "32x32" in reasons["small.dng"]
    assert "turned" in reasons["turned.dng"]
    assert "still being written" in reasons["IMG.part.dng"]
    ingest(folder)
    with Session.open(folder.parent / "s.h5") as session:
        assert sum("left fake.dng out" in event.text for event in session.events()) == 1


def test_raw_pictures_and_jpegs_that_are_numbered_apart_are_joined_by_their_moment(folder):
    for number in (1, 2):
        dng(folder / f"RAW_{number}.dng", seed=number, after_s=10 * number)
        jpeg(folder / f"IMG_{number + 6}.jpg", seed=number, after_s=10 * number)
    assert ingest(folder).added == 2
    assert [(each.settings["dng_file"], each.settings["jpeg_file"]) for each in captures(folder)] == [
        ("RAW_1.dng", "IMG_7.jpg"), ("RAW_2.dng", "IMG_8.jpg"),
    ]


def test_a_jpeg_alone_is_a_picture_and_without_notes_its_files_date_orders_it(folder):
    jpeg(folder / "late.jpg", seed=1, told=False)
    jpeg(folder / "early.jpg", seed=2, told=False)
    os.utime(folder / "early.jpg", (1e9, 1e9))
    result = ingest(folder)
    assert (result.added, result.untimed) == (2, 2)
    records = captures(folder)
    assert [record.settings["jpeg_file"] for record in records] == ["early.jpg", "late.jpg"]
    assert {record.settings["time_from"] for record in records} == {"file date"}
    with Session.open(folder.parent / "s.h5") as session:
        assert develop_capture(session, records[0]).shape == (32, 48, 3)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_developed_picture_comes_out_as_the_mean_of_its_light(name, folder):
    picture = np.random.default_rng(1).integers(5, 250, (40, 60, 3), dtype=np.uint8)
    if name.endswith("tif"):
        tifffile.imwrite(folder / name, picture, photometric="rgb")
    else:
        cv2.imwrite(str(folder / name), picture[..., ::-1])
    assert ingest(folder).added == 1
    with Session.open(folder.parent / "s.h5") as session:
        developed = develop_capture(session, session.captures("s")[0])
    expected = encode_16bit(decode_8bit(picture).reshape(20, 2, 30, 2, 3).mean(axis=(1, 3)))
    assert np.abs(developed.astype(int) - expected).max() <= 8


def test_nothing_usable_leaves_no_session(folder):
    with pytest.raises(InputFileError, match="holds no picture"):
        ingest(folder)
    (folder / "a.dng").write_bytes(b"no")
    with pytest.raises(InputFileError, match=r"no picture can be used \(a\.dng"):
        ingest(folder)
    with pytest.raises(InputFileError, match="there is no folder"):
        ingest(folder / "nowhere")
    phone = CONFIG.phone.model_copy(update={"frame_rows": 64, "frame_columns": 96})
    framed = CONFIG.model_copy(update={"phone": phone})
    with pytest.raises(InputFileError, match=r"no picture can be used \(a\.dng"):
        ingest(folder, config=framed)
    dng(folder / "a.dng", shape=(32, 32))
    with pytest.raises(InputFileError, match=r"no picture can be used \(a\.dng: it has 32x32 px"):
        ingest(folder, config=framed)
    assert not (folder.parent / "s.h5").exists()


def test_files_of_captures_in_any_light_are_known(tmp_path):
    path = tmp_path / "s.h5"
    header = SessionHeader(
        slides=(SlideEntry(name="s", role="training"),), instrument={}, benchtop_shape=(64, 64), phone_shape=SHAPE,
    )
    picture = jpeg_picture(jpeg_bytes(), "a.jpg")
    dark = LightState(on=False, red=0, green=0, blue=0, brightness=0.0, source="ring")
    capture = picture.capture(PositionUm(0, 0, 0), pixel_um=0.5, time_s=1.0, light=dark, device="phone")
    with SessionWriter.create_or_resume(path, header) as writer:
        writer.add_phone_capture("s", 0, 0, 0, capture, channel="dark")
    with Session.open(path) as session:
        assert picture.facts["jpeg_sha256"] in known_files(session)


def test_a_picture_in_place_of_its_folder_is_told(folder):
    pair(folder, "IMG_1")
    with pytest.raises(InputFileError, match=r"IMG_1\.dng is a file; give the folder"):
        ingest(folder / "IMG_1.dng")
