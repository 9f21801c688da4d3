"""A session gives back what was put in, refuses what it can't keep, and goes on after an end."""

from __future__ import annotations

import json
import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from session_samples import FOCUS, capture, header, tile

from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.errors import (
    DiskSpaceError,
    ForeignFileError,
    InputFileError,
    InputImageError,
    NewerVersionError,
    OutputError,
    SessionError,
    SessionLockedError,
    UserError,
)
from mobilescope.core.protocols import FUSED_PLANE, CapturedField, LightState, TileKey
from mobilescope.data.lock import lock_path
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def writer(path, **options):
    return SessionWriter.create_or_resume(path, header(), margin_bytes=0, **options)


@pytest.fixture
def filled(path):
    with writer(path) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", index // 2, index % 2), index, tile(index), FOCUS)
            session.add_phone_capture("lung-2", index, 0, index, capture(index))
        session.add_flat_field("benchtop", np.full((64, 80, 3), 230, np.uint8))
        session.add_flat_field("phone", np.full((48, 60), 500.5))
        session.add_flat_field("phone", np.full((48, 60), 700.5))
        session.add_event("warning", "tile 2 was dim")
    return path


def test_a_field_is_there_once_for_each_light_and_readers_see_the_compared_one(path):
    with writer(path) as session:
        for number, channel in enumerate(("", "red", "dark")):
            session.add_phone_capture("lung-2", 0, 0, 0, capture(number), channel=channel)
            assert session.has_capture("lung-2", 0, 0, channel)
        assert not session.has_capture("lung-2", 0, 0, "blue")
        with pytest.raises(SessionError, match="capture 0 of slide lung-2 in light red is in"):
            session.add_phone_capture("lung-2", 0, 0, 0, capture(3), channel="red")
    with writer(path) as session:  # resumed
        assert session.has_capture("lung-2", 0, 0, "dark")
        assert not session.has_capture("lung-2", 0, 1)
    with Session.open(path) as session:
        assert [record.channel for record in session.captures("lung-2")] == [""]
        assert [record.channel for record in session.captures("lung-2", channel=None)] == ["", "red", "dark"]
        (red,) = session.captures("lung-2", channel="red")
        np.testing.assert_array_equal(session.bayer(red), capture(1).bayer)
        (_, slide) = session.summary()["slides"]
        assert (slide["captures"], slide["lights"]) == (1, {"dark": 1, "red": 1})
        assert session.verify() == []


def test_pattern_and_firmware_of_the_light_come_back(path):
    light = LightState(True, 9, 8, 7, 0.5, "ring", pattern="half-ring 3", firmware="1.2.3", lit_share=0.5)
    with writer(path) as session:
        session.add_phone_capture("lung-2", 0, 0, 0, replace(capture(0), light=light))
        session.add_phone_capture("lung-2", 1, 0, 1, capture(1))
    with Session.open(path) as session:
        lit, plain = session.captures("lung-2")
    assert (lit.light, lit.settings) == (light, {"iso": "100"})
    assert plain.light == capture(1).light


def test_how_captures_are_developed_may_change_between_runs(path):
    def begun(white_balance):
        instrument = {"instrument": {"name": "twin", "development": {"white_balance": white_balance}}}
        return header().model_copy(update={"instrument": instrument})

    for white_balance in ("camera", "cloudy"):
        with SessionWriter.create_or_resume(path, begun(white_balance), margin_bytes=0):
            pass
    other = begun("camera").model_copy(update={"instrument": {"instrument": {"name": "another"}}})
    with pytest.raises(UserError, match=r"instrument\.instrument\.name"):
        SessionWriter.create_or_resume(path, other, margin_bytes=0)


@pytest.mark.parametrize("compress", [True, False])
def test_tiles_come_back_as_they_were_stored(path, compress):
    images = [tile(0), tile(1)]
    with writer(path, compress=compress) as session:
        for index, image in enumerate(images):
            session.add_benchtop_tile(TileKey("lung-1", 0, index), index, image, FOCUS)
    with Session.open(path) as session:
        records = session.tiles("lung-1")
        assert [(r.row, r.column, r.index) for r in records] == [(0, 0, 0), (0, 1, 1)]
        for record, image in zip(records, images, strict=True):
            np.testing.assert_array_equal(session.tile_pixels(record), image.pixels)
            assert record.position == image.position
            assert record.light == image.light
            assert (record.pixel_size_um, record.time_s, record.exposure_ms) == (0.37, image.time_s, 8.0)
            assert (record.device, record.settings) == ("camera µ", {"gain": "1"})
            assert record.focus == FOCUS
        np.testing.assert_array_equal(
            session.focus_curve(records[0]), np.column_stack([FOCUS.curve_z_um, FOCUS.curve_score])
        )
        assert session.tiles("lung-2") == []


