"""The walk of a paired session on the twin: what is kept, taken again, left and refused, fault by fault."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pair_bench import (
    FIELDS,
    GRID,
    SLIDE,
    Chooser,
    FaultyPhone,
    header,
    small_twin,
    true_centre,
    walk,
)

from mobilescope.acquire.pair_examining import FieldExaminer, TileUnder
from mobilescope.acquire.pairing import Choice, PendingCapture
from mobilescope.acquire.stored_links import link_from
from mobilescope.app.paired_sessions.pair_benchtop import SessionSide
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.errors import CancelledError, DeviceError, UserError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import StopToken
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.frame_link import FrameLink, LinkPoint


def test_fields_are_captured_found_and_committed_with_their_link(twin, session):
    done = walk(twin, session)
    assert [(link.verdict, link.row, link.column, link.index, link.attempts) for link in done.links] == [
        ("accepted", 0, 0, 0, 1), ("accepted", 0, 1, 1, 1),
    ]
    for number, link in enumerate(done.links):
        np.testing.assert_allclose(link.found_um, true_centre(twin, number), atol=3)
        assert link.source == "tiles"
        assert link.quality["residual_median_px"] < 0.3
        assert 1 <= len(link.tiles) <= 9
        assert link.picture_to_um[0] == pytest.approx(0.925, rel=0.03)
    assert done.links[1].link_points == 1
    assert not twin.phone.illuminator.state().on
    assert len(done.result.link.points) == 2


def test_tiles_that_are_missing_are_taken_and_a_second_field_needs_no_more_of_them(twin, tmp_path):
    done = walk(twin, tmp_path / "new.h5", live=True)
    assert [link.verdict for link in done.links] == ["accepted"] * 2
    with Session.open(done.session) as opened:
        tiles = opened.tiles(SLIDE)
        assert 4 <= len(tiles) <= len(GRID)
        assert {tile.focus.verdict for tile in tiles} == {"focused"}
    assert len({(tile.row, tile.column) for tile in tiles}) == len(tiles)


@pytest.mark.parametrize(("fault", "words"), [
    ("fails", "does not answer"), ("blurred", "blurred"), ("elsewhere", "another field"), ("flipped", "mirror"),
])
def test_a_fault_that_passes_costs_one_more_capture(twin, session, fault, words):
    phone = FaultyPhone(twin.phone, fault)
    done = walk(twin, session, phone=phone, fields=FIELDS[:1])
    (link,) = done.links
    assert (link.verdict, link.attempts, phone.taken) == ("accepted", 2, 2)
    assert words in " ".join(done.chooser.told)
    assert done.chooser.asked == []
    assert len(done.captures) == 1


@pytest.mark.parametrize(("details", "attempts"), [((0.97,) * 5, 2), ((0.97,) * 4, 1), ((0.5,) * 5, 1)])
def test_a_soft_picture_is_taken_again_once_it_is_known_what_the_phone_scope_can_show(twin, session, details, attempts):
    phone = FaultyPhone(twin.phone, "blurred", defocus_um=10.0)
    done = walk(twin, session, phone=phone, fields=FIELDS[:1], details=details)
    (link,) = done.links
    assert (link.verdict, link.attempts, phone.taken) == ("accepted", attempts, attempts)
    assert ("focus the phone scope and take it again" in " ".join(done.chooser.told)) == (attempts == 2)


def test_a_phone_that_gives_no_raw_is_paired_by_its_jpeg(twin, session):
    phone = FaultyPhone(twin.phone, "without_raw", captures=range(9))
    done = walk(twin, session, phone=phone, fields=FIELDS[:1])
    assert [(link.verdict, link.attempts) for link in done.links] == [("accepted", 1)]
    assert done.captures[0].cfa == ""


def test_a_capture_of_which_nobody_knows_the_place_is_looked_up(twin, session):
    pending = PendingCapture(7, 0, 7, (math.nan, math.nan), 0.925, lambda: develop_fresh(twin.phone.capture(0.0, 0.0)))
    twin.phone.mount(SLIDE)
    twin.phone.illuminator.set_colour(255, 255, 255)
    stored = twin.phone.capture(0.0, 0.0)
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        writer.add_phone_capture(SLIDE, 7, 0, 7, stored)
    done = walk(twin, session, fields=[], pending=[pending], finder=Finder())
    (link,) = done.links
    assert link.verdict == "accepted"
    assert math.dist(link.found_um, (0.0, 0.0)) < 20
    assert link.planned_um == link.found_um
    assert done.result.link.points == ()


class Finder:
    """Finds everything at the middle of the slide."""

    def place(self, _picture, _pixel_um):
        return 0.0, 0.0


def test_a_wrong_field_is_told_with_the_way_back(twin, session):
    done = walk(twin, session, phone=FaultyPhone(twin.phone, "elsewhere"), fields=FIELDS[:1])
    (told,) = done.chooser.told
    way = told.split("view ")[1].split()
    assert (way[2], way[6]) == ("left", "down")
    assert float(way[0]) == pytest.approx(90, abs=15)


@pytest.mark.parametrize(("fault", "words"), [("blurred", "blurred"), ("blank", "blank")])
def test_a_fault_that_stays_is_kept_as_refused_with_its_reason(twin, session, fault, words):
    phone = FaultyPhone(twin.phone, fault, captures=range(9))
    done = walk(twin, session, phone=phone, fields=FIELDS[:1])
    (link,) = done.links
    assert link.verdict == "refused"
    assert words in link.reason
    assert (phone.taken, link.attempts) == ((1, 1) if fault == "blank" else (2, 2))
    assert done.result.advice[0, 0]
    assert done.result.link.points == ()


def test_a_person_decides_about_a_refused_field(twin, session):
    phone = FaultyPhone(twin.phone, "blurred", captures=range(3))
    done = walk(twin, session, phone=phone, answers=[Choice.RETAKE, Choice.SKIP], retakes=0)
    assert [link.column for link in done.links] == [1]  # two blurred ones of the first, a third of the second
    assert "blurred" in done.result.left[0, 0]
    phone = FaultyPhone(twin.phone, "blurred", captures=range(9))
    with pytest.raises(CancelledError):
        walk(twin, session, phone=phone, answers=[Choice.END], retakes=0)


def test_a_phone_that_sends_its_last_picture_again_is_refused_and_nothing_is_kept_twice(twin, session):
    phone = FaultyPhone(twin.phone, "same", captures=range(1, 9))
    done = walk(twin, session, phone=phone)
    assert [link.column for link in done.links] == [0]
    assert "taken before" in done.result.left[0, 1]
    assert len(done.captures) == 1


def test_a_slide_that_lies_upside_down_ends_the_walk_with_what_to_do(twin, session):
    phone = FaultyPhone(twin.phone, "flipped", captures=range(9))
    with pytest.raises(UserError, match=r"upside down.*turn the slide over.*run the same command again"):
        walk(twin, session, phone=phone)
    assert not twin.phone.illuminator.state().on
    with Session.open(session) as opened:
        assert opened.captures(SLIDE) == []


@pytest.mark.parametrize("fault", ["fails", "dark"])
def test_a_phone_that_fails_for_good_ends_the_walk_and_what_was_paired_is_kept(twin, session, fault):
    phone = FaultyPhone(twin.phone, fault, captures=range(1, 9))
    with pytest.raises(DeviceError, match="does not answer" if fault == "fails" else "light was out"):
        walk(twin, session, phone=phone)
    assert not twin.phone.illuminator.state().on
    with Session.open(session) as opened:
        assert [link.column for link in opened.pair_links(SLIDE)] == [0]
        assert len(opened.captures(SLIDE)) == 1


class Unfocused:
    """A benchtop side whose tiles bear the mark of an autofocus that failed."""

    def __init__(self, side):
        self._side = side

    def covers(self, region):
        return self._side.covers(region)

    def view(self, region):
        view = self._side.view(region)
        return replace(view, tiles=tuple(replace(tile, mark="saturated,unfocused") for tile in view.tiles))


def test_a_benchtop_out_of_focus_gives_no_pair_and_no_retake_of_the_phone(twin, session):
    phone = FaultyPhone(twin.phone, "fails", captures=())
    done = walk(twin, session, phone=phone, fields=FIELDS[:1], side=Unfocused)
    (link,) = done.links
    assert (link.verdict, phone.taken) == ("refused", 1)
    assert "out of focus" in link.reason
    assert "scan that place again" in done.result.advice[0, 0]


class FineTiles(Unfocused):
    """A benchtop side of small tiles, of which those of the first row and column lie partly beside the field."""

    TILES = tuple(
        TileUnder(row, column, RegionUm(-108.0 + 21 * column, -88.0 + 21 * row, 21.0, 21.0), "")
        for row in range(7) for column in range(7)
    )

    def view(self, region):
        return replace(self._side.view(region), tiles=self.TILES)


def test_of_more_tiles_than_a_pair_has_room_for_those_under_most_of_the_field_are_kept(twin, session):
    twin.phone.mount(SLIDE)
    twin.phone.illuminator.set_colour(255, 255, 255)
    capture = twin.phone.capture(-40.0, -20.0)
    side = FineTiles(SessionSide(session, SLIDE, GRID))
    finding = FieldExaminer(side).examine(develop_fresh(capture), 2 * capture.bayer_pixel_um, (-40.0, -20.0), 14.0)
    assert finding.accepted
    field = RegionUm.centred(*finding.found_um, *twin.phone.field_of_view_um)
    common = {(tile.row, tile.column): tile.region.intersection(field) for tile in side.TILES}
    shared = {key: part.width_um * part.height_um for key, part in common.items() if part is not None}
    kept = [shared[key] for key in finding.tiles]
    assert len(kept) == 25 < len(shared)
    assert min(kept) >= max(share for key, share in shared.items() if key not in finding.tiles) - 30


def test_a_field_outside_of_the_scan_is_refused(twin, session):
    far = FIELDS[0].__class__(5, 5, 900.0, 900.0)
    done = walk(twin, session, fields=[far], retakes=0)
    assert "outside" in done.links[0].reason


def test_a_stop_comes_after_the_field_at_hand(twin, session):
    stop = StopToken()
    with pytest.raises(CancelledError):
        walk(twin, session, stop=stop, on_progress=lambda _: stop.request())
    with Session.open(session) as opened:
        assert [link.verdict for link in opened.pair_links(SLIDE)] == ["accepted"]


def test_the_phone_is_sent_through_the_link_and_the_link_learns(make_twin, session):
    turned = {"frame_shift_um": (400.0, -250.0), "frame_turn_deg": 20.0}
    twin = small_twin(make_twin, phone=turned)
    angle = math.radians(20.0)

    def on_phone(x, y):
        x, y = x - 400.0, y + 250.0
        return x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)

    pointed = [(-100.0, -90.0), (100.0, -100.0), (0.0, 110.0)]
    points = tuple(LinkPoint(on_phone(x, y), (x + off, y - off), 25.0) for (x, y), off in zip(
        pointed, (8.0, -6.0, 4.0), strict=True
    ))
    done = walk(twin, session, link=FrameLink.through(points))
    assert [link.verdict for link in done.links] == ["accepted"] * 2
    np.testing.assert_allclose(done.links[0].phone_um, on_phone(-40.0, -20.0), atol=15)
    assert math.degrees(math.atan2(done.links[0].picture_to_um[3], done.links[0].picture_to_um[0])) == pytest.approx(
        20, abs=8
    )
    again = link_from(done.links, FrameLink.through(points), 0)
    np.testing.assert_allclose(again.to_benchtop.matrix, done.result.link.to_benchtop.matrix)


def test_progress_counts_fields_with_their_verdicts(twin, session):
    shown = []
    walk(twin, session, on_progress=shown.append)
    assert [(each.done, each.total, each.note) for each in shown] == [
        (1, 2, "1 accepted, 0 refused"), (2, 2, "2 accepted, 0 refused"),
    ]
    assert Chooser().answers == []
