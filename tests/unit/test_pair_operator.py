"""Who goes to the fields: a stage, a person at a terminal, or nobody; and the phone scope focused by its pictures."""

from __future__ import annotations

import io

import pytest
from pair_bench import small_twin

from mobilescope.acquire.pairing import Choice
from mobilescope.acquire.phone_focus import PhoneFocus
from mobilescope.app.developing import develop_fresh
from mobilescope.app.pair_operator import Person, StandIn, ask_for_points
from mobilescope.core.errors import UserError


@pytest.fixture
def typed(monkeypatch):
    """Type lines at the terminal."""

    def give(*lines):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return give


def test_a_stage_goes_to_the_field_and_then_the_focus_is_searched(software_stage):
    stage, focused = software_stage(), []
    StandIn(stage, focus=lambda: focused.append(stage.position())).go("field 1", (120.0, -40.0))
    assert [(at.x_um, at.y_um) for at in focused] == [(120.0, -40.0)]


def test_nobody_can_be_asked_to_move_a_phone_scope_without_a_stage():
    with pytest.raises(UserError, match=r"moved to field 1.*\[stage\]"):
        StandIn().go("field 1", (1.0, 2.0))
    StandIn(moves_itself=True).go("field 1", (1.0, 2.0))
    assert StandIn().choose("field 1", "blurred", "focus") is Choice.KEEP


def test_a_person_is_told_where_to_go_and_how_far_from_the_last_field(typed, capsys):
    person = Person()
    typed("", "")
    person.go("field 1", (100.0, 50.0))
    person.go("field 2", (300.0, 20.0))
    first, second = capsys.readouterr().err.splitlines()
    assert "x = 100 µm, y = 50 µm. Focus" in first
    assert "+200 µm in x and -30 µm in y from the last" in second
    with pytest.raises(UserError, match="nobody answered"):
        person.go("field 3", (0.0, 0.0))


def test_a_person_is_asked_until_the_answer_is_one(typed):
    typed("what", "", "S")
    assert Person().choose("field 1", "blurred", "focus") is Choice.SKIP
    typed("retake")
    assert Person().choose("field 1", "blurred", "focus") is Choice.RETAKE


def test_three_places_are_asked_for_and_a_mistyped_one_again(typed, capsys):
    typed("0,0=10,20", "oops", "900,0=910,30", "0,700=-5,720")
    points = ask_for_points()
    assert [point.phone_um for point in points] == [(0.0, 0.0), (900.0, 0.0), (0.0, 700.0)]
    assert "'oops' is no place in both frames" in capsys.readouterr().err


class FocusDrive:
    """A stage whose z is how far the twin's phone is out of focus."""

    def __init__(self, stage, phone, focus_um):
        self._stage, self._phone, self._focus_um = stage, phone, focus_um
        self.move_z(stage.position().z_um)

    def __getattr__(self, name):
        return getattr(self._stage, name)

    def move_z(self, z_um):
        self._stage.move_z(z_um)
        self._phone.defocus_um = z_um - self._focus_um


def test_the_phone_scope_is_focused_with_its_own_pictures(make_twin, software_stage):
    twin = small_twin(make_twin, phone={"focus_error_um": 0.0})
    twin.phone.mount("s")
    twin.phone.illuminator.set_colour(255, 255, 255)
    stage = FocusDrive(software_stage(), twin.phone, 17.0)
    record = PhoneFocus(twin.phone, stage, develop_fresh).focus()
    assert record.verdict == "focused"
    assert stage.position().z_um == pytest.approx(17.0, abs=3)
