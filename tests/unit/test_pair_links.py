"""The table of pairs in a session: a row commits both sides and their link, or nothing."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from session_samples import FOCUS, capture, header, tile

from mobilescope.core.errors import SessionError
from mobilescope.core.pair_link import PairLink
from mobilescope.core.protocols import TileKey
from mobilescope.data.repair import repair
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

SLIDE = "lung-1"


def link(index=0, *, tiles=((0, 0), (0, 1)), **changes):
    fields = {
        "slide": SLIDE, "index": index, "row": 1, "column": index, "time_s": 1.7e9, "phone_um": (1.0, 2.0),
        "planned_um": (3.0, 4.0), "found_um": (5.0, 6.5), "picture_to_um": (0.9, 0.0, 1.0, 0.0, 0.9, 2.0),
        "link": (1.0, 0.0, 2.0, 0.0, 1.0, 2.0), "link_residual_um": 3.5, "link_points": 4, "verdict": "accepted",
        "reason": "", "quality": {"pearson": 0.93, "residual_median_px": 0.07}, "source": "tiles",
        "tiles": tiles, "attempts": 2, "seconds": 1.25, "run": 3,
    }
    return PairLink(**fields | changes)


@pytest.fixture
def session(tmp_path):
    """A session with two tiles and three captures, open for writing."""
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header(), margin_bytes=0) as writer:
        for column in (0, 1):
            writer.add_benchtop_tile(TileKey(SLIDE, 0, column), column, tile(column), FOCUS)
        for index in range(3):
            writer.add_phone_capture(SLIDE, index, 1, index, capture(index))
        yield writer


def test_a_pair_comes_back_as_it_was_given(session):
    first, refused = link(), link(1, verdict="refused", reason="µ blurred", tiles=(), found_um=(float("nan"),) * 2)
    session.add_pair_link(first)
    session.add_pair_link(refused)
    with Session.open(session.path) as opened:
        kept = opened.pair_links(SLIDE)
        assert kept[0] == first
        assert (kept[1].verdict, kept[1].reason, kept[1].tiles) == ("refused", "µ blurred", ())
        assert np.isnan(kept[1].found_um).all()
        assert opened.verify() == []
        paired = {entry["name"]: entry["paired"] for entry in opened.summary()["slides"]}
    assert paired == {SLIDE: {"accepted": 1, "refused": 1}, "lung-2": {}}


@pytest.mark.parametrize(("half", "words"), [
    (link(7), "no such capture"), (link(0, tiles=((0, 0), (5, 5))), "no benchtop tile row 5 column 5"),
    (link(0, tiles=()), "no benchtop side"), (link(0, slide="lung-2"), "no such capture"),
])
def test_half_a_pair_is_refused(session, half, words):
    with pytest.raises(SessionError, match=words):
        session.add_pair_link(half)
    with Session.open(session.path) as opened:
        assert opened.pair_links(SLIDE) == []


def test_a_capture_in_a_further_light_alone_is_no_side_of_a_pair(session):
    session.add_phone_capture(SLIDE, 5, 1, 5, capture(5), channel="dark")
    with pytest.raises(SessionError, match="no such capture"):
        session.add_pair_link(link(5))


def test_a_tile_of_this_run_is_a_side_of_a_pair(session):
    session.add_benchtop_tile(TileKey(SLIDE, 3, 4), 2, tile(2), FOCUS)
    session.add_pair_link(link(tiles=((3, 4),)))
    with Session.open(session.path) as opened:
        assert opened.verify() == []


def test_a_capture_has_one_link(session):
    session.add_pair_link(link())
    with pytest.raises(SessionError, match="already"):
        session.add_pair_link(link(reason="again"))


def test_a_field_that_was_paired_again_counts_once_with_its_latest_verdict(session):
    session.add_pair_link(link(0, verdict="refused", reason="blurred"))
    session.add_pair_link(link(1, column=0))
    with Session.open(session.path) as opened:
        assert opened.summary()["slides"][0]["paired"] == {"accepted": 1}
        assert len(opened.pair_links(SLIDE)) == 2


def test_numbers_and_digests_of_captures_are_known_after_going_on(session):
    path = session.path
    session.add_pair_link(link())
    session.close()
    with SessionWriter.create_or_resume(path, header(), margin_bytes=0) as again:
        assert (again.next_capture_index(SLIDE), again.next_capture_index("lung-2")) == (3, 0)
        with Session.open(path) as opened:
            stored = opened.captures(SLIDE)
        assert {stored[0].sha256, stored[2].jpeg_sha256} <= again.capture_digests()
        with pytest.raises(SessionError, match="already"):
            again.add_pair_link(link())
        again.add_phone_capture(SLIDE, 3, 1, 3, capture(9))
        again.add_pair_link(link(3))


def test_damage_in_the_table_and_a_lost_side_are_told_and_repaired(session, tmp_path):
    for index in range(3):
        session.add_pair_link(link(index))
    session.close()
    path = session.path
    with h5py.File(path, "r+", libver=("v110", "v110"), locking=False) as file:
        rows = file["links"][:]
        rows["attempts"][1] = 99
        file["links"][:] = rows
        tiles = file["benchtop/rows"][:]
        tiles["x_um"][1] += 1
        file["benchtop/rows"][:] = tiles
        file["benchtop/rows"].resize(1, axis=0)
    with Session.open(path) as opened:
        problems = opened.verify()
        assert "links: row 1 does not match its checksum" in problems
        assert sum("no benchtop tile row 0 column 1" in problem for problem in problems) == 2
    copy = tmp_path / "copy.h5"
    shutil.copy(path, copy)
    report = repair(copy, tmp_path / "out.h5")
    assert report.kept == {"tiles": 1, "captures": 3, "flat_fields": 0, "events": 0}
    assert sum("no benchtop tile" in line for line in report.lost) == 2
    with Session.open(tmp_path / "out.h5") as opened:
        assert opened.verify() == []


def test_repair_keeps_the_pairs_that_are_whole(session, tmp_path):
    for index in range(3):
        session.add_pair_link(link(index))
    session.close()
    with h5py.File(session.path, "r+", libver=("v110", "v110"), locking=False) as file:
        rows = file["links"][:]
        rows["attempts"][1] = 99
        file["links"][:] = rows
    report = repair(session.path, tmp_path / "out.h5")
    assert report.kept["pairs"] == 2
    with Session.open(tmp_path / "out.h5") as opened:
        assert [entry.index for entry in opened.pair_links(SLIDE)] == [0, 2]


def test_a_lost_table_of_pairs_is_told_by_inspect_and_by_repair(session, tmp_path):
    session.add_pair_link(link())
    session.close()
    with h5py.File(session.path, "r+", libver=("v110", "v110"), locking=False) as file:
        del file["links"]
    with Session.open(session.path) as opened:
        assert opened.verify() == ["links: the table is missing"]
    report = repair(session.path, tmp_path / "out.h5")
    assert report.lost == ["pairs: the table of records can't be read, and all that it held is lost"]


def test_a_further_light_does_not_stand_for_the_capture(tmp_path):
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header(), margin_bytes=0) as writer:
        writer.add_benchtop_tile(TileKey(SLIDE, 0, 0), 0, tile(0), FOCUS)
        writer.add_phone_capture(SLIDE, 0, 1, 0, capture(0))
        writer.add_phone_capture(SLIDE, 0, 1, 0, capture(1), channel="dark")
        writer.add_pair_link(link(tiles=((0, 0),)))
    with h5py.File(writer.path, "r+", libver=("v110", "v110"), locking=False) as file:
        rows = file["phone/rows"][:]
        rows["iso"][0] += 1
        file["phone/rows"][:] = rows
    report = repair(writer.path, tmp_path / "out.h5")
    assert "no such capture" in report.lost[-1]
    with Session.open(tmp_path / "out.h5") as opened:
        assert opened.verify() == []
        assert opened.pair_links(SLIDE) == []
