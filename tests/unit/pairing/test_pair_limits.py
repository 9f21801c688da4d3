"""Paired sessions at the end of a stage, and the light and the stop that hold for them as for any capture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pair_bench import (
    BAYER_PX,
    FIELDS,
    FRAME_PX,
    GRID,
    SLIDE,
    Chooser,
    FaultyPhone,
    header,
    small_twin,
    staged_phone,
    true_centre,
    walk,
)

from mobilescope.acquire.capture import capture_fields
from mobilescope.acquire.pairing import PlannedField
from mobilescope.acquire.stored_links import link_from
from mobilescope.app.acquisition.acquiring import (
    capture_grid,
    capture_job,
    link_notes,
    open_writer,
    run_of_tiles,
    slide_run,
)
from mobilescope.app.instruments.instrument import Instruments
from mobilescope.app.paired_sessions.linking import automatic_link
from mobilescope.app.paired_sessions.pair_benchtop import SessionSide
from mobilescope.app.paired_sessions.pair_session import PairRequest, SessionPairing
from mobilescope.app.paired_sessions.pair_summary import summarise
from mobilescope.app.pairs.pair_places import placed_captures
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.errors import CancelledError, LimitError, RegistrationError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.pair_link import INGESTED_ROW
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import LightState, PhoneCapture, PositionUm
from mobilescope.data.phone_light import DARK_CHANNEL, PhoneLight, write_phone_light
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.frame_link import FrameLink, LinkPoint
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan
from mobilescope.plans.scan_plans import FocusPlan, GridScan

SIDE_UM = 118.4


def test_a_field_beyond_the_phone_scopes_stage_is_left_out_before_anything_moves(twin, session, software_stage):
    stage, stood = software_stage(xy_limit_um=60.0), []
    far = PlannedField(0, 2, 90.0, 0.0)
    done = walk(
        twin, session, phone=staged_phone(twin, stage), fields=[*FIELDS, far],
        on_progress=lambda progress: stood.append((progress.done, stage.position().x_um)),
    )
    assert [(link.column, link.verdict) for link in done.links] == [(0, "accepted"), (1, "accepted")]
    assert stood[0] == (1, 0.0)
    assert [count for count, _ in stood] == [1, 2, 3]
    assert "outside the stage's range -60 to 60 µm" in done.result.left[0, 2]
    assert "another field" in done.result.advice[0, 2]
    with Session.open(session) as opened:
        assert any("column 2 was left" in event.text for event in opened.events())


def test_a_field_that_the_link_moved_out_of_reach_is_left_out_and_not_tried_again(twin, session):
    phone = FaultyPhone(twin.phone, "beyond")
    done = walk(twin, session, phone=phone)
    assert [link.column for link in done.links] == [1]
    assert phone.taken == 2
    assert "can't go there" in done.result.left[0, 0]


def test_a_field_whose_tiles_lie_beyond_the_benchtops_stage_is_refused_and_the_others_are_paired(
    twin, tmp_path, monkeypatch
):
    # The first column of tiles is out of reach.
    monkeypatch.setattr(twin.stage, "xy_range_um", lambda: ((-100.0, 300.0), (-300.0, 300.0)))
    phone = FaultyPhone(twin.phone, "fails", captures=())
    done = walk(twin, tmp_path / "new.h5", phone=phone, fields=[FIELDS[0], PlannedField(0, 1, 60.0, 30.0)], live=True)
    assert [link.verdict for link in done.links] == ["refused", "accepted"]
    assert "x lies outside the stage's range -100 to 300 µm" in done.links[0].reason
    assert phone.taken == 2


def instruments(twin, phone, **description):
    return Instruments(
        twin.benchtop, phone, light=None, description={"name": "a twin"} | description, blank_slide="empty",
        check_slide=str, focus_approach_um=0.0, changed_by_hand=True,
    )


def plan(columns):
    return JobPlan(slides=(SlidePlan(
        name=SLIDE, role="training", scan=GridScan(rows=4, columns=columns + 3, focus=FocusPlan(every=4)),
        capture=GridPlan(rows=1, columns=columns, overlap=0.0),
    ),))


def pair(folder, twin, phone, columns, retake=False, **description):
    """Pair a row of fields over a benchtop whose slides a person changes; return the session and what came of it."""
    session, job, used = folder / "s.h5", plan(columns), instruments(twin, phone, **description)
    with open_writer(session, job, used) as writer:
        result = SessionPairing(
            writer, job, used, Chooser(), PairRequest(retakes=0, retake=retake), lambda *_: None
        ).pair().slides[SLIDE]
    return session, result


def test_what_the_phone_scope_shows_as_a_rule_is_known_from_earlier_runs(twin, tmp_path, software_stage):
    phone = FaultyPhone(staged_phone(twin, software_stage()), "blank")
    _, first = pair(tmp_path, twin, phone, 6)
    assert [link.verdict for link in first.links] == ["refused"] + ["accepted"] * 5
    twin.phone.defocus_um = 10.0
    _, again = pair(tmp_path, twin, staged_phone(twin, software_stage()), 6, retake=True)
    (link,) = again.links
    assert link.column == 0
    assert "in other pairs of this session" in link.reason


def test_tiles_taken_ahead_are_those_of_fields_that_both_stages_reach(twin, tmp_path, monkeypatch, software_stage):
    # Of four fields, at -178, -59, 59 and 178 µm, the phone scope can't go to the first, the benchtop not to the last.
    monkeypatch.setattr(twin.stage, "xy_range_um", lambda: ((-300.0, 190.0), (-300.0, 300.0)))
    stage = software_stage()
    stage.xy_range_um = lambda: ((-100.0, 300.0), (-300.0, 300.0))
    session, result = pair(tmp_path, twin, staged_phone(twin, stage), 4)
    with Session.open(session) as opened:
        assert opened.verify() == []
        links, tiles = opened.pair_links(SLIDE), opened.tiles(SLIDE)
    assert [(link.column, link.verdict) for link in links] == [(1, "accepted"), (2, "accepted"), (3, "refused")]
    assert "the benchtop can't go there" in links[2].reason
    assert list(result.left) == [(0, 0)]
    assert min(tile.position.x_um for tile in tiles) > -220
    assert max(tile.position.x_um for tile in tiles) < 190


def test_a_paired_session_keeps_the_light_calibration_of_its_phone(twin, tmp_path):
    shot = PhoneCapture(
        None, b"", "RGGB", 64, 1023, 0.5, (1.0, 1.0, 1.0), PositionUm(0, 0, 0), 1.0, 4.0, 100,
        LightState(True, 255, 255, 255, 1.0, "ring"), "phone",
    )
    dark, clear = (np.full((BAYER_PX, BAYER_PX), counts, np.float32) for counts in (64, 700))
    light = tmp_path / "light.h5"
    write_phone_light(light, PhoneLight.of(dark, clear, shot, 8))
    session, _ = pair(tmp_path, twin, twin.phone, 1, development={"calibration": str(light)})
    with Session.open(session) as opened:
        np.testing.assert_array_equal(opened.flat_field("phone", DARK_CHANNEL["raw"]), dark)
        np.testing.assert_array_equal(opened.flat_field("phone"), clear)
        assert [link.verdict for link in opened.pair_links(SLIDE)] == ["accepted"]


def test_pictures_that_were_ingested_are_no_suggested_fields(twin, tmp_path):
    session, used = tmp_path / "s.h5", instruments(twin, twin.phone)
    job = JobPlan(slides=(plan(1).slides[0].model_copy(update={"capture": None}),))
    twin.phone.mount(SLIDE)
    twin.phone.illuminator.set_colour(255, 255, 255)
    twin.phone.defocus_um = 14.0
    blurred = twin.phone.capture(-60.0, -60.0)
    twin.phone.defocus_um = 0.0
    with open_writer(session, job, used) as writer:
        run_of_tiles(writer, used, slide_run(job.slides[0], used)).run()
        writer.add_phone_capture(SLIDE, 0, INGESTED_ROW, 0, blurred)
        SessionPairing(writer, job, used, Chooser(), PairRequest(suggest=1), lambda *_: None).pair()
    with Session.open(session) as opened:
        links = opened.pair_links(SLIDE)
    assert [(link.row, link.column, link.verdict) for link in links] == [(-2, 0, "refused"), (-1, 0, "accepted")]
    (summary,) = summarise(session)
    assert any(line.strip().startswith("retake capture 0: ") for line in summary.lines())


TURN_DEG, SHIFT_UM = 20.0, (400.0, -250.0)


def on_phone(x, y):
    """Return a place of the benchtop's frame in that of a phone scope that stands turned and apart."""
    angle, x, y = math.radians(TURN_DEG), x - SHIFT_UM[0], y - SHIFT_UM[1]
    return x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)


