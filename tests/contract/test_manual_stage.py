"""A stage that a person moves, on the twin: a person who overshoots, and pictures that tell where the view is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mobilescope.acquire.view_tracking import ViewTracker
from mobilescope.core.errors import ConfigError, DeviceError, LimitError
from mobilescope.core.protocols import BoundedStage, XYZStage
from mobilescope.core.stage_config import StageConfig
from mobilescope.devices.stages import ManualStage

LIMITS = {"x_limits_um": (-2000.0, 2000.0), "y_limits_um": (-2000.0, 2000.0), "z_limits_um": (-50.0, 50.0)}
CONFIG = StageConfig(kind="manual", camera="camera:0", camera_pixel_um=0.37, **LIMITS)
_WAY = re.compile(r"(\d+) µm (right|left|down|up)")
_DIRECTION = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


class Person:
    """Moves the slide as asked, a tenth too far and a little askew; what was asked is kept."""

    def __init__(self, stage, *, slips=()):
        self.asked = []
        self._stage, self._slips = stage, list(slips)
        self._rng = np.random.default_rng(0)
        self._last = (0.0, 0.0)

    def __call__(self, request):
        self.asked.append(request)
        at = self._stage.position()
        if request.startswith("go back"):
            self._stage.move_xy(*self._last)
            return
        if not request.startswith("move"):
            return
        self._last = (at.x_um, at.y_um)
        way = np.zeros(2)
        for length, word in _WAY.findall(request):
            way += float(length) * np.array(_DIRECTION[word])
        way = 1.1 * way + self._rng.normal(0, 2, 2)
        if self._slips:
            way *= self._slips.pop(0)
        self._stage.move_xy(at.x_um + way[0], at.y_um + way[1])


@pytest.fixture
def manual(make_twin):
    def make(specimen="h&e", **person):
        twin = make_twin({"slide": specimen})
        twin.benchtop.mount("slide")
        stage = twin.benchtop.stage
        someone = Person(stage, **person)
        tracker = ViewTracker(lambda: twin.benchtop.snap().pixels, twin.benchtop.pixel_size_um)
        return ManualStage(someone, tracker.moved_um, CONFIG, (512 * 0.37, 512 * 0.37)), someone, stage

    return make


def test_it_is_a_stage(manual):
    stage, _, _ = manual()
    assert isinstance(stage, XYZStage)
    assert isinstance(stage, BoundedStage)
    assert stage.xy_range_um() == ((-2000, 2000), (-2000, 2000))
    assert stage.z_range_um() == (-50, 50)
    assert "manual" in stage.describe()


def test_a_person_is_led_there_and_the_pictures_tell_where(manual):
    stage, person, truth = manual()
    for target in ((150.0, -80.0), (-200.0, 60.0), (-190.0, 60.0)):
        stage.move_xy(*target)
        at, true = stage.position(), truth.true_position()
        assert np.hypot(at.x_um - target[0], at.y_um - target[1]) <= 0.05 * 512 * 0.37
        # What it says is where the view is, though the person never went where they were told.
        assert np.hypot(at.x_um - true.x_um, at.y_um - true.y_um) < 4
    assert any(len(_WAY.findall(request)) == 2 for request in person.asked)
    longest = max(float(length) for request in person.asked for length, _ in _WAY.findall(request))
    assert longest <= 0.4 * 512 * 0.37 + 1


def test_a_view_that_was_lost_is_found_by_going_back(manual):
    stage, person, truth = manual(slips=[8.0])
    stage.move_xy(100.0, 0.0)
    assert [request for request in person.asked if request.startswith("go back")]
    assert abs(stage.position().x_um - truth.true_position().x_um) < 4


def test_where_nothing_can_be_seen_the_position_is_lost_and_said_so(manual):
    stage, person, _ = manual("blank")
    with pytest.raises(DeviceError, match=r"position is lost.*a place with structure"):
        stage.move_xy(100.0, 0.0)
    assert len(person.asked) < 12


def test_limits_hold_and_z_is_as_asked(manual):
    stage, person, _ = manual()
    outside = (lambda: stage.move_xy(2001.0, 0.0), lambda: stage.move_xy(0.0, float("nan")), lambda: stage.move_z(51))
    for move in outside:
        with pytest.raises(LimitError, match="outside"):
            move()
    assert person.asked == []
    stage.move_z(4.0)
    stage.move_z(1.5)
    assert person.asked == ["turn the focus up by 4.0 µm", "turn the focus down by 2.5 µm"]
    assert stage.position().z_um == 1.5


def test_limits_must_be_given():
    config = CONFIG.model_copy(update={"y_limits_um": None})
    with pytest.raises(ConfigError, match="y_limits_um"):
        ManualStage(lambda _: None, lambda: (0.0, 0.0), config, (100, 100))
