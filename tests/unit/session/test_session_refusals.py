"""What a session can't keep is refused, and nothing of it is stored."""

from __future__ import annotations

from collections import namedtuple

import pytest
from session_samples import FOCUS, capture, header, tile, writer

from mobilescope.core.errors import DiskSpaceError, InputImageError, SessionError
from mobilescope.core.protocols import TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

Usage = namedtuple("Usage", "total used free")


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
