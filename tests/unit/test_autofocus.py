"""Autofocus ends within a third of the depth of field of the true surface, or says why it did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mobilescope.acquire.autofocus import autofocus
from mobilescope.imaging.focus import normalised_variance, tenengrad

# λ/NA² + pixel/NA for 0.55 µm light, 0.75 NA and 0.37 µm pixels is 1.47 µm.
TOLERANCE_UM = 0.49
PLACES = ((0.0, 0.0), (350.0, -420.0), (-800.0, 260.0))
EXACT = {"backlash_um": 0, "repeatability_um": 0, "z_repeatability_um": 0}


def focus_error(twin, slide, place, start_error_um, **options):
    """Search from a start that is wrong by a given amount; return the distance from the true surface and the record."""
    twin.focus_on(slide, *place)
    at = twin.benchtop.stage.true_position()
    true_um = twin.surface_um(slide, at.x_um, at.y_um)
    start_um = true_um + start_error_um
    twin.benchtop.stage.move_z(start_um)
    record = autofocus(twin.benchtop, centre_z_um=start_um, **({"half_range_um": 20.0} | options))
    return record.z_um - true_um, record


@pytest.mark.parametrize("specimen", ["blood", "h&e"])
@pytest.mark.parametrize(
    ("seed", "place", "start_error_um"), [(1, PLACES[0], -15.0), (2, PLACES[1], 15.0), (3, PLACES[2], 4.3)]
)
def test_it_finds_the_surface(make_twin, specimen, seed, place, start_error_um):
    twin = make_twin({"slide": specimen}, seed=seed, specimen_seed=seed)
    error_um, record = focus_error(twin, "slide", place, start_error_um)
    assert record.verdict == "focused"
    assert abs(error_um) < TOLERANCE_UM
    assert twin.benchtop.stage.position().z_um == record.z_um


@pytest.mark.parametrize("measure", [normalised_variance, tenengrad])
def test_other_measures_find_it_too(make_twin, measure):
    twin = make_twin({"slide": "blood"})
    error_um, record = focus_error(twin, "slide", PLACES[0], 2.0, half_range_um=6.0, measure=measure)
    assert record.verdict == "focused"
    assert abs(error_um) < TOLERANCE_UM


def test_a_narrow_search_is_as_good_and_cheaper(make_twin):
    twin = make_twin({"slide": "blood"})
    wide_error, wide = focus_error(twin, "slide", PLACES[1], 1.5)
    narrow_error, narrow = focus_error(twin, "slide", PLACES[1], 1.5, half_range_um=4.0)
    assert max(abs(wide_error), abs(narrow_error)) < TOLERANCE_UM
    assert narrow.images_taken < wide.images_taken


def test_the_record_tells_what_the_search_cost_and_saw(make_twin):
    twin = make_twin({"slide": "blood"})
    before = len(twin.truth.tiles)
    _, record = focus_error(twin, "slide", PLACES[0], 6.0)
    assert record.images_taken == len(twin.truth.tiles) - before == len(record.curve_z_um) == len(record.curve_score)
    assert record.images_taken <= 15
    assert record.score == max(record.curve_score)
    assert record.seconds > 0
    best = record.curve_z_um[int(np.argmax(record.curve_score))]
    assert abs(record.z_um - best) <= 1.0


def test_the_search_takes_small_pictures(make_twin):
    twin = make_twin({"slide": "blood"})
    focus_error(twin, "slide", PLACES[0], 0.0)
    assert not any(tile.whole for tile in twin.truth.tiles)


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_surface_beyond_the_range_is_told(make_twin, direction):
    twin = make_twin({"slide": "blood"}, frame_px=256)
    _, record = focus_error(twin, "slide", PLACES[0], direction * 9.0, half_range_um=6.0)
    assert record.verdict == "range_edge"
    # It goes back to where the search began.
    assert record.z_um == twin.benchtop.stage.position().z_um
    assert record.z_um == pytest.approx(np.mean([min(record.curve_z_um), max(record.curve_z_um)]))


def test_a_blank_slide_is_told(make_twin):
    twin = make_twin()
    twin.benchtop.stage.move_z(2.0)
    for half_range in (20.0, 4.0):
        record = autofocus(twin.benchtop, centre_z_um=2.0, half_range_um=half_range)
        assert record.verdict == "blank"
        assert record.z_um == twin.benchtop.stage.position().z_um == 2.0


@pytest.mark.parametrize("start_error_um", [-15.0, 25.0])
def test_it_never_leaves_its_range(make_twin, start_error_um):
    twin = make_twin({"slide": "blood"}, stage=EXACT, frame_px=128)
    twin.focus_on("slide", 0.0, 0.0)
    start = twin.stage.position().z_um + start_error_um
    twin.stage.z_visited.clear()
    autofocus(twin.benchtop, centre_z_um=start, half_range_um=20.0)
    assert start - 20.001 <= min(twin.stage.z_visited) <= max(twin.stage.z_visited) <= start + 20.001


def test_the_stages_own_limits_cut_the_search(make_twin, software_stage):
    device = software_stage(z_limits_um=(-10.0, 8.0))
    twin = make_twin({"slide": "blood"}, device=device, stage=EXACT)
    twin.benchtop.mount("slide")
    record = autofocus(twin.benchtop, centre_z_um=0.0, half_range_um=20.0)
    assert (min(device.z_visited), max(device.z_visited)) == (-10, 8)
    assert record.verdict == "focused"
    assert abs(record.z_um - twin.surface_um("slide", 0.0, 0.0)) < TOLERANCE_UM


def test_the_same_seed_finds_the_same_focus(make_twin):
    records = []
    for _ in range(2):
        twin = make_twin({"slide": "blood"}, seed=5)
        records.append(focus_error(twin, "slide", PLACES[1], 1.0, half_range_um=4.0)[1])
    assert replace(records[0], seconds=0.0) == replace(records[1], seconds=0.0)
