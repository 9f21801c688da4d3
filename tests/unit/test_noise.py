"""The noise estimate finds the noise that was added, white or smeared by an enlargement, and no specimen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.noise import flat_mask, noise_sigma

PIXEL_UM = 0.37


def slide(seed=0, size=500):
    """Clear glass with shading, and cells with sharp edges over 60 % of it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    picture = 0.85 + 0.03 * np.cos(x / 200) - 0.02 * y / size
    for row, column in generator.uniform(0, size, (60, 2)):
        picture[np.hypot(y - row, x - column) < 15] = 0.4
    return picture


@pytest.mark.parametrize("sigma", [0.003, 0.02, 0.06])
def test_added_white_noise_is_found(sigma):
    clean = slide()
    noisy = clean + np.random.default_rng(1).normal(0, sigma, clean.shape)
    flat = flat_mask(clean + np.random.default_rng(2).normal(0, 0.003, clean.shape), PIXEL_UM)
    assert noise_sigma(noisy, flat, PIXEL_UM) == pytest.approx(sigma, rel=0.1)
    assert noise_sigma(clean, flat, PIXEL_UM) < 0.002


def test_noise_smeared_by_an_enlargement_is_counted_whole():
    noise = np.random.default_rng(3).normal(0, 0.03, (200, 200)).astype(np.float32)
    enlarged = cv2.resize(noise, (500, 500), interpolation=cv2.INTER_CUBIC)
    flat = flat_mask(slide(), PIXEL_UM)
    assert noise_sigma(0.8 + enlarged, flat, PIXEL_UM) == pytest.approx(enlarged.std(), rel=0.1)


def test_bytes_hide_no_noise():
    clean = np.full((300, 300), 0.8)
    noisy = np.round(255 * (clean + np.random.default_rng(4).normal(0, 1 / 255, clean.shape))) / 255
    flat = flat_mask(clean, PIXEL_UM)
    # Rounding adds a twelfth of a count squared.
    assert noise_sigma(noisy, flat, PIXEL_UM) == pytest.approx(np.sqrt(1 + 1 / 12) / 255, rel=0.05)


def test_the_flat_part_is_bare_glass():
    picture = slide()
    flat = flat_mask(picture, PIXEL_UM)
    assert flat.sum() >= 0.015 * flat.size
    assert picture[flat].min() > 0.75


def test_a_picture_that_is_flat_nowhere_has_no_figure():
    y, x = np.mgrid[:300, :300]
    busy = 0.5 + 0.3 * np.sin(x / 2) * np.sin(y / 2)
    flat = flat_mask(busy, PIXEL_UM)
    assert not flat.any()
    assert np.isnan(noise_sigma(busy, flat, PIXEL_UM))
    with pytest.raises(InputImageError, match="one grid"):
        noise_sigma(busy[1:], flat, PIXEL_UM)
