"""A session whose writer was killed opens again, whole, and nothing of it is cut off."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from session_samples import FOCUS, capture, header, tile

from mobilescope.core.errors import InputFileError
from mobilescope.core.protocols import TileKey
from mobilescope.data.lock import lock_path
from mobilescope.data.recovery import clear_open_flags, is_open_flagged, lookup3, read_superblock
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter


def resume(path):
    return SessionWriter.create_or_resume(path, header(), margin_bytes=0)


@pytest.fixture
def killed(tmp_path):
    """Copy a session's bytes while its writer is at work: what a kill at that instant leaves."""
    path, left = tmp_path / "run.h5", tmp_path / "left.h5"
    with resume(path) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index), FOCUS)
            session.add_phone_capture("lung-1", index, 0, index, capture(index))
        shutil.copy(path, left)
    return left


def test_checksum_agrees_with_published_values():
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_clearing_flags_keeps_every_byte_but_the_superblock(killed):
    before = killed.read_bytes()
    assert is_open_flagged(killed)
    clear_open_flags(killed)
    after = killed.read_bytes()
    assert not is_open_flagged(killed)
    assert after[48:] == before[48:]
    assert read_superblock(killed).end_of_file == len(before)


def test_clearing_a_closed_file_changes_nothing(killed):
    clear_open_flags(killed)
    before = killed.read_bytes()
    clear_open_flags(killed)
    assert killed.read_bytes() == before


def test_an_interrupted_session_reads_without_being_touched(killed):
    before = killed.read_bytes()
    with Session.open(killed) as session:
        assert len(session.tiles("lung-1")) == 3
        assert session.verify() == []
        assert session.summary()["state"] == "interrupted"
    assert killed.read_bytes() == before


def test_resume_after_a_kill_appends_and_notes_it(killed):
    with resume(killed) as session:
        assert session.has_tile(TileKey("lung-1", 0, 2))
        session.add_benchtop_tile(TileKey("lung-1", 0, 3), 3, tile(3), FOCUS)
        session.add_phone_capture("lung-1", 3, 0, 3, capture(3))
    with Session.open(killed) as session:
        assert session.verify() == []
        tiles, captures = session.tiles("lung-1"), session.captures("lung-1")
        for index in range(4):
            np.testing.assert_array_equal(session.tile_pixels(tiles[index]), tile(index).pixels)
            assert session.jpeg(captures[index]) == capture(index).jpeg
        assert "interrupted" in session.events()[0].text


def test_a_frame_without_a_row_and_a_torn_row_are_overwritten(tmp_path, monkeypatch):
    path, left = tmp_path / "run.h5", tmp_path / "left.h5"
    with resume(path) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
        monkeypatch.setattr("mobilescope.data.series.sealed", lambda row: row)  # the row is cut short
        session.add_benchtop_tile(TileKey("lung-1", 0, 1), 1, tile(1), FOCUS)
        monkeypatch.setattr("mobilescope.data.series.sealed", _power_cut)
        with pytest.raises(KeyboardInterrupt):
            session.add_phone_capture("lung-1", 0, 0, 0, capture(0))
        shutil.copy(path, left)
    monkeypatch.undo()
    with Session.open(left) as session:
        assert len(session.tiles("lung-1")) == 1
        assert session.captures("lung-1") == []
    with resume(left) as session:
        assert not session.has_tile(TileKey("lung-1", 0, 1))
        session.add_benchtop_tile(TileKey("lung-1", 0, 1), 1, tile(7), FOCUS)
        session.add_phone_capture("lung-1", 0, 0, 0, capture(5))
    with Session.open(left) as session:
        assert session.verify() == []
        np.testing.assert_array_equal(session.tile_pixels(session.tiles("lung-1")[1]), tile(7).pixels)
        assert session.jpeg(session.captures("lung-1")[0]) == capture(5).jpeg


def _power_cut(_row):
    raise KeyboardInterrupt


@pytest.mark.parametrize("lost", [1_100_000, 1_200_000])
def test_an_interrupted_session_that_was_cut_is_refused_and_left_alone(killed, lost):
    os.truncate(killed, killed.stat().st_size - lost)
    before = killed.read_bytes()
    for opening in (Session.open, resume):
        with pytest.raises(InputFileError, match="truncated"):
            opening(killed)
    assert killed.read_bytes() == before


def test_a_damaged_superblock_is_refused(killed):
    with killed.open("r+b") as file:
        file.seek(30)
        file.write(b"\x7f")
    with pytest.raises(InputFileError, match="damaged"):
        Session.open(killed)


def test_a_lock_file_left_by_a_dead_writer_does_not_lock(killed):
    lock_path(killed).write_text("1\n")
    with resume(killed) as session:
        session.add_event("info", "on we go")
