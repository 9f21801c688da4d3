"""Regions, pixel grids and affine maps share one frame: x to the right, y down, centres at whole pixels."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.geometry import Affine, PixelGrid, RegionUm


def test_a_region_knows_its_edges_and_centre():
    region = RegionUm(10, -20, 30, 8)
    assert (region.right_um, region.bottom_um, region.centre_um) == (40, -12, (25, -16))
    assert RegionUm.centred(25, -16, 30, 8) == region
    assert region.grown(2) == RegionUm(8, -22, 34, 12)
    assert region.grown(2).grown(-2) == region


@pytest.mark.parametrize(
    ("other", "common"),
    [
        (RegionUm(5, 5, 10, 10), RegionUm(5, 5, 5, 5)),
        (RegionUm(2, 3, 4, 5), RegionUm(2, 3, 4, 5)),
        (RegionUm(-5, 4, 100, 2), RegionUm(0, 4, 10, 2)),
        (RegionUm(10, 0, 5, 5), None),
        (RegionUm(0, 11, 5, 5), None),
    ],
    ids=["corner", "inside", "across", "touching", "apart"],
)
def test_the_common_part_of_two_regions(other, common):
    region = RegionUm(0, 0, 10, 10)
    assert region.intersection(other) == common
    assert other.intersection(region) == common


def test_a_region_contains_itself_and_what_lies_within():
    region = RegionUm(0, 0, 10, 10)
    assert region.contains(region)
    assert region.contains(RegionUm(1, 1, 8, 9))
    assert not region.contains(RegionUm(1, 1, 9.5, 2))
    assert not region.contains(region.grown(0.1))


def test_a_grid_over_a_region_covers_it_edge_to_edge():
    region = RegionUm(3, -4, 37, 18.5)
    grid = PixelGrid.over(region, 0.37)
    assert (grid.rows, grid.columns) == (50, 100)
    assert (grid.x_um, grid.y_um) == pytest.approx((3.185, -3.815))
    for name in ("x_um", "y_um", "width_um", "height_um"):
        assert getattr(grid.region, name) == pytest.approx(getattr(region, name))


def test_coordinates_agree_with_the_map_from_pixels():
    grid = PixelGrid(100.0, -50.0, 0.5, 4, 6)
    to_um = grid.pixel_to_um()
    np.testing.assert_allclose(to_um.apply([0, 0]), [100, -50])
    corner = [grid.x_coordinates_um()[5], grid.y_coordinates_um()[3]]
    np.testing.assert_allclose(to_um.apply([5, 3]), corner)
    np.testing.assert_allclose(corner, [102.5, -48.5])


def test_rotation_turns_x_towards_y():
    quarter = Affine.similarity(2.0, 90.0, 10.0, 20.0)
    np.testing.assert_allclose(quarter.apply([[1, 0], [0, 1]]), [[10, 22], [8, 20]], atol=1e-12)


def test_maps_compose_from_right_to_left_and_invert():
    turn, shift = Affine.similarity(1.5, 30.0), Affine.similarity(1.0, 0.0, 5.0, -3.0)
    points = np.random.default_rng(0).normal(0, 100, (4, 7, 2))
    np.testing.assert_allclose(turn.after(shift).apply(points), turn.apply(shift.apply(points)))
    back = turn.after(shift).inverse().after(turn.after(shift))
    np.testing.assert_allclose(back.matrix, Affine.identity().matrix, atol=1e-12)


def test_a_map_survives_as_lists():
    affine = Affine.similarity(0.37, 12.0, 1.0, 2.0)
    np.testing.assert_array_equal(Affine(np.array(affine.to_list())).matrix, affine.matrix)


@pytest.mark.parametrize("matrix", [np.eye(2), np.eye(3), np.full((2, 3), np.nan), [[1, 0, np.inf], [0, 1, 0]]])
def test_anything_but_a_finite_2x3_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match="2x3"):
        Affine(matrix)


def test_a_flat_map_has_no_inverse():
    with pytest.raises(np.linalg.LinAlgError):
        Affine(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])).inverse()