def test_captures_come_back_with_their_jpeg_byte_for_byte(path):
    given = [capture(0), capture(1, jpeg_bytes=700_000), capture(2, jpeg_bytes=0)]
    with writer(path) as session:
        for index, one in enumerate(given):
            session.add_phone_capture("lung-1", index, 0, index, one)
    with Session.open(path) as session:
        for record, one in zip(session.captures("lung-1"), given, strict=True):
            np.testing.assert_array_equal(session.bayer(record), one.bayer)
            assert session.jpeg(record) == one.jpeg
            assert (record.cfa, record.black_level, record.white_level, record.iso) == ("RGGB", 64, 1023, 100)
            assert record.white_balance == one.white_balance
            assert (record.pixel_size_um, record.position) == (0.4625, one.nominal)


def test_latest_flat_field_holds(filled):
    with Session.open(filled) as session:
        assert session.flat_field("phone").mean() == 700.5
        assert session.flat_field("benchtop").shape == (64, 80, 3)


def test_a_session_without_flat_field_says_so(path):
    with writer(path):
        pass
    with Session.open(path) as session:
        assert session.flat_field("phone") is None


def test_summary_is_json_and_counts_what_is_there(filled):
    with Session.open(filled) as session:
        summary = json.loads(json.dumps(session.summary()))
    assert summary["state"] == "closed"
    assert [(s["name"], s["role"], s["tiles"], s["captures"]) for s in summary["slides"]] == [
        ("lung-1", "training", 3, 0), ("lung-2", "validation", 0, 3),
    ]
    assert summary["flat_fields"] == {"benchtop": 1, "phone": 2}
    assert summary["events"][0]["text"] == "tile 2 was dim"
    assert not lock_path(filled).exists()


@pytest.fixture
def varied(path):
    """A session with two channels, two planes and a fused one, and a tile that was taken three times."""
    with writer(path) as session:
        seed = 0
        for column in range(2):
            for channel in ("white", "red"):
                for plane in (0, 1, FUSED_PLANE):
                    key = TileKey("lung-1", 0, column, channel, plane)
                    session.add_benchtop_tile(key, column, tile(seed), FOCUS, mark="blank" if column else "")
                    seed += 1
        for attempt in (1, 2):
            key = TileKey("lung-1", 0, 1, "red", 0)
            session.add_benchtop_tile(key, 1, tile(seed), FOCUS, attempt=attempt, mark="" if attempt == 2 else "blank")
    return path


def test_tiles_are_asked_for_by_channel_plane_and_attempt(varied):
    with Session.open(varied) as session:
        assert len(session.tiles("lung-1")) == 12
        red = session.tiles("lung-1", channel="red")
        assert {(tile.channel, tile.plane) for tile in red} == {("red", 0), ("red", 1), ("red", FUSED_PLANE)}
        (first, last) = session.tiles("lung-1", channel="red", plane=0)
        assert [(one.column, one.attempt, one.mark) for one in (first, last)] == [(0, 0, ""), (1, 2, "")]
        every = session.tiles("lung-1", channel="red", plane=0, all_attempts=True)
        assert [(one.column, one.attempt, one.mark) for one in every] == [
            (0, 0, ""), (1, 0, "blank"), (1, 1, "blank"), (1, 2, ""),
        ]
        assert len({one.frame for one in every}) == 4
        assert session.tiles("lung-1", channel="green") == []
        assert len(session.tiles("lung-1", plane=FUSED_PLANE)) == 4


def test_a_field_is_known_by_its_place_whatever_number_its_capture_has(path):
    with writer(path) as session:
        session.add_phone_capture("lung-2", 0, -2, 0, capture(0))
        session.add_phone_capture("lung-2", 1, 4, 7, capture(1))
    with writer(path) as session:
        assert session.has_capture("lung-2", 4, 7)
        assert not session.has_capture("lung-2", 0, 0)
        assert session.captured_field("lung-2", 4, 7) == CapturedField(1, 3.0, 4.0)
        assert session.captured_field("lung-2", 0, 0) is None
        assert [session.free_capture_index("lung-2", wanted) for wanted in (0, 1, 5)] == [2, 2, 5]
        session.add_phone_capture("lung-2", 2, 4, 7, capture(2))  # taken again
        assert session.captured_field("lung-2", 4, 7).index == 2
        assert session.free_capture_index("lung-1", 0) == 0


