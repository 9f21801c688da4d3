"""Folders of phone pictures taken elsewhere: paired, ordered, copies told, bad ones named, and gone on with."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest
import tifffile
from phone_files import SHAPE, dng, jpeg, jpeg_bytes, pair
from tile_scans import PIXEL_UM, TILE_PX, write_scan

from mobilescope.app.acquisition.acquiring import known_files, plan_of
from mobilescope.app.acquisition.ingest_tiles import tiles_to_ingest
from mobilescope.app.acquisition.ingesting import IngestOptions, ingest_folder
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.app.mosaics.tile_folders import read_tile
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.development import recipe_of
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import CancelledError, ConfigError, InputFileError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import LightState, PhoneCapture, PositionUm
from mobilescope.data.phone_light import PhoneLight, write_phone_light
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.capture_files import jpeg_picture
from mobilescope.imaging.colour import decode_8bit, encode_16bit
from mobilescope.plans.job import JobPlan

CONFIG = InstrumentConfig.model_validate({"benchtop": {"frame_rows": 128, "frame_columns": 96}})


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "DCIM"
    folder.mkdir()
    return folder


def ingest(folder, *, config=CONFIG, stop=None, **options):
    options = {"slide": "s", "pixel_um": 0.5} | options
    return ingest_folder(
        folder, folder.parent / "s.h5", config, IngestOptions(**options), source="scope.toml", stop=stop
    )


def captures(folder, slide="s"):
    with Session.open(folder.parent / "s.h5") as session:
        assert session.verify() == []
        return session.captures(slide)


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


def test_positions_are_those_of_the_table(folder):
    pair(folder, "a")
    jpeg_only = pair(folder, "b", seed=1, after_s=5)[1]
    pair(folder, "c", seed=2, after_s=9)
    table = folder.parent / "places.csv"
    table.write_text(f"file,x_um,y_um\na.dng,100,-50.5\n{jpeg_only.name},200,0\n")
    result = ingest(folder, positions=table)
    assert (result.added, result.unplaced) == (3, 1)
    places = [(record.position.x_um, record.position.y_um) for record in captures(folder)]
    assert places[:2] == [(100, -50.5), (200, 0)]
    assert math.isnan(places[2][0])


@pytest.mark.parametrize(("text", "said"), [
    ("file,x_um,y_um\nnone.dng,1,2\n", "names 1 files that are not in"),
    ("file,x_um,y_um\n../a.dng,1,2\n", "names 1 files that are not in"),
    ("file,x_um\na.dng,1\n", "it needs file, x_um, y_um"),
    ("file,x_um,y_um\na.dng,nan,2\n", "line 2"),
])
def test_a_table_that_is_not_right_leaves_no_session(text, said, folder):
    pair(folder, "a")
    (folder.parent / "a.dng").touch()
    table = folder.parent / "places.csv"
    table.write_text(text)
    with pytest.raises(InputFileError, match=said):
        ingest(folder, positions=table)
    assert not (folder.parent / "s.h5").exists()


@pytest.mark.parametrize(("options", "kind", "said"), [
    ({"slide": None}, UserError, "give --slide"), ({"pixel_um": None}, UserError, "give --pixel-um"),
])
def test_what_a_new_session_needs_is_asked_for(options, kind, said, folder):
    pair(folder, "a")
    with pytest.raises(kind, match=said):
        ingest(folder, **options)
    assert not (folder.parent / "s.h5").exists()


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


def test_the_slides_of_a_plan_are_those_of_the_session(folder):
    pair(folder, "a")
    plan = JobPlan.model_validate({"slides": [
        {"name": name, "role": role, "stain": "h&e", "scan": {"rows": 1, "columns": 1, "overlap": 0.1}}
        for name, role in (("one", "training"), ("two", "blind"))
    ]})
    with pytest.raises(UserError, match="one, two"):
        ingest(folder, slide=None, plan=plan)
    with pytest.raises(UserError, match=r"no slide 's'.*one, two"):
        ingest(folder, plan=plan)
    assert ingest(folder, slide="two", plan=plan).added == 1
    assert len(captures(folder, "two")) == 1
    with pytest.raises(UserError, match="has the role blind, not training"):
        ingest(folder, slide="two", role="training")


@pytest.mark.parametrize("name", ["lung 3", "", "-a", "a/b", "a" * 65])
def test_a_name_that_no_slide_can_have_is_refused_before_anything_is_written(folder, name):
    pair(folder, "a")
    with pytest.raises(UserError, match="is no name for a slide; letters, digits"):
        ingest(folder, slide=name)
    assert not (folder.parent / "s.h5").exists()


def test_the_pixel_size_of_benchtop_tiles_is_asked_for_by_its_own_option(folder, tmp_path):
    scan = write_scan(tmp_path / "tiles", 1, 2, channels=3)
    with pytest.raises(UserError, match=r"pixel size of .* is not known; give it as --tile-pixel-um"):
        tiles_to_ingest(scan.folder, scan.table, None)


def test_a_real_benchtop_whose_frame_is_not_known_is_asked_for(folder):
    pair(folder, "a")
    config = InstrumentConfig.model_validate({"benchtop": {"kind": "micromanager", "backend": "java"}})
    with pytest.raises(ConfigError, match=r"scope\.toml: the frame of the benchtop"):
        ingest(folder, config=config)


def test_the_benchtops_tiles_go_in_beside_and_are_stitched_as_if_scanned(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 3, channels=3)
    tiles = tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)
    result = ingest(folder, benchtop=tiles)
    assert (result.added, result.tiles, result.skipped) == (1, 6, ())
    with Session.open(tmp_path / "s.h5") as session:
        assert session.verify() == []
        assert session.header.benchtop_shape == (TILE_PX, TILE_PX)
        assert [(tile.row, tile.column) for tile in session.tiles("s")] == [(r, c) for r in range(2) for c in range(3)]
        first = session.tiles("s")[0]
        np.testing.assert_array_equal(session.tile_pixels(first), read_tile(scan.folder / scan.names[0]))
    stitched = stitch_slide(tmp_path / "s.h5", "s", positions_only=True)
    assert scan.errors_px(list(stitched.tile_entries)).max() < 0.5
    assert ingest(folder, benchtop=tiles).tiles == 0


def test_a_slide_without_tiles_can_not_be_stitched_as_one_without_a_mosaic_can_not_be_registered(folder, tmp_path):
    pair(folder, "a")
    ingest(folder)
    with pytest.raises(InputFileError, match=r"has no tiles in .*; scan it first") as refused:
        stitch_slide(tmp_path / "s.h5", "s")
    assert refused.value.exit_status == 2


def test_a_tile_that_can_not_be_used_is_named_and_two_at_one_place_are_refused(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    (scan.folder / scan.names[3]).write_bytes(b"no picture")
    result = ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM))
    assert (result.tiles, [each.file for each in result.skipped]) == (3, [scan.names[3]])
    lines = scan.table.read_text().splitlines()
    scan.table.write_text("\n".join([*lines[:2], f"{scan.names[1]},{lines[1].split(',', 1)[1]}"]))
    with pytest.raises(UserError, match="at one place"):
        tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)


def shorter_table(scan, name, lines):
    """Return a scan's table with some of its lines alone."""
    told = scan.table.read_text().splitlines()
    table = scan.table.with_name(name)
    table.write_text("\n".join([told[0], *(told[1 + line] for line in lines)]))
    return table


