"""A focus surface predicts a warped slide from few points, some of them wrong, and knows how far to trust itself."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.imaging.focus_surface import FocusSurface, choose_points, fit_surface, next_point

AXIS = np.linspace(0, 15_000, 16)
PLACES = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
WRONG = [3, 11]


def height_um(places):
    x, y = places[..., 0], places[..., 1]
    return 120 + 0.004 * x - 0.001 * y + 2.5 * np.sin(x / 4000) * np.cos(y / 5000)


def points_with_noise(count=25, wrong=(), seed=1):
    rng = np.random.default_rng(seed)
    places = PLACES[choose_points(PLACES, count)]
    z_um = height_um(places) + rng.normal(0, 0.15, count)
    z_um[list(wrong)] += 9.0
    return np.column_stack([places, z_um])


def test_a_warped_slide_is_predicted_although_points_are_wrong():
    surface = fit_surface(points_with_noise(wrong=WRONG))
    assert surface.outliers.tolist() == WRONG
    assert surface.kind == "gaussian process"
    z_um, sigma_um = surface.predict(*PLACES.T)
    error_um = np.abs(z_um - height_um(PLACES))
    assert np.mean(error_um < 0.49) > 0.95
    assert np.mean(error_um < 2 * sigma_um) > 0.85
    assert np.median(sigma_um) < 0.3
    assert 0.1 < surface.cross_validated_um < 0.6


def test_a_flat_slide_is_a_plane_and_nothing_is_left_out():
    rng = np.random.default_rng(0)
    places = PLACES[choose_points(PLACES, 25)]
    surface = fit_surface(np.column_stack([places, 0.003 * places[:, 0] + rng.normal(0, 0.15, 25)]))
    assert surface.kind == "plane"
    assert not surface.outliers.size
    assert np.abs(surface.predict(*PLACES.T)[0] - 0.003 * PLACES[:, 0]).max() < 0.2


def test_far_from_the_points_it_trusts_itself_less_and_the_next_point_goes_there():
    points = points_with_noise()
    near = points[points[:, 0] < 8000]
    surface = fit_surface(near)
    assert surface.predict(14_000, 7000)[1] > 2 * surface.predict(4000, 7000)[1]
    assert PLACES[next_point(surface, PLACES)][0] > 12_000


def test_a_surface_survives_being_written():
    surface = fit_surface(points_with_noise(wrong=WRONG))
    again = FocusSurface.from_json(surface.to_json())
    assert again.outliers.tolist() == WRONG
    assert again.cross_validated_um == surface.cross_validated_um
    np.testing.assert_array_equal(again.predict(*PLACES.T), surface.predict(*PLACES.T))


def test_scalars_and_few_points_do():
    z_um, sigma_um = fit_surface([[0.0, 0.0, 7.0]]).predict(0.0, 0.0)
    assert float(z_um) == pytest.approx(7.0)
    assert np.ndim(z_um) == np.ndim(sigma_um) == 0


def test_many_points_are_fitted_and_their_wrong_ones_found():
    points = points_with_noise(count=200, wrong=[5, 150])
    surface = fit_surface(points)
    assert {5, 150} <= set(surface.outliers.tolist())
    assert surface.outliers.size < 6
    assert np.mean(np.abs(surface.predict(*PLACES.T)[0] - height_um(PLACES)) < 0.3) > 0.95


@pytest.mark.parametrize("points", [[], [[1.0, 2.0]]])
def test_points_that_are_none_are_refused(points):
    with pytest.raises(ValueError, match="x, y and z"):
        fit_surface(points)


@pytest.mark.parametrize("family", ["plane", "quadratic", "thin plates", "gaussian process"])
def test_each_family_leaves_wrong_points_out_and_knows_how_far_to_trust_it(family):
    rng = np.random.default_rng(7)
    places = rng.uniform(-7000, 7000, (40, 2))
    bend = {"plane": 0.0, "quadratic": 8e-8}.get(family, 4e-8)

    def height(x, y):
        return 0.003 * x - 0.001 * y + bend * (x**2 - 0.5 * x * y)

    z = height(*places.T) + rng.normal(0, 0.15, 40)
    z[[3, 17, 30]] += [9, -12, 7]
    surface = fit_surface(np.column_stack([places, z]), family=family)
    assert set(surface.outliers) == {3, 17, 30}
    x, y = rng.uniform(-6000, 6000, (2, 200))
    predicted, sigma = surface.predict(x, y)
    error = np.abs(predicted - height(x, y))
    assert np.percentile(error, 95) < 0.4
    assert np.mean(error <= 2 * sigma) > 0.85
    again = FocusSurface.from_json(surface.to_json())
    assert again.kind == surface.kind == family if bend else again.kind == "plane"
    np.testing.assert_allclose(again.predict(x, y), (predicted, sigma))


def test_a_plane_does_not_bend_and_says_what_it_does_not_know():
    places = np.stack(np.meshgrid(*2 * [np.linspace(-5000, 5000, 6)]), axis=-1).reshape(-1, 2)
    z = 2e-7 * (places**2).sum(axis=1)
    surface = fit_surface(np.column_stack([places, z]), family="plane")
    assert surface.kind == "plane"
    assert surface.cross_validated_um > 1
