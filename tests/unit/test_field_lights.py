"""Lights of a capture plan: what a file may say, and what is taken in which light, wherever it is broken off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from memory_sink import MemorySink

from mobilescope.acquire.capture import capture_fields
from mobilescope.core.config import load_model
from mobilescope.core.errors import CancelledError, ConfigError, DeviceError, PlanError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import LightState, PositionUm
from mobilescope.core.ring_protocol import PatternKind
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.illumination import Pattern
from mobilescope.plans.job import GridPlan

GRID = FieldGrid(1, 3, 100, 100, overlap=-0.1)


def lights(*given):
    return GridPlan(rows=1, columns=1, overlap=0, lights=given).lights


@pytest.fixture(scope="module")
def twin(make_twin):
    return make_twin({"slide": "blood"}, phone={"bayer_rows": 128, "bayer_columns": 128})


class PatternRing:
    """The twin's light with patterns, as a ring of twelve; notes what it shows."""

    def __init__(self, ring):
        self.ring, self.shown = ring, []

    def set_colour(self, red, green, blue, brightness=1.0):
        self.ring.set_colour(red, green, blue, brightness)
        self.shown.append((red, green, blue) if self.state().on else "dark")

    def show(self, pattern):
        self.shown.append(pattern)
        lit = 1 if pattern.kind == PatternKind.SINGLE else 6
        self.ring._state = LightState(True, *pattern.colour, 1.0, "pattern ring", "", "", lit / 12)

    def off(self):
        self.ring.off()

    def state(self):
        return self.ring.state()


@pytest.fixture
def patterned(twin, monkeypatch):
    ring = PatternRing(twin.phone.illuminator)
    monkeypatch.setattr(twin.phone, "_ring", ring)
    return ring


def test_names_stand_for_lights_and_positions_for_one_each():
    found = lights("channels", {"name": "led", "pattern": "single", "positions": [0, 6], "colour": "ff8000"}, "dark")
    assert [(light.name, light.pattern, light.position) for light in found] == [
        ("red", "channel", 0), ("green", "channel", 1), ("blue", "channel", 2), ("led-0", "single", 0),
        ("led-6", "single", 6), ("dark", "dark", 0),
    ]
    assert found[0].shown == (255, 0, 0)
    assert found[4].as_pattern() == Pattern.single(6, (255, 128, 0))
    assert [light.is_dark for light in found] == [False] * 5 + [True]


def test_brightness_scales_a_pattern_and_keeps_what_is_lit():
    half = {"name": "half", "pattern": "half-ring", "position": 3, "colour": [200, 1, 0], "brightness": 0.25}
    (light,) = lights(half)
    assert light.as_pattern() == Pattern.half_ring(3, (50, 1, 0))


@pytest.mark.parametrize(("written", "said"), [
    ('["red", "red"]', "two lights are called red"),
    ('["infrared"]', "no light 'infrared'"),
    ('[{ name = "x", pattern = "spiral" }]', "lights.0.pattern"),
    ('[{ name = "x", pattern = "channel", position = 3 }]', "position of a channel"),
    ('[{ name = "x", pattern = "dark", colour = "ff0000" }]', "in the dark"),
    ('[{ name = "x", colour = "000000" }]', "name the pattern dark"),
    ('[{ name = "X y" }]', "lights.0.name"),
    ('[{ name = "x", every = 0 }]', "lights.0.every"),
    ('[{ name = "x", brightness = 1.5 }]', "lights.0.brightness"),
    ('[{ name = "x", kelvin = 3000 }]', "lights.0.kelvin"),
    ('[{ pattern = "single", positions = [1] }]', "beside a name"),
    ('["channels", { name = "x", every = 0 }]', r"lights\.1\.every"),  # as written, not as lit
    ('["channels", "dark", { name = "x", pattern = "single", positions = [0, -1] }]', r"lights\.2\.position"),
    ('[{ name = "x", pattern = "single", positions = [0, 1] }, { name = "y", K = 3 }]', r"key '.*lights\.1\.K"),
    ('["channels", { name = "x", colour = "000000" }]', r"lights\.1: this colour is dark"),
])
def test_what_can_not_be_lit_is_refused_with_the_files_name_and_the_key(tmp_path, written, said):
    path = tmp_path / "plan.toml"
    path.write_text(f"rows = 1\ncolumns = 1\noverlap = 0\nlights = {written}\n")
    with pytest.raises(ConfigError, match=said) as failure:
        load_model(GridPlan, path)
    assert "plan.toml" in str(failure.value)


