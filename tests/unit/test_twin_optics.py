"""The twin's blur, vignette and noise have the sizes that their formulas promise."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.twin.optics import (
    blur,
    blur_varying,
    defocus_sigma_um,
    diffraction_sigma_um,
    photon_noise,
    vignette,
)


def spread_px(spot):
    """Return the standard deviation along each axis of a spot, (rows, columns)."""
    weights = spot / spot.sum()
    found = []
    for axis in (0, 1):
        profile = weights.sum(axis=1 - axis)
        place = np.arange(profile.size)
        found.append(np.sqrt(np.sum(profile * place**2) - np.sum(profile * place) ** 2))
    return found


def point(size=81):
    plane = np.zeros((size, size), np.float32)
    plane[size // 2, size // 2] = 1
    return plane


def test_diffraction_blur_grows_with_wavelength_and_falls_with_aperture():
    assert diffraction_sigma_um(0.55, 0.75) == pytest.approx(0.154)
    assert diffraction_sigma_um(0.62, 0.75) > diffraction_sigma_um(0.46, 0.75)
    assert diffraction_sigma_um(0.55, 0.3) == pytest.approx(2.5 * diffraction_sigma_um(0.55, 0.75))


def test_defocus_blur_is_the_cone_of_light():
    # NA 0.6 in air opens to tan = 0.75; a uniform disc of radius r spreads by r / 2 along each axis.
    assert defocus_sigma_um(4.0, 0.6) == pytest.approx(1.5)
    assert defocus_sigma_um(-4.0, 0.6) == defocus_sigma_um(4.0, 0.6)
    assert defocus_sigma_um(0.0, 0.6) == 0
    assert defocus_sigma_um(4.0, 0.2) < defocus_sigma_um(4.0, 0.75)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 4.0])
def test_a_point_is_spread_by_sigma_and_keeps_its_light(sigma):
    spot = blur(point(), sigma)
    assert spread_px(spot) == pytest.approx([sigma, sigma], rel=0.01)
    assert spot.sum() == pytest.approx(1, rel=1e-4)


def test_no_blur_leaves_the_plane():
    np.testing.assert_array_equal(blur(point(), 0.0), point())


def test_a_varying_blur_of_one_size_is_the_plain_blur():
    plane = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    np.testing.assert_allclose(blur_varying(plane, np.full((9, 9), 1.3)), blur(plane, 1.3), atol=1e-6)


def test_a_varying_blur_follows_its_map():
    plane = np.zeros((61, 241), np.float32)
    plane[30, [30, 120, 210]] = 1
    spots = blur_varying(plane, np.tile(np.linspace(1, 3, 9), (9, 1)))
    left, middle, right = (np.mean(spread_px(spots[:, at - 28 : at + 29])) for at in (30, 120, 210))
    assert 1.0 < left < 1.6
    assert middle == pytest.approx(2.0, abs=0.15)
    assert 2.3 < right < 3.0
    assert spots.sum() == pytest.approx(3, rel=0.02)


def test_a_vignette_is_one_in_the_middle_and_darkest_in_the_corners():
    shade = vignette(101, 151, 0.22)
    assert shade[50, 75] == shade.max() == pytest.approx(1)
    np.testing.assert_allclose([shade[0, 0], shade[0, -1], shade[-1, 0], shade[-1, -1]], 0.78, rtol=1e-6)
    np.testing.assert_allclose(shade, shade[::-1, ::-1], rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.8])
def test_noise_has_the_variance_of_counted_photons(level):
    signal = np.full((300, 300), level, np.float32)
    noisy = photon_noise(signal, np.random.default_rng(1), full_well_electrons=3500, read_noise_electrons=4)
    electrons = (noisy - level) * 3500
    assert electrons.mean() == pytest.approx(0, abs=4 * np.sqrt(level * 3500 + 16) / 300)
    assert electrons.var() == pytest.approx(level * 3500 + 16, rel=0.03)


def test_noise_repeats_with_its_seed():
    signal = np.full((20, 20), 0.5, np.float32)
    first, again, other = (
        photon_noise(signal, np.random.default_rng(seed), full_well_electrons=1e4, read_noise_electrons=2)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