@pytest.fixture
def turned(make_twin, session):
    """A twin whose phone scope stands turned and apart, and a session that paired one field there."""
    twin = small_twin(make_twin, phone={"frame_shift_um": SHIFT_UM, "frame_turn_deg": TURN_DEG})
    places = (-100.0, -90.0), (100.0, -100.0), (0.0, 110.0)
    link = FrameLink.through(tuple(LinkPoint(on_phone(*place), place, 25.0) for place in places))
    done = walk(twin, session, fields=FIELDS[:1], link=link)
    assert [link.verdict for link in done.links] == ["accepted"]
    return twin


def test_capture_goes_to_the_plans_places_by_the_link_of_the_slides_pairs(turned, session):
    (slide,) = plan(2).slides
    job = JobPlan(slides=(slide.model_copy(update={"capture": GridPlan(rows=1, columns=2, overlap=0.0)}),))
    used = instruments(turned, turned.phone)
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        (note,) = link_notes(writer, job.slides, used)
        capture_job(writer, job, used)
    assert note == f"slide {SLIDE}: the plan's fields are gone to by the link of its pairs"
    planned = {stop.column: (stop.x_um, stop.y_um) for stop in capture_grid(job.slides[0], used)}
    with Session.open(session) as opened:
        placed = {place.capture.column: place for place in placed_captures(opened, SLIDE) if place.capture.index}
    # The field that was paired is there already.
    assert list(placed) == [1]
    np.testing.assert_allclose(true_centre(turned), planned[1], atol=30)
    np.testing.assert_allclose(placed[1].planned_um, planned[1], atol=12)


