"""Which fields are suggested next: with specimen, not seen yet, spread over the slide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.imaging.field_suggestions import ContentMap, suggest_fields

FIELD = (200.0, 160.0)


def content(specimen, cell_um=20.0):
    rows, columns = specimen.shape
    return ContentMap(
        PixelGrid(10.0, 10.0, cell_um, rows, columns), specimen.astype(np.float32), np.ones(specimen.shape, bool)
    )


def regions(places):
    return [RegionUm.centred(*place, *FIELD) for place in places]


def test_fields_lie_on_specimen_apart_from_each_other_and_from_what_is_taken():
    specimen = np.zeros((100, 100))
    specimen[10:90, 50:95] = 1  # x from 1000 to 1900, y from 200 to 1800
    taken = [RegionUm.centred(1200.0, 1000.0, *FIELD)]
    places = suggest_fields(content(specimen), taken, FIELD, 8)
    assert len(places) == 8
    chosen = regions(places)
    for number, one in enumerate(chosen):
        assert content(specimen).specimen[content(specimen).inside([one])].mean() > 0.25
        assert all(one.intersection(other) is None for other in (*taken, *chosen[:number]))
    # The first goes where most is new: far from what is taken.
    assert math.dist(places[0], (1200.0, 1000.0)) > 500


def test_nothing_is_suggested_on_glass_beyond_what_was_seen_or_on_a_slide_smaller_than_a_field():
    assert suggest_fields(content(np.zeros((50, 50))), [], FIELD, 5) == []
    half = content(np.ones((50, 50)))
    half.seen[:, 16:] = False
    places = suggest_fields(half, [], FIELD, 50)
    assert places
    assert all(x_um + FIELD[0] / 2 <= 16 * 20 - 20 for x_um, _ in places)
    assert suggest_fields(content(np.ones((5, 5))), [], FIELD, 1) == []


def test_suggestions_end_where_everything_is_taken():
    whole = content(np.ones((30, 36)))  # 720 x 600 µm, with a margin: nine fields
    places = suggest_fields(whole, [], FIELD, 50)
    assert 4 <= len(places) <= 9
    assert suggest_fields(whole, [RegionUm(0, 0, 720, 600)], FIELD, 5) == []


def test_the_share_of_the_specimen_that_is_covered():
    specimen = np.zeros((40, 40))
    specimen[:, 20:] = 1
    covered = content(specimen).covered_share([RegionUm(400, 0, 200, 800), RegionUm(0, 0, 200, 800)])
    assert covered == pytest.approx(0.5)
    assert content(np.zeros((4, 4))).covered_share([]) == 0