def test_further_lights_of_a_field_are_those_of_its_latest_take_and_earlier_ones_stay(path):
    with writer(path) as session:
        for number, channel in ((0, ""), (0, "red"), (3, "")):
            session.add_phone_capture("lung-2", number, 4, 7, capture(number), channel=channel)
    with writer(path) as session:
        assert session.has_capture("lung-2", 4, 7)
        assert not session.has_capture("lung-2", 4, 7, "red")
        session.add_phone_capture("lung-2", 3, 4, 7, capture(3), channel="red")
        assert session.has_capture("lung-2", 4, 7, "red")
    with Session.open(path) as session:
        taken = session.captures("lung-2", channel=None)
        assert [(each.index, each.channel) for each in taken] == [(0, ""), (0, "red"), (3, ""), (3, "red")]


def test_the_summary_counts_marks_attempts_channels_and_planes(varied):
    with Session.open(varied) as session:
        slide = session.summary()["slides"][0]
    assert slide["marks"] == {"blank": 5, "unmarked": 7}
    assert slide["attempts"] == {"0": 11, "2": 1}
    assert slide["channels"] == {"red": 6, "white": 6}
    assert slide["planes"] == {"0": 4, "1": 4, "fused": 4}


def test_resume_appends_and_knows_what_is_there(filled):
    with writer(filled) as session:
        assert session.has_tile(TileKey("lung-1", 1, 0))
        assert not session.has_tile(TileKey("lung-1", 1, 1))
        assert session.has_capture("lung-2", 0, 2)
        assert not session.has_capture("lung-1", 0, 2)
        session.add_benchtop_tile(TileKey("lung-1", 1, 1), 3, tile(3), FOCUS)
        session.add_phone_capture("lung-2", 3, 0, 3, capture(3))
    with Session.open(filled) as session:
        assert session.verify() == []
        np.testing.assert_array_equal(session.tile_pixels(session.tiles("lung-1")[3]), tile(3).pixels)
        assert session.jpeg(session.captures("lung-2")[3]) == capture(3).jpeg
        assert [session.jpeg(r) for r in session.captures("lung-2")[:3]] == [capture(i).jpeg for i in range(3)]


def test_digest_changes_with_contents_only(filled):
    with Session.open(filled) as session:
        before = session.digest()
    with writer(filled) as session:
        pass
    with Session.open(filled) as session:
        assert session.digest() == before
    with writer(filled) as session:
        session.add_phone_capture("lung-2", 3, 0, 3, capture(3))
    with Session.open(filled) as session:
        assert session.digest() != before


def test_a_reader_follows_the_writer(path):
    with writer(path) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
        with Session.open(path) as reader:
            assert len(reader.tiles("lung-1")) == 1
            session.add_benchtop_tile(TileKey("lung-1", 0, 1), 1, tile(1), FOCUS)
            record = reader.tiles("lung-1")[1]
            np.testing.assert_array_equal(reader.tile_pixels(record), tile(1).pixels)
            assert reader.summary()["state"] == "being written"


def test_a_second_writer_is_refused_until_the_first_ends(path):
    with writer(path), pytest.raises(SessionLockedError, match=str(os.getpid())):
        writer(path)
    with writer(path) as session:
        session.add_event("info", "fine")


def test_a_session_open_for_reading_here_cannot_be_opened_for_writing(filled):
    with Session.open(filled), pytest.raises(SessionLockedError, match="this very process"):
        writer(filled)


@pytest.mark.parametrize(("other", "named"), [
    (header("lung-1", "other"), "slides.*other"),
    (header(benchtop=(32, 80)), r"benchtop_shape.*64, 80.*32, 80"),
    (header(phone=(48, 64)), "phone_shape"),
    (header().model_copy(update={"instrument": {"name": "real"}}), "instrument.name: twin in the file, real now"),
])
def test_another_header_is_refused_with_the_difference(filled, other, named):
    with pytest.raises(UserError, match=named):
        SessionWriter.create_or_resume(filled, other, margin_bytes=0)
    with Session.open(filled) as session:
        assert session.verify() == []


def test_what_differs_is_named_however_deep():
    begun = header().model_copy(update={"instrument": {"plan": {"slides": [{"scan": {"rows": 3}}]}}})
    now = header().model_copy(update={"instrument": {"plan": {"slides": [{"scan": {"rows": 4}}]}}})
    assert begun.difference(now) == "instrument.plan.slides.0.scan.rows: 3 in the file, 4 now"
    assert begun.difference(begun.model_copy()) == ""


