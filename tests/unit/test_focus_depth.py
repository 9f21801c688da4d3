"""The depth of field of known curves, and distances between known colours."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.imaging.focus_depth import focus_depth
from mobilescope.imaging.standardisation import colour_distance, mean_lab

Z_UM = np.arange(-10.0, 11.0)


def test_the_depth_is_where_the_curve_stays_above_a_share_of_its_peak():
    depth = focus_depth(Z_UM, 0.8 - 0.02 * np.abs(Z_UM - 1))
    # 0.9 of 0.8 is reached 4 µm from the peak on either side.
    assert (depth.low_um, depth.high_um, depth.peak, depth.whole) == (pytest.approx(-3), pytest.approx(5), 0.8, True)
    assert depth.depth_um == pytest.approx(8)


def test_another_level_can_be_asked_for():
    scores = 0.8 - 0.02 * np.abs(Z_UM - 1)
    assert focus_depth(Z_UM, scores, least=0.76).depth_um == pytest.approx(4)
    assert focus_depth(Z_UM, scores, least=0.81).depth_um == 0


def test_an_end_between_two_steps_is_interpolated():
    scores = np.where(np.abs(Z_UM) <= 2, 1.0, 0.5)
    depth = focus_depth(Z_UM, scores)
    assert (depth.low_um, depth.high_um) == (pytest.approx(-2.2), pytest.approx(2.2))


def test_a_second_hill_beyond_a_valley_does_not_count():
    scores = np.where(np.abs(Z_UM) <= 2, 1.0, 0.5)
    scores[-3:] = 0.99
    assert focus_depth(Z_UM, scores).high_um == pytest.approx(2.2)


def test_a_range_cut_off_by_the_stack_says_so():
    depth = focus_depth(Z_UM, 1 - 0.001 * np.abs(Z_UM - 9))
    assert not depth.whole
    assert (depth.low_um, depth.high_um) == (-10, 10)


def test_a_curve_needs_order_and_length():
    for z, scores in ((Z_UM[::-1], Z_UM), (Z_UM[:2], Z_UM[:2]), (Z_UM, Z_UM[:-1])):
        with pytest.raises(ValueError, match="growing"):
            focus_depth(z, scores)


def test_mean_colours_are_those_of_the_standard():
    assert mean_lab(np.ones((4, 5, 3))) == pytest.approx((100, 0, 0), abs=0.02)
    assert mean_lab(np.full((4, 5, 3), (1.0, 0.0, 0.0))) == pytest.approx((53.24, 80.09, 67.20), abs=0.05)


def test_offset_and_spread_are_told_apart():
    second = np.random.default_rng(0).uniform(20, 80, (6, 3))
    moved = second + np.array([3, -4, 0])
    assert colour_distance(moved, second).offset == pytest.approx(5)
    assert colour_distance(moved, second).spread == pytest.approx(0)
    wandering = second + np.array([[2, 0, 0], [-2, 0, 0]] * 3)
    distance = colour_distance(wandering, second)
    assert (distance.offset, distance.spread) == (pytest.approx(0), pytest.approx(2))
    with pytest.raises(ValueError, match="at least one"):
        colour_distance(np.empty((0, 3)), np.empty((0, 3)))
