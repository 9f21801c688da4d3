"""A scan straight into a session: clocks that jump and cameras that change leave it whole, in order and resumable."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from ready_microscope import PIXEL_UM, ReadyMicroscope, textured

from mobilescope.acquire.scan import scan_slide
from mobilescope.core.errors import DeviceError
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.grids import FieldGrid

FRAME_PX = 128
GRID = FieldGrid(2, 3, FRAME_PX * PIXEL_UM, FRAME_PX * PIXEL_UM)
PICTURE = textured(640)


def opened(path):
    header = SessionHeader(
        slides=(SlideEntry(name="s", role="training"),), instrument={}, benchtop_shape=(FRAME_PX, FRAME_PX),
        phone_shape=(4, 4),
    )
    return SessionWriter.create_or_resume(path, header, margin_bytes=0)


def test_a_clock_that_jumps_back_keeps_times_and_order(tmp_path, monkeypatch):
    path, real, jumped = tmp_path / "run.h5", time.time, []
    monkeypatch.setattr(time, "time", lambda: real() + sum(jumped))
    begun = real()

    def jump(count, image):
        if count == 3:
            jumped.append(-7200.0)
            return replace(image, time_s=time.time())
        return image

    with opened(path) as session:
        scan_slide(ReadyMicroscope(PICTURE, FRAME_PX, fault=jump), session, "s", GRID)
    with Session.open(path) as session:
        tiles = session.tiles("s")
        assert [tile.index for tile in tiles] == list(range(6))
        late = [tile.time_s < begun - 7000 for tile in tiles]
        assert late == sorted(late)
        assert {False, True} == set(late)
        assert any("clock was set by -7200.0 s" in event.text for event in session.events())
        assert session.verify() == []


def test_a_frame_of_another_size_in_mid_run_is_refused_and_nothing_is_lost(tmp_path):
    path = tmp_path / "run.h5"

    def binned(count, image):
        return replace(image, pixels=np.ascontiguousarray(image.pixels[::2, ::2])) if count >= 4 else image

    with opened(path) as session, pytest.raises(DeviceError, match="64x64x3 instead of 128x128x3"):
        scan_slide(ReadyMicroscope(PICTURE, FRAME_PX, fault=binned), session, "s", GRID)
    with Session.open(path) as session:
        kept = {tile.index: session.tile_pixels(tile) for tile in session.tiles("s")}
        assert sorted(kept) == list(range(len(kept)))
        assert len(kept) >= 3
    with opened(path) as session:
        scan_slide(ReadyMicroscope(PICTURE, FRAME_PX), session, "s", GRID)
    with Session.open(path) as session:
        assert session.verify() == []
        tiles = session.tiles("s")
        assert len(tiles) == 6
        for tile in tiles[:len(kept)]:
            np.testing.assert_array_equal(session.tile_pixels(tile), kept[tile.index])
