"""Going on with a session: what may have changed since it was begun, and what may not."""

from __future__ import annotations

import os

import numpy as np
import pytest
from session_samples import FOCUS, capture, header, tile, writer

from mobilescope.core.errors import SessionLockedError, UserError
from mobilescope.core.protocols import TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter


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
