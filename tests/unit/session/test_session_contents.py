"""A session gives back what was put in, by slide, channel, plane and attempt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from session_samples import FOCUS, capture, tile, writer

from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.errors import InputImageError, SessionError
from mobilescope.core.protocols import FUSED_PLANE, CapturedField, LightState, TileKey
from mobilescope.data.lock import lock_path
from mobilescope.data.session import Session


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


def test_the_guides_example_reads_a_session_with_h5py_alone(varied, monkeypatch, capsys):
    guide = (Path(__file__).resolve().parents[3] / "docs" / "sessions.md").read_text()
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
