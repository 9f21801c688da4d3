"""Image quality against definitions written out here: Wang 2004's index, the signal-to-noise ratio, fine detail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from mobilescope.imaging.colour import cie94
from mobilescope.imaging.metrics import (
    bootstrap_interval,
    detail_correlation,
    psnr_db,
    score_image,
    ssim,
)


def wang_2004(x, y):
    """The index of Wang, Bovik, Sheikh & Simoncelli (2004), eq. 13-16: 11×11 Gaussian, σ 1.5, L = 1, whole windows."""
    place = np.arange(-5, 6)
    gaussian = np.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / (2 * 1.5**2))
    gaussian /= gaussian.sum()

    def mean(image):
        return fftconvolve(image, gaussian, mode="valid")

    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    index = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(index / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))))


def scene(seed=0, shape=(64, 80)):
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 0.5 + 0.3 * np.sin(x / 5) * np.cos(y / 7) + 0.05 * generator.standard_normal(shape)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_ssim_is_wang_2004s(noise):
    first = scene()
    second = np.clip(0.8 * first + 0.1 + noise * np.random.default_rng(9).standard_normal(first.shape), 0, 1)
    assert ssim(first, second) == pytest.approx(wang_2004(first, second), abs=1e-6)
    single = ssim(first.astype(np.float32), second.astype(np.float32))
    assert single == pytest.approx(wang_2004(first, second), abs=1e-4)


def test_ssim_of_two_flat_pictures_is_known():
    # Without structure only the luminance term is left: (2ab + C1) / (a² + b² + C1).
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(np.full((20, 20), 0.25), np.full((20, 20), 0.75)) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_a_picture_with_itself_and_its_negative():
    picture = scene()
    assert ssim(picture, picture) == pytest.approx(1)
    assert ssim(picture, 1 - picture) < 0


def test_psnr_of_a_known_error():
    label = scene()
    assert psnr_db(label + 0.1, label) == pytest.approx(20)
    assert psnr_db(label - 0.01, label) == pytest.approx(40)
    assert psnr_db(label, label) == float("inf")


def grating(period_um, pixel_um=0.37, size=128, phase=0.0):
    return 0.5 + 0.25 * np.sin(2 * np.pi * np.arange(size) * pixel_um / period_um + phase)[None, :] * np.ones((size, 1))


def test_detail_counts_only_what_is_finer_than_the_cut_off():
    label = grating(1.2) + grating(8.0)
    assert detail_correlation(label, label, 0.37, 1.74) == pytest.approx(1)
    assert detail_correlation(grating(1.2), label, 0.37, 1.74) == pytest.approx(1, abs=0.01)
    assert abs(detail_correlation(grating(8.0), label, 0.37, 1.74)) < 0.02


def test_wrong_detail_gains_nothing():
    label = grating(1.2)
    assert detail_correlation(grating(1.2, phase=np.pi), label, 0.37, 1.74) == pytest.approx(-1, abs=0.01)
    assert abs(detail_correlation(grating(1.2, phase=np.pi / 2), label, 0.37, 1.74)) < 0.05
    noise = np.random.default_rng(3).standard_normal(label.shape)
    assert abs(detail_correlation(noise, label, 0.37, 1.74)) < 0.1


def test_a_flat_picture_has_no_detail():
    assert detail_correlation(np.full((32, 32), 0.5), grating(1.2, size=32), 0.37, 1.74) == 0


def test_a_score_gathers_all_figures_with_the_label_as_reference():
    generator = np.random.default_rng(5)
    label = np.stack([scene(seed) for seed in range(3)], axis=-1).clip(0, 1).astype(np.float32)
    image = (label + 0.05 * generator.standard_normal(label.shape)).clip(0, 1).astype(np.float32)
    scores = score_image(image, label, 0.37, 1.74)
    weights = np.array([0.299, 0.587, 0.114])
    assert scores.ssim == pytest.approx(wang_2004(image @ weights, label @ weights), abs=1e-4)
    assert scores.ssim_rgb == pytest.approx(
        np.mean([wang_2004(*(plane[..., c].astype(float) for plane in (image, label))) for c in range(3)]), abs=1e-4
    )
    assert scores.psnr_db == pytest.approx(-10 * np.log10(np.mean((image - label) ** 2)), abs=1e-3)
    assert scores.cie94 == pytest.approx(cie94(label, image).mean())
    assert scores.cie94 != pytest.approx(cie94(image, label).mean(), rel=1e-4)


def test_an_interval_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(2).normal(5, 2, 400)
    interval = bootstrap_interval(values)
    error = values.std() / np.sqrt(values.size)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert interval.count == 400
    assert bootstrap_interval(values) == interval


def test_an_interval_of_equal_values_is_a_point():
    interval = bootstrap_interval(np.full(7, 0.5))
    assert (interval.low, interval.mean, interval.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval(np.array([]))


@pytest.mark.parametrize(("count", "draw"), [
    (4, "normal"), (9, "normal"), (25, "normal"), (25, "exponential"),
])
def test_an_interval_covers_the_true_mean_as_often_as_it_says(count, draw):
    generator = np.random.default_rng(count)
    samples = getattr(generator, draw)(size=(400, count))
    truth = 0.0 if draw == "normal" else 1.0
    intervals = [bootstrap_interval(sample, seed=number, resamples=1000) for number, sample in enumerate(samples)]
    covered = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    # A few fields bound the mean less well than the formula, and skew costs a few per cent.
    assert covered > (0.87 if count == 4 else 0.9)
    assert covered < 0.99


def test_one_field_has_a_mean_but_no_interval():
    interval = bootstrap_interval(np.array([0.7, np.nan]))
    assert (interval.mean, interval.count) == (0.7, 1)
    assert np.isnan([interval.low, interval.high]).all()
    none = bootstrap_interval(np.array([np.nan, np.nan]))
    assert none.count == 0
    assert np.isnan(none.mean)
