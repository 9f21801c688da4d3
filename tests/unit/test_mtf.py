"""Contrast of three bars: known patterns give their known contrast, and what is no pattern gives none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from usaf_contrast import gaussian_contrast

from mobilescope.imaging.mtf import Triplet, bar_profile, finest_resolved_um, profile_contrast

WIDTH = 10.0


def bars(width_px=WIDTH, *, dark=0.2, bright=0.9, blur_px=0.0, size=160, upright=True, shift_px=0.0):
    """Three bars in the middle of a bright picture, and where they stand."""
    fine = 20
    x = (np.arange(size * fine) + 0.5) / fine - 0.5 - (size - 1) / 2 - shift_px
    row = np.full(x.size, bright)
    for k in (-2, 0, 2):
        row[np.abs(x - k * width_px) < width_px / 2] = dark
    if blur_px:
        row = gaussian_filter1d(row, blur_px * fine, mode="nearest")
    profile = row.reshape(size, fine).mean(axis=1)
    plane = np.repeat(profile[None, :], size, axis=0)
    middle = (size - 1) / 2
    across = (0.0, 1.0) if upright else (1.0, 0.0)
    return (plane if upright else plane.T), Triplet((middle, middle), across, width_px, 5 * width_px)


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize(("dark", "bright"), [(0.2, 0.9), (0.0, 1.0), (0.45, 0.55)])
def test_wide_bars_have_the_contrast_of_their_light(dark, bright, upright):
    plane, triplet = bars(dark=dark, bright=bright, upright=upright)
    assert profile_contrast(bar_profile(plane, triplet)) == pytest.approx((bright - dark) / (bright + dark), abs=0.01)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.7])
def test_a_blur_leaves_the_contrast_that_optics_say(sigma):
    plane, triplet = bars(dark=0.0, bright=1.0, blur_px=sigma * WIDTH)
    assert profile_contrast(bar_profile(plane, triplet)) == pytest.approx(gaussian_contrast(1.0, sigma), abs=0.015)


def test_a_sine_has_the_contrast_of_its_amplitude():
    x = np.arange(160) - 79.5
    plane = np.repeat((0.5 - 0.15 * np.cos(np.pi * x / WIDTH))[None, :], 160, axis=0)
    triplet = Triplet((79.5, 79.5), (0.0, 1.0), WIDTH, 50)
    assert profile_contrast(bar_profile(plane, triplet)) == pytest.approx(0.3, abs=0.01)


def test_registration_may_miss_by_a_fifth_of_a_bar():
    plane, triplet = bars(blur_px=4, shift_px=0.2 * WIDTH)
    straight = profile_contrast(bar_profile(*bars(blur_px=4)))
    assert profile_contrast(bar_profile(plane, triplet)) == pytest.approx(straight, rel=0.05)


def test_bars_in_wrong_places_have_no_contrast():
    plane, triplet = bars(shift_px=WIDTH)
    assert profile_contrast(bar_profile(plane, triplet)) == 0
    bright_bars, triplet = bars(dark=0.9, bright=0.2)
    assert profile_contrast(bar_profile(bright_bars, triplet)) == 0
    slope = np.repeat(np.linspace(0.2, 0.8, 160)[None, :], 160, axis=0)
    assert profile_contrast(bar_profile(slope, triplet)) == 0
    assert profile_contrast(bar_profile(np.full((160, 160), 0.5), triplet)) == 0


def test_noise_is_seldom_taken_for_bars():
    generator = np.random.default_rng(0)
    _, triplet = bars(4.0)
    found = [profile_contrast(bar_profile(generator.uniform(0.4, 0.6, (160, 160)), triplet)) for _ in range(200)]
    assert np.mean(np.array(found) > 0) < 0.1
    assert max(found) < 0.1


def test_the_finest_bars_are_where_the_contrast_falls_below_a_tenth():
    widths = np.array([0.5, 1.0, 2.0, 4.0])
    assert finest_resolved_um(widths, np.array([0.0, 0.2, 0.5, 0.8])) == pytest.approx(2**-0.5)
    assert finest_resolved_um(widths, np.array([0.9, 0.05, 0.5, 0.8])) == pytest.approx(2 ** (1 - 0.4 / 0.45))
    assert finest_resolved_um(widths, np.array([0.3, 0.4, 0.5, 0.8])) == pytest.approx(0.5)
    assert np.isnan(finest_resolved_um(widths, np.array([0.3, 0.4, 0.5, 0.0])))
