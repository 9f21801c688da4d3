"""Where registration looks for a capture of a paired session, and which captures it leaves out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from session_samples import FOCUS, capture, header, tile

from mobilescope.app.pairs.pair_places import placed_captures
from mobilescope.core.geometry import Affine
from mobilescope.core.pair_link import PairLink
from mobilescope.core.protocols import PositionUm, TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

SLIDE = "lung-1"
NOWHERE = (math.nan, math.nan)


def link(index, column, *, found_um=NOWHERE, verdict="accepted", picture_to_um=(math.nan,) * 6):
    return PairLink(
        slide=SLIDE, index=index, row=0, column=column, time_s=0.0, phone_um=(1.0, 2.0), planned_um=(100.0, 200.0),
        found_um=found_um, picture_to_um=picture_to_um, link=(1.0, 0.0, 50.0, 0.0, 1.0, -20.0),
        link_residual_um=math.nan, link_points=0, verdict=verdict, reason="" if verdict == "accepted" else "blurred",
        quality={}, source="tiles", tiles=((0, 0),), attempts=1, seconds=0.0, run=0,
    )


@pytest.fixture
def session(tmp_path):
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header(), margin_bytes=0) as writer:
        writer.add_benchtop_tile(TileKey(SLIDE, 0, 0), 0, tile(0), FOCUS)
        for index in range(5):
            taken = replace(capture(index), nominal=PositionUm(3.0 + index, 4.0, 5.0))
            writer.add_phone_capture(SLIDE, index, 0, index, taken)
        yield writer


def places(session):
    with Session.open(session.path) as opened:
        return {
            each.capture.index: ((each.capture.position.x_um, each.capture.position.y_um), each.planned_um)
            for each in placed_captures(opened, SLIDE)
        }


def test_captures_without_pairs_are_looked_for_where_they_were_planned(session):
    assert places(session)[2] == ((5.0, 4.0), (5.0, 4.0))


def test_a_pair_is_looked_for_where_it_was_found_and_the_rest_through_its_link(session):
    session.add_pair_link(link(0, 0, found_um=(111.0, 222.0)))
    session.add_pair_link(link(1, 1, verdict="refused"))
    found = places(session)
    assert found[0] == ((111.0, 222.0), (100.0, 200.0))
    assert found[1] == ((100.0, 200.0), (100.0, 200.0))
    assert found[2] == ((55.0, -16.0), (55.0, -16.0))


def test_pictures_lie_turned_as_their_own_pair_says_or_the_last_one(session):
    turned = {turn: Affine.similarity(0.9, turn, 7, 8).matrix.ravel() for turn in (88.0, 92.0)}
    session.add_pair_link(link(0, 0, found_um=(111.0, 222.0), picture_to_um=tuple(turned[88.0])))
    session.add_pair_link(link(1, 1, found_um=(333.0, 222.0), picture_to_um=tuple(turned[92.0])))
    session.add_pair_link(link(2, 2, verdict="refused"))
    with Session.open(session.path) as opened:
        found = [each.turn_deg for each in placed_captures(opened, SLIDE)]
    assert found == pytest.approx([88, 92, 92, 92, 92])


def test_a_capture_that_a_retake_replaced_is_left_out(session):
    session.add_pair_link(link(0, 0, verdict="refused"))
    session.add_pair_link(link(1, 0, found_um=(111.0, 222.0)))
    assert sorted(places(session)) == [1, 2, 3, 4]