@pytest.mark.parametrize(("before", "now", "said"), [
    # A row came above: each row counts one more.
    ([2, 3], [0, 1, 2, 3], r"tile-0\.png has the place of tile-2\.png in .*row 0, column 0"),
    # One tile came beside and above the one that is there, and nothing lies at that one's old place.
    ([2], [1, 2], r"tile-2\.png is in .* already, at another place: row 0, column 0"),
])
def test_tiles_of_a_table_that_has_grown_are_not_mistaken_for_those_stored(before, now, said, folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "before.csv", before), PIXEL_UM))
    pair(folder, "b", seed=1, after_s=9)
    with pytest.raises(UserError, match=said):
        ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "now.csv", now), PIXEL_UM))
    with Session.open(tmp_path / "s.h5") as session:
        assert len(session.tiles("s")) == len(before)
        assert len(session.captures("s")) == 1


def test_a_table_that_grows_at_its_end_adds_its_new_tiles(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "before.csv", [0, 1]), PIXEL_UM))
    assert ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)).tiles == 2


def test_tiles_of_another_size_than_the_sessions_are_refused(folder, tmp_path):
    pair(folder, "a")
    ingest(folder)
    scan = write_scan(tmp_path / "tiles", 1, 2, channels=3)
    with pytest.raises(UserError, match=r"160x160 px.*begun for 96x128"):
        ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM))


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


def test_a_light_of_another_sensor_begins_no_session(folder):
    shot = PhoneCapture(
        None, b"", "RGGB", 64, 1023, 0.5, (1.0, 1.0, 1.0), PositionUm(0, 0, 0), 1.0, 4.0, 100,
        LightState(True, 255, 255, 255, 1.0, "ring"), "phone",
    )
    frame = np.full((16, 24), 500, np.float32)
    light = folder.parent / "light.h5"
    write_phone_light(light, PhoneLight.of(frame, frame, shot, 8))
    pair(folder, "IMG_1")
    config = CONFIG.model_copy(update={"development": DevelopmentConfig(calibration=light)})
    with pytest.raises(InputFileError, match=r"of a phone with frames of \(16, 24\)"):
        ingest(folder, config=config)
    assert not (folder.parent / "s.h5").exists()


def test_a_folder_of_jpegs_takes_a_light_of_jpegs_and_no_other(folder):
    (folder / "a.jpg").write_bytes(jpeg_bytes())
    lit = LightState(True, 255, 255, 255, 1.0, "ring")
    shot = jpeg_picture(jpeg_bytes(), "a.jpg").capture(
        PositionUm(0, 0, 0), pixel_um=0.5, time_s=1.0, light=lit, device="phone"
    )
    half = np.full((SHAPE[0] // 2, SHAPE[1] // 2, 3), 0.5, np.float32)
    light = folder.parent / "light.h5"
    config = CONFIG.model_copy(update={"development": DevelopmentConfig(calibration=light)})
    write_phone_light(light, PhoneLight.of(
        np.full(SHAPE, 64, np.float32), np.full(SHAPE, 500, np.float32), replace(shot, cfa="RGGB"), 8
    ))
    with pytest.raises(InputFileError, match="was taken with raw pictures, and the phone's captures are JPEGs"):
        ingest(folder, config=config)
    assert not (folder.parent / "s.h5").exists()
    write_phone_light(light, PhoneLight.of(0 * half, half, shot, 8))
    ingest(folder, config=config)
    with Session.open(folder.parent / "s.h5") as session:
        assert set(session.flat_field_channels("phone")) == {"clear, jpeg", "dark, jpeg"}
        assert recipe_of(session, DevelopmentConfig()).provenance["flat_field"] is True


def test_what_was_ingested_is_no_field_of_a_plan(folder):
    pair(folder, "IMG_1")
    ingest(folder)
    assert captures(folder)[0].row < -1


def test_a_picture_in_place_of_its_folder_is_told(folder):
    pair(folder, "IMG_1")
    with pytest.raises(InputFileError, match=r"IMG_1\.dng is a file; give the folder"):
        ingest(folder / "IMG_1.dng")