def test_a_session_can_be_gone_on_with_after_an_update_that_knows_more(filled):
    known = header().instrument
    more = {**known, "stage": {"kind": "none"}, "phone": {**known["phone"], "half_pitch_um": 0.87}}
    with SessionWriter.create_or_resume(
        filled, header().model_copy(update={"instrument": more}), margin_bytes=0
    ) as session:
        assert session.has_tile(TileKey("lung-1", 0, 0))
    # What it was begun with and is no longer told counts as another instrument.
    with pytest.raises(UserError, match=r"instrument\.phone: .*preset.* in the file, None now"):
        SessionWriter.create_or_resume(
            filled, header().model_copy(update={"instrument": {"name": "twin"}}), margin_bytes=0
        )


def lit_by(*lights):
    plan = {"slides": [{"capture": {"lights": [{"name": name, "position": place} for name, place in lights]}}]}
    return header().model_copy(update={"instrument": {"plan": plan}})


def test_a_plan_may_get_more_lights_in_any_order_and_none_may_change_or_go():
    begun = lit_by(("red", 0), ("led", 3))
    assert begun.difference(lit_by(("green", 1), ("led", 3), ("red", 0))) == ""
    where = "instrument.plan.slides.0.capture.lights"
    assert begun.difference(lit_by(("red", 0), ("led", 4))) == f"{where}.led.position: 3 in the file, 4 now"
    assert begun.difference(lit_by(("red", 0))).startswith(f"{where}.led: ")


def test_stored_images_are_not_rewritten(filled):
    with writer(filled) as session, pytest.raises(SessionError, match="never rewritten"):
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 9, tile(9), FOCUS)


def test_unknown_slides_are_refused_with_the_known_ones(filled):
    with writer(filled) as session, pytest.raises(SessionError, match="lung-1, lung-2"):
        session.add_phone_capture("liver", 0, 0, 0, capture(0))
    with Session.open(filled) as session, pytest.raises(SessionError, match="liver"):
        session.tiles("liver")


def test_images_of_another_shape_are_refused(path):
    with writer(path) as session:
        with pytest.raises(InputImageError, match="64, 80"):
            session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0, (32, 32)), FOCUS)
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)


def test_overlong_settings_are_refused_and_nothing_is_stored(path):
    with writer(path) as session:
        with pytest.raises(SessionError, match="settings takes"):
            session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0, settings={"note": "µ" * 2000}), FOCUS)
        assert not session.has_tile(TileKey("lung-1", 0, 0))
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
    with Session.open(path) as session:
        assert len(session.tiles("lung-1")) == 1


def test_overlong_events_end_in_an_ellipsis(path):
    with writer(path) as session:
        session.add_event("error", "µ" * 3000)
    with Session.open(path) as session:
        text = session.events()[0].text
    assert text.startswith("µµµ")
    assert text.endswith("µ…")


def test_verify_finds_damaged_pixels_and_rows(path):
    with writer(path, compress=False) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index), FOCUS)
    with h5py.File(path, "r") as file:
        frame = file["benchtop/frames"].id.get_chunk_info(1).byte_offset
        row = file["benchtop/rows"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(frame + 100)
        file.write(b"damage")
        file.seek(row + 70)
        file.write(b"\xff\xff")
    with Session.open(path) as session:
        assert len(session.verify()) == 2
        assert any("frame 1 (slide lung-1, index 1)" in problem for problem in session.verify())
        assert any("row 0" in problem for problem in session.verify())


@pytest.mark.parametrize("contents", [b"", b"not HDF5 at all" * 100, b"\x89HDF\r\n\x1a\n\x03"])
def test_foreign_and_stub_files_are_refused_by_name(path, contents):
    path.write_bytes(contents)
    for opening in (Session.open, writer):
        with pytest.raises(InputFileError, match=r"run\.h5"):
            opening(path)
    assert path.read_bytes() == contents


def test_foreign_hdf5_is_refused(path):
    for version in ("earliest", "latest"):
        with h5py.File(path, "w", libver=version) as file:
            file["data"] = 1
        for opening in (Session.open, writer):
            with pytest.raises(ForeignFileError, match="mobilescope did not write it"):
                opening(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_files_are_refused(filled, kept):
    os.truncate(filled, int(filled.stat().st_size * kept))
    for opening in (Session.open, writer):
        with pytest.raises(InputFileError, match="truncated") as refused:
            opening(filled)
        assert not isinstance(refused.value, ForeignFileError)  # it is ours


def test_missing_files_and_folders_are_named(path, tmp_path):
    with pytest.raises(InputFileError, match="there is no file"):
        Session.open(path)
    with pytest.raises(InputFileError, match="is a folder"):
        Session.open(tmp_path)
    with pytest.raises(OutputError, match="nowhere"):
        writer(tmp_path / "nowhere" / "run.h5")


def test_a_newer_schema_is_refused(filled):
    with h5py.File(filled, "r+") as file:
        file.attrs["schema_version"] = 99
    for opening in (Session.open, writer):
        with pytest.raises(NewerVersionError, match="version 99"):
            opening(filled)


def test_too_little_disk_space_refuses_to_start_and_to_go_on(path, monkeypatch):
    free = [10_000_000]
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free[0]))
    with pytest.raises(DiskSpaceError, match="free"):
        SessionWriter.create_or_resume(path, header(), margin_bytes=20_000_000)
    assert not path.exists()
    with SessionWriter.create_or_resume(path, header(), margin_bytes=5_000_000) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
        free[0] = 4_000_000
        with pytest.raises(DiskSpaceError):
            session.add_benchtop_tile(TileKey("lung-1", 0, 1), 1, tile(1), FOCUS)
        free[0] = 10_000_000
        session.add_benchtop_tile(TileKey("lung-1", 0, 1), 1, tile(1), FOCUS)
    with Session.open(path) as session:
        assert len(session.tiles("lung-1")) == 2