def test_the_next_run_goes_on_with_the_turn_that_one_pair_can_not_tell(turned, session):
    with Session.open(session) as opened:
        links = opened.pair_links(SLIDE)
    link = link_from(links, FrameLink.nominal(), 1)
    np.testing.assert_allclose(link.on_phone((1000.0, 800.0)), on_phone(1000.0, 800.0), atol=60)


def lit(session):
    """Return the number, light and place of each capture."""
    with Session.open(session) as opened:
        return [
            (each.index, each.channel, each.position.x_um) for each in opened.captures(SLIDE, channel=None)
        ]


@pytest.fixture
def taken_once(twin, session):
    """A field that was refused and is there in red and in darkness too, in a plan of both."""
    lights = GridPlan(rows=1, columns=1, overlap=0, lights=["red", "dark"]).lights
    grid = FieldGrid(1, 1, SIDE_UM, SIDE_UM, -40.0, -20.0, overlap=0.0)
    walk(twin, session, phone=FaultyPhone(twin.phone, "blurred"), fields=FIELDS[:1], retakes=0)
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        capture_fields(twin.phone, writer, SLIDE, grid, lights=lights)
    assert lit(session) == [(0, "", -40.0), (0, "red", -40.0), (0, "dark", -40.0)]
    return lights, grid


def test_a_field_that_is_taken_again_is_taken_in_all_its_lights_and_the_earlier_ones_stay(twin, session, taken_once):
    lights, grid = taken_once
    done = walk(twin, session, fields=[PlannedField(0, 0, -50.0, -20.0)], lights=lights)
    assert [(each.index, each.verdict) for each in done.links] == [(0, "refused"), (1, "accepted")]
    assert lit(session)[3:] == [(1, "", -50.0), (1, "red", -50.0), (1, "dark", -50.0)]
    assert len(lit(session)) == 6
    assert not twin.phone.illuminator.state().on
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        capture_fields(twin.phone, writer, SLIDE, grid, lights=lights)
    assert len(lit(session)) == 6


def test_a_session_retakes_its_refused_fields_in_the_plans_lights(twin, tmp_path):
    session, (slide,) = tmp_path / "s.h5", plan(1).slides
    in_red = GridPlan(rows=1, columns=1, overlap=0.0, lights=["red"])
    job = JobPlan(slides=(slide.model_copy(update={"capture": in_red}),))
    for phone, retake in ((FaultyPhone(twin.phone, "blurred"), False), (twin.phone, True)):
        used = instruments(twin, phone)
        with open_writer(session, job, used) as writer:
            request = PairRequest(retakes=0, retake=retake)
            SessionPairing(writer, job, used, Chooser(), request, lambda *_: None).pair()
            if not retake:
                capture_job(writer, job, used)
    assert [each[:2] for each in lit(session)] == [(0, ""), (0, "red"), (1, ""), (1, "red")]


