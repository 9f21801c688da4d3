"""A person who brings fields under the phone is asked once for each, with the way from the last one."""

from __future__ import annotations

import pytest

from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.moving import PersonMover


@pytest.fixture
def heard():
    return []


@pytest.mark.parametrize("releases", [False, True])
def test_a_field_is_asked_for_once_and_again_on_another_slide(heard, releases):
    mover = PersonMover(lambda text, _stop: heard.append(text), heard.append, releases=releases)

    def go(x_um, y_um):
        heard.clear()
        position, _ = mover.go(x_um, y_um, StopToken(), lambda: heard.append("ready"))
        assert (position.x_um, position.y_um) == (x_um, y_um)
        return [text for text in heard if text != "ready"]

    assert "x = 0, y = 0" in go(0.0, 0.0)[0]
    (second,) = go(50.0, -20.0)
    assert "(50 µm right and 20 µm up of the last)" in second
    assert heard.index("ready") == (0 if releases else 1)
    # Another light on the same field.
    assert go(50.0, -20.0) == (["Take another picture of the same field (Ctrl-C ends)."] if releases else [])
    assert "ready" in heard
    mover.forget()
    assert "of the last" not in go(50.0, -20.0)[0]
