"""A grid is walked in a serpentine, covers its region, and numbers each field once."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.geometry import RegionUm
from mobilescope.plans.grids import FieldGrid


def test_rows_are_walked_alternately():
    grid = FieldGrid(3, 3, 100, 50, overlap=0.0)
    assert [(p.row, p.column) for p in grid] == [
        (0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2),
    ]
    assert [p.index for p in grid] == list(range(9))
    straight = FieldGrid(2, 3, 100, 50, serpentine=False)
    assert [p.column for p in straight] == [0, 1, 2, 0, 1, 2]


def test_a_row_and_column_have_their_place_whichever_way_the_row_is_walked():
    walks = [
        {(p.row, p.column): (p.x_um, p.y_um) for p in FieldGrid(4, 5, 80, 60, serpentine=serpentine)}
        for serpentine in (True, False)
    ]
    assert walks[0] == walks[1]


def test_each_step_of_a_serpentine_goes_to_a_neighbour():
    grid = FieldGrid(5, 4, 100, 100, overlap=0.1)
    places = np.array([(p.x_um, p.y_um) for p in grid])
    np.testing.assert_allclose(np.abs(np.diff(places, axis=0)).sum(axis=1), 90)


def test_neighbours_share_the_overlap():
    grid = FieldGrid(2, 2, 200, 100, centre_x_um=7, centre_y_um=-9, overlap=0.1)
    x, y = (sorted({getattr(p, name) for p in grid}) for name in ("x_um", "y_um"))
    np.testing.assert_allclose(np.diff(x), 180)
    np.testing.assert_allclose(np.diff(y), 90)
    np.testing.assert_allclose([np.mean(x), np.mean(y)], [7, -9])
    assert grid.pitch_um == pytest.approx((180, 90))


def test_a_negative_overlap_leaves_a_gap():
    x = sorted({p.x_um for p in FieldGrid(1, 2, 100, 100, overlap=-0.5)})
    assert x == pytest.approx([-75, 75])


@pytest.mark.parametrize(("rows", "columns", "overlap"), [(1, 1, 0.1), (2, 3, 0.1), (5, 4, -0.3), (3, 3, 0.5)])
def test_the_region_is_what_the_fields_cover(rows, columns, overlap):
    grid = FieldGrid(rows, columns, 120, 90, 30, -40, overlap=overlap)
    fields = [RegionUm.centred(p.x_um, p.y_um, 120, 90) for p in grid]
    assert len(grid) == len(fields) == rows * columns
    region = grid.region
    assert region.x_um == pytest.approx(min(f.x_um for f in fields))
    assert region.y_um == pytest.approx(min(f.y_um for f in fields))
    assert region.right_um == pytest.approx(max(f.right_um for f in fields))
    assert region.bottom_um == pytest.approx(max(f.bottom_um for f in fields))


def test_a_grid_can_be_walked_again():
    grid = FieldGrid(2, 2, 10, 10)
    assert list(grid) == list(grid)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (-1, 1)])
def test_a_grid_without_fields_is_refused(shape):
    with pytest.raises(ValueError, match="at least one row"):
        FieldGrid(*shape, 10, 10)


@pytest.mark.parametrize("overlap", [1.0, 1.5, float("nan")])
def test_an_overlap_that_would_not_advance_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        FieldGrid(2, 2, 10, 10, overlap=overlap)