def test_a_light_that_fails_at_a_retake_is_told_and_taken_by_the_next_capture(twin, session, taken_once):
    lights, grid = taken_once
    phone = FaultyPhone(twin.phone, "fails", captures=(2,))
    done = walk(twin, session, phone=phone, fields=FIELDS[:1], lights=lights)
    assert done.links[-1].accepted
    assert "in light dark: the phone does not answer; 'mobilescope capture' takes the lights" in done.chooser.told[-1]
    assert not twin.phone.illuminator.state().on
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        capture_fields(twin.phone, writer, SLIDE, grid, lights=lights)
    assert [each[:2] for each in lit(session)[3:]] == [(1, ""), (1, "red"), (1, "dark")]


class Finder:
    """Finds every picture where its phone took it, or does what it is told to."""

    def __init__(self, phone, then=lambda: None):
        self._phone, self._then, self.asked = phone, then, 0

    def place(self, _picture, _pixel_um):
        self.asked += 1
        self._then()
        at = self._phone.position()
        return at.x_um + 5.0, at.y_um


def test_the_link_is_found_with_fields_within_reach(twin, software_stage):
    stage = software_stage(xy_limit_um=200.0)
    phone, finder = staged_phone(twin, stage), Finder(stage)
    phone.mount(SLIDE)
    grid = FieldGrid(3, 6, SIDE_UM, SIDE_UM)
    link = automatic_link(phone, finder, grid, develop_fresh, SLIDE, StopToken())
    np.testing.assert_allclose(link.on_benchtop((0.0, 0.0)), (5.0, 0.0), atol=1e-6)
    assert finder.asked == 4
    assert not twin.phone.illuminator.state().on
    with pytest.raises(RegistrationError, match="can go to 0 of the plan's 9"):
        automatic_link(phone, finder, FieldGrid(3, 3, 9.0, 9.0, 900.0), develop_fresh, SLIDE, StopToken())


def test_a_stop_ends_the_search_for_the_link_after_the_field_at_hand(twin, software_stage):
    stage, stop = software_stage(), StopToken()
    phone, finder = staged_phone(twin, stage), Finder(stage, stop.request)
    phone.mount(SLIDE)
    with pytest.raises(CancelledError, match="run the same command again"):
        automatic_link(phone, finder, FieldGrid(3, 3, SIDE_UM, SIDE_UM), develop_fresh, SLIDE, stop)
    assert finder.asked == 1
    assert not twin.phone.illuminator.state().on


def test_the_tiles_of_a_session_are_listed_once_and_again_after_some_were_taken(session, monkeypatch):
    listed = []
    tiles_of = Session.mosaic_tiles
    monkeypatch.setattr(Session, "mosaic_tiles", lambda self, slide: listed.append(slide) or tiles_of(self, slide))
    taken = []
    side = SessionSide(session, SLIDE, FieldGrid(4, 5, GRID.field_width_um, GRID.field_height_um), take=taken.append)
    for x_um in (-40.0, 0.0, 40.0):
        view = side.view(RegionUm.centred(x_um, 0.0, SIDE_UM, SIDE_UM))
        assert view.pixels.shape[0] > FRAME_PX
    assert (len(listed), taken) == (1, [])
    side.view(RegionUm.centred(150.0, 0.0, SIDE_UM, SIDE_UM))
    assert len(taken) == 1
    assert len(listed) == 2


def test_a_stage_that_stops_at_its_limit_while_tiles_are_taken_ahead_does_not_end_the_session(session):
    def refuse(cells):
        raise LimitError(f"{len(cells)} tiles lie outside the stage's range")

    side = SessionSide(session, SLIDE, FieldGrid(4, 9, GRID.field_width_um, GRID.field_height_um), take=refuse)
    side.prepare([RegionUm.centred(x_um, 0.0, SIDE_UM, SIDE_UM) for x_um in (0.0, 300.0)])
    with pytest.raises(LimitError):
        side.view(RegionUm.centred(300.0, 0.0, SIDE_UM, SIDE_UM))