def test_a_plan_without_lights_is_written_as_ever():
    assert GridPlan(rows=1, columns=2, overlap=0).model_dump(mode="json") == {"rows": 1, "columns": 2, "overlap": 0}


def test_each_field_is_taken_in_white_and_in_each_light_and_each_shows_its_own(twin):
    sink, seen = MemorySink(), []
    capture_fields(twin.phone, sink, "slide", GRID, lights=lights("channels", "dark"), on_progress=seen.append)
    assert list(sink.captures) == [
        key for index in range(3)
        for key in (("slide", index), *(("slide", index, name) for name in ("red", "green", "blue", "dark")))
    ]
    levels = {key[2]: site_levels(sink.captures[key][2]) for key in sink.captures if key[1:2] == (1,) and len(key) == 3}
    assert [levels[name].argmax() for name in ("red", "green", "blue")] == [0, 1, 2]
    assert levels["dark"].max() < 0.005
    taken = sink.captures["slide", 1, "red"][2]
    assert (taken.light.red, taken.light.green, taken.light.on) == (255, 0, True)
    assert not sink.captures["slide", 2, "dark"][2].light.on
    assert not twin.phone.illuminator.state().on
    assert [(each.done, each.total) for each in seen] == [(count, 15) for count in range(1, 16)]


def site_levels(capture):
    """Return the mean of red, green and blue sites, from 0 at black to 1 at white."""
    planes = [capture.bayer[0::2, 0::2], capture.bayer[0::2, 1::2], capture.bayer[1::2, 1::2]]
    span = capture.white_level - capture.black_level
    return np.array([(float(plane.mean()) - capture.black_level) / span for plane in planes])


def test_oblique_light_is_shown_as_patterns_and_is_dimmer(twin, patterned):
    sink = MemorySink()
    single = {"name": "led", "pattern": "single", "positions": [0, 3]}
    oblique = lights(single, {"name": "half", "pattern": "half-ring"})
    capture_fields(twin.phone, sink, "slide", GRID, lights=oblique)
    white, led, half = (site_levels(sink.captures[key][2]).mean() for key in (
        ("slide", 0), ("slide", 0, "led-3"), ("slide", 0, "half"),
    ))
    assert led / white == pytest.approx(1 / 12, rel=0.3)
    assert half / white == pytest.approx(1 / 2, rel=0.2)
    # Each is tried once before the first picture is taken.
    assert patterned.shown[:4] == [(255, 255, 255), Pattern.single(0, (255,) * 3), Pattern.single(3, (255,) * 3),
                                   Pattern.half_ring(0, (255,) * 3)]


def test_a_light_can_be_taken_at_some_fields_only(twin):
    sink = MemorySink()
    (dark,) = lights({"name": "dark", "pattern": "dark", "every": 2})
    capture_fields(twin.phone, sink, "slide", GRID, lights=[dark])
    assert [key for key in sink.captures if len(key) == 3] == [("slide", 0, "dark"), ("slide", 2, "dark")]


def test_broken_off_anywhere_it_goes_on_with_what_is_missing(twin):
    both = lights("red", "dark")
    for stops_after in (1, 4):
        stop = StopToken()
        sink = MemorySink(lambda: len(sink.captures) == stops_after and stop.request())  # noqa: B023
        with pytest.raises(CancelledError):
            capture_fields(twin.phone, sink, "slide", FieldGrid(1, 2, 100, 100, overlap=0), lights=both, stop=stop)
        assert len(sink.captures) == stops_after
        assert not twin.phone.illuminator.state().on
        capture_fields(twin.phone, sink, "slide", FieldGrid(1, 2, 100, 100, overlap=0), lights=both)
        assert set(sink.captures) == {
            ("slide", index, *name) for index in (0, 1) for name in ((), ("red",), ("dark",))
        }