def test_slide_names_must_suit_file_names_and_differ():
    for names in (("../a",), ("a/b",), ("",), ("a", "a")):
        with pytest.raises(ValueError, match=r"slide|pattern"):
            header(*names)
    with pytest.raises(ValueError, match="slides"):
        header().model_validate({**header().model_dump(), "slides": []})


def test_a_damaged_directory_is_an_error_and_no_endless_wait(filled):
    with h5py.File(filled, "r") as file:
        place = h5py.h5o.get_info(file["phone"].id).addr
    with filled.open("r+b") as file:
        file.seek(place + 20)
        file.write(b"\x5a" * 8)
    with Session.open(filled) as session, pytest.raises(InputFileError, match=r"run\.h5 is damaged: phone"):
        session.verify()
    with pytest.raises(InputFileError, match=r"run\.h5"):
        writer(filled)


def test_the_guides_example_reads_a_session_with_h5py_alone(varied, monkeypatch, capsys):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "sessions.md").read_text()
    example = guide.split("```python\n")[1].split("```")[0]
    varied.rename(varied.with_name("my.h5"))
    monkeypatch.chdir(varied.parent)
    exec(example, {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 14
    assert said[0] == "lung-1 0 0 100.5 -20.25 (64, 80, 3)"


def still(rows=48, columns=60, **changes):
    done, data = cv2.imencode(".jpg", np.full((rows, columns, 3), 90, np.uint8))
    assert done
    given = {"bayer": None, "cfa": "", "black_level": 0, "white_level": 255, "jpeg": data.tobytes(), **changes}
    return replace(capture(0), **given)


def test_a_phone_without_raw_gives_its_jpeg_alone(path):
    given = still()
    with writer(path) as session:
        session.add_phone_capture("lung-1", 0, 0, 0, given)
    with Session.open(path) as session:
        assert session.verify() == []
        record = session.captures("lung-1")[0]
        assert (record.cfa, session.jpeg(record)) == ("", given.jpeg)
        developed = develop_capture(session, record)
        assert (developed.shape, developed.dtype) == ((24, 30, 3), np.uint16)
        assert np.abs(developed / 257 - 90).max() < 1


@pytest.mark.parametrize(("changes", "named"), [
    ({"rows": 60, "columns": 48}, r"shape \(48, 60\), got \(60, 48\)"),
    ({"jpeg": b""}, "not a JPEG"), ({"jpeg": b"\x89PNG"}, "not a JPEG"), ({"cfa": "RGGB"}, "without a raw frame"),
])
def test_a_jpeg_that_can_not_stand_alone_is_refused(path, changes, named):
    with writer(path) as session:
        with pytest.raises(InputImageError, match=named):
            session.add_phone_capture("lung-1", 0, 0, 0, still(**changes))
        session.add_phone_capture("lung-1", 0, 0, 0, still())


def test_each_channel_has_a_flat_field_of_its_own(path):
    with writer(path) as session:
        for channel, level in (("red", 10), ("green", 20), ("red", 30)):
            session.add_flat_field("benchtop", np.full((64, 80, 3), level), channel)
        assert session.has_flat_field("benchtop", "green")
        assert not session.has_flat_field("benchtop")
    with writer(path) as session:
        assert session.has_flat_field("benchtop", "red")
        assert not session.has_flat_field("benchtop", "blue")
    with Session.open(path) as session:
        assert [session.flat_field("benchtop", name).mean() for name in ("red", "green")] == [30, 20]
        assert session.flat_field("benchtop", "blue") is None
