"""Scans and captures go on where they stopped, keep what they took, and leave no light on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from memory_sink import MemorySink
from session_samples import FOCUS, header, tile

from mobilescope.acquire.autofocus import autofocus
from mobilescope.acquire.capture import capture_fields
from mobilescope.acquire.scan import scan_slide, take_flat_fields
from mobilescope.app.mosaics.mosaicking import corrected_tiles
from mobilescope.core.errors import CancelledError, DeviceError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.colour import decode_8bit, encode_8bit
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import FocusPlan

SMALL = {"bayer_rows": 64, "bayer_columns": 64}
FLAT = {"tilt_um_per_mm": 3.0, "waviness_um": 0.2, "wavelength_mm": 3.0}


def stopping_after(count):
    """Return a stop token, and a sink that sets it once it has taken so many images."""
    stop, taken = StopToken(), []

    def after_each():
        taken.append(None)
        if len(taken) == count:
            stop.request()

    return stop, MemorySink(after_each)


@pytest.fixture
def twin(make_twin):
    return make_twin({"slide": "blood"}, frame_px=192, phone=SMALL, surface=FLAT)


@pytest.fixture
def empty_twin(make_twin):
    """Clear glass in tiny frames, where the focus does not matter."""
    return make_twin({"slide": "blank"}, frame_px=64)


GRID = FieldGrid(2, 3, 70, 70, overlap=0.1)


def test_every_tile_is_taken_at_its_place_and_in_focus(twin):
    sink, seen = MemorySink(), []
    scan_slide(twin.benchtop, sink, "slide", GRID, on_progress=seen.append)
    assert set(sink.tiles) == {("slide", p.row, p.column) for p in GRID}
    for position in GRID:
        index, image, focus = sink.tiles["slide", position.row, position.column]
        assert index == position.index
        assert image.pixels.shape == (192, 192, 3)
        assert (image.position.x_um, image.position.y_um) == (position.x_um, position.y_um)
        assert focus.verdict == "focused"
        assert image.position.z_um == focus.z_um
    assert max(abs(tile.defocus_um) for tile in twin.truth.tiles if tile.whole) < 0.49 + 0.15
    assert [(p.done, p.total) for p in seen] == [(k, 6) for k in range(1, 7)]
    assert not sink.events
    # The first search is wide, the others look around what is expected.
    spans = [np.ptp(focus.curve_z_um) for _, _, focus in sink.tiles.values()]
    np.testing.assert_allclose(spans, [40, 8, 8, 8, 8, 8])


def test_between_searches_the_focus_is_predicted(twin):
    sink = MemorySink()
    scan_slide(twin.benchtop, sink, "slide", FieldGrid(2, 3, 70, 70), focus=FocusPlan(every=2))
    verdicts = [focus.verdict for _, _, focus in sink.tiles.values()]
    assert verdicts == ["focused", "predicted"] * 3
    assert max(abs(tile.defocus_um) for tile in twin.truth.tiles if tile.whole) < 1.5


def test_a_scan_goes_on_with_what_the_sink_lacks(empty_twin):
    stop, sink = stopping_after(2)
    with pytest.raises(CancelledError, match="slide 'slide'"):
        scan_slide(empty_twin.benchtop, sink, "slide", GRID, stop=stop)
    assert len(sink.tiles) in (2, 3)  # one is taken while the one before is stored
    kept = dict(sink.tiles)
    scan_slide(empty_twin.benchtop, sink, "slide", GRID)
    assert len(sink.tiles) == 6
    assert all(sink.tiles[place][1] is tile[1] for place, tile in kept.items())
    images = len(empty_twin.truth.tiles)
    scan_slide(empty_twin.benchtop, sink, "slide", GRID)
    assert len(empty_twin.truth.tiles) == images


def test_a_stop_before_the_first_tile_takes_none(empty_twin):
    stop, sink = StopToken(), MemorySink()
    stop.request()
    with pytest.raises(CancelledError, match="run the same command again"):
        scan_slide(empty_twin.benchtop, sink, "slide", GRID, stop=stop)
    assert not sink.tiles
    assert not empty_twin.truth.tiles


def test_a_failed_focus_is_marked_and_written_down(make_twin):
    twin = make_twin({"empty": "blank"}, frame_px=128)
    sink = MemorySink()
    twin.benchtop.stage.move_z(1.25)
    scan_slide(twin.benchtop, sink, "empty", FieldGrid(1, 2, 45, 45))
    for _, image, focus in sink.tiles.values():
        assert focus.verdict == "blank"
        assert image.position.z_um == focus.z_um == 1.25
    assert len(sink.events) == 2
    for column, (level, text) in enumerate(sink.events):
        assert level == "warning"
        assert f"slide empty, tile row 0 column {column}" in text
        assert "blank" in text


def test_a_tile_without_focus_is_taken_where_its_neighbours_say(make_twin, monkeypatch):
    """Search on the specimen at first, then find nothing: the tile stands at the predicted z."""
    twin = make_twin({"slide": "blood"}, frame_px=192, surface=FLAT)
    calls = []

    def failing(microscope, *, centre_z_um, half_range_um, options):
        calls.append(centre_z_um)
        record = autofocus(microscope, centre_z_um=centre_z_um, half_range_um=half_range_um, options=options)
        if len(calls) < 5:
            return record
        microscope.stage.move_z(centre_z_um)
        return type(record)("blank", centre_z_um, 0.0)

    monkeypatch.setattr("mobilescope.acquire.tile_taking.autofocus", failing)
    sink = MemorySink()
    scan_slide(twin.benchtop, sink, "slide", GRID)
    whole = [tile for tile in twin.truth.tiles if tile.whole]
    assert [focus.verdict for _, _, focus in sink.tiles.values()] == ["focused"] * 4 + ["blank"] * 2
    assert max(abs(tile.defocus_um) for tile in whole) < 1.0
    # Each was marked, and tried once more at the end.
    assert [(key.column, attempt, mark) for key, attempt, mark in sink.order[4:]] == [
        (1, 0, "unfocused"), (0, 0, "unfocused"), (1, 1, "unfocused"), (0, 1, "unfocused"),
    ]
    assert len(sink.events) == 4


def overexposed(make_twin, lamp):
    """Scan a smear under too bright a lamp; return exposure and mark of each picture, by column and attempt."""
    twin = make_twin({"slide": "blood"}, frame_px=128, surface=FLAT, benchtop={"lamp": [lamp] * 3})
    sink = MemorySink()
    scan_slide(twin.benchtop, sink, "slide", FieldGrid(1, 2, 47, 47))
    assert twin.benchtop.exposure_ms == 4
    return {
        (key.column, attempt): (image.exposure_ms, mark)
        for key, taken in sink.attempts.items() for _, image, _, attempt, mark in taken
    }


def test_a_saturated_tile_is_exposed_for_less_time_at_the_end(make_twin):
    assert overexposed(make_twin, 1.3) == {
        (0, 0): (4, "saturated"), (1, 0): (4, "saturated"), (0, 1): (2, ""), (1, 1): (2, ""),
    }


def test_a_tile_that_stays_saturated_stays_marked(make_twin):
    taken = overexposed(make_twin, 4.0)
    assert taken[0, 1] == taken[1, 1] == (2, "saturated")


def test_a_mosaic_s_tile_that_was_exposed_for_less_time_is_as_bright_as_the_others(tmp_path):
    grey = np.linspace(60, 160, 64 * 80 * 3).reshape(64, 80, 3)
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header("lung-1"), margin_bytes=0) as session:
        for column, part in enumerate((1, 1, 0.5)):
            pixels = encode_8bit(decode_8bit(grey.astype(np.uint8)) * np.float32(part))
            image = replace(tile(column), pixels=pixels, exposure_ms=8.0 * part)
            session.add_benchtop_tile(TileKey("lung-1", 0, column), column, image, FOCUS)
    with Session.open(tmp_path / "s.h5") as opened:
        load = corrected_tiles(opened, opened.mosaic_tiles("lung-1"))
        assert np.abs(load(2).astype(int) - load(0)).max() <= 2


def test_the_flat_field_is_taken_once_and_is_linear(make_twin):
    twin = make_twin(frame_px=128, benchtop={"lamp": [0.8, 0.6, 0.4], "vignetting": 0.0})
    sink = MemorySink()
    take_flat_fields(twin.benchtop, sink, "blank")
    flat = sink.flat["benchtop", ""]
    assert flat.shape == (128, 128, 3)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat.mean(axis=(0, 1)), [0.8, 0.6, 0.4], rtol=0.01)
    images = len(twin.truth.tiles)
    take_flat_fields(twin.benchtop, sink, "blank")
    assert len(twin.truth.tiles) == images


def test_fields_are_captured_lit_and_the_light_goes_off(twin):
    sink, seen = MemorySink(), []
    capture_fields(twin.phone, sink, "slide", GRID, colour=(200, 100, 50), on_progress=seen.append)
    for position in GRID:
        row, column, capture = sink.captures["slide", position.index]
        assert (row, column) == (position.row, position.column)
        assert (capture.nominal.x_um, capture.nominal.y_um) == (position.x_um, position.y_um)
        assert (capture.light.on, capture.light.red, capture.light.blue) == (True, 200, 50)
    assert not twin.phone.illuminator.state().on
    assert [(p.done, p.total) for p in seen] == [(k, 6) for k in range(1, 7)]


def test_captures_go_on_with_what_the_sink_lacks(twin):
    stop, sink = stopping_after(4)
    with pytest.raises(CancelledError, match="slide 'slide'"):
        capture_fields(twin.phone, sink, "slide", GRID, stop=stop)
    assert len(sink.captures) == 4
    assert not twin.phone.illuminator.state().on
    capture_fields(twin.phone, sink, "slide", GRID)
    assert len(sink.captures) == len(twin.truth.captures) == 6


def test_the_light_goes_off_when_a_capture_fails(twin):
    def fail():
        raise OSError("the disk is gone")

    sink = MemorySink(fail)
    with pytest.raises(OSError, match="the disk is gone"):
        capture_fields(twin.phone, sink, "slide", GRID)
    assert not twin.phone.illuminator.state().on


def test_the_light_goes_off_when_the_phone_fails(twin, monkeypatch):
    def fail(*_):
        assert twin.phone.illuminator.state().on
        raise KeyboardInterrupt

    monkeypatch.setattr(twin.phone, "capture", fail)
    with pytest.raises(KeyboardInterrupt):
        capture_fields(twin.phone, MemorySink(), "slide", GRID)
    assert not twin.phone.illuminator.state().on


def test_a_capture_in_the_dark_is_not_kept(twin):
    sink = MemorySink()

    def lights_out(progress):
        if progress.done == 3:
            twin.phone.illuminator.off()

    with pytest.raises(DeviceError, match="light was out when field 3"):
        capture_fields(twin.phone, sink, "slide", GRID, on_progress=lights_out)
    assert [index for _, index in sink.captures] == [0, 1, 2]