def test_lights_added_later_are_taken_beside_what_is_there(twin):
    sink = MemorySink()
    capture_fields(twin.phone, sink, "slide", GRID)
    capture_fields(twin.phone, sink, "slide", GRID, lights=lights("green"))
    assert len(sink.captures) == 6


def test_fields_that_other_commands_captured_are_known_by_their_place_and_get_their_lights(twin):
    """As after `ingest` (capture 0, of no field) and `pair` (the grid's last field, as capture 1)."""
    sink = MemorySink()
    capture_fields(twin.phone, sink, "slide", GRID)
    taken = list(sink.captures.values())
    elsewhere = replace(taken[2][2], nominal=PositionUm(31.0, -12.0, 0.0))
    sink.captures = {("slide", 0): (-2, 0, taken[0][2]), ("slide", 1): (*taken[2][:2], elsewhere)}
    capture_fields(twin.phone, sink, "slide", GRID, lights=lights("green"))
    stops = list(GRID)
    places = {key: (row, column) for key, (row, column, _) in sink.captures.items()}
    white = {key[1]: place for key, place in places.items() if len(key) == 2}
    assert sorted(white.values()) == sorted([(-2, 0), *((stop.row, stop.column) for stop in stops)])
    assert white[1] == (stops[2].row, stops[2].column)
    assert {key[1]: place for key, place in places.items() if len(key) == 3} == {
        number: place for number, place in white.items() if place != (-2, 0)
    }
    # A paired session sent the phone scope there by its link.
    assert sink.captures["slide", 1, "green"][2].nominal == PositionUm(31.0, -12.0, 0.0)


def test_a_light_without_patterns_is_told_before_the_first_picture(twin):
    sink = MemorySink()
    with pytest.raises(PlanError, match="light led is a single"):
        capture_fields(twin.phone, sink, "slide", GRID, lights=lights({"name": "led", "pattern": "single"}))
    assert not sink.captures
    assert not twin.phone.illuminator.state().on


def test_light_that_gets_into_a_dark_frame_is_refused(twin, monkeypatch):
    taken = twin.phone.capture

    def in_a_bright_room(x_um, y_um):
        capture = taken(x_um, y_um)
        return replace(capture, bayer=capture.bayer + np.uint16(40))

    monkeypatch.setattr(twin.phone, "capture", in_a_bright_room)
    sink = MemorySink()
    with pytest.raises(DeviceError, match="field 0 of slide 'slide' is not dark") as failure:
        capture_fields(twin.phone, sink, "slide", GRID, lights=lights("dark"))
    assert "cover" in failure.value.remedy
    assert list(sink.captures) == [("slide", 0)]


def test_a_light_that_does_not_go_off_is_no_darkness(twin, monkeypatch):
    ring = twin.phone.illuminator
    monkeypatch.setattr(ring, "off", lambda: None)
    monkeypatch.setattr(ring, "set_colour", lambda *_: setattr(ring, "_state", LightState(True, 9, 9, 9, 1.0, "stuck")))
    with pytest.raises(DeviceError, match="did not go off"):
        capture_fields(twin.phone, MemorySink(), "slide", GRID, lights=lights("dark"))


def test_a_picture_that_is_dark_though_the_light_says_it_is_on_is_refused(twin, monkeypatch):
    taken = twin.phone.capture

    def unplugged(x_um, y_um):
        capture = taken(x_um, y_um)
        return replace(capture, bayer=np.full_like(capture.bayer, capture.black_level))

    monkeypatch.setattr(twin.phone, "capture", unplugged)
    sink = MemorySink()
    with pytest.raises(DeviceError, match=r"is dark .* though the light reports"):
        capture_fields(twin.phone, sink, "slide", GRID)
    assert not sink.captures
