"""Who decides about refused fields, a person or nobody; and the phone scope focused with its own pictures."""

from __future__ import annotations

import io

import pytest
from pair_bench import small_twin

from mobilescope.acquire.pairing import Choice
from mobilescope.acquire.phone_focus import PhoneFocus
from mobilescope.app.paired_sessions.pair_operator import Person, StandIn, ask_for_points
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.errors import UserError


@pytest.fixture
def typed(monkeypatch):
    """Type lines at the terminal."""

    def give(*lines):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return give


def test_nobody_keeps_what_was_refused():
    assert StandIn().choose("field 1", "blurred", "focus") is Choice.KEEP


def test_an_end_of_the_input_is_told(typed):
    typed()
    with pytest.raises(UserError, match="nobody answered"):
        Person().choose("field 1", "blurred", "focus")


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
    record = PhoneFocus(twin.phone, stage, develop_fresh).focus((5.0, -4.0))
    assert record.verdict == "focused"
    assert (stage.position().x_um, stage.position().y_um) == (5.0, -4.0)
    assert stage.position().z_um == pytest.approx(17.0, abs=3)
