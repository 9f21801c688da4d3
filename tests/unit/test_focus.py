"""A focus measure is greatest for the sharp picture; its value on simple pictures is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.imaging.focus import brenner, grey_for_focus, normalised_variance, tenengrad

MEASURES = (normalised_variance, brenner, tenengrad)


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).standard_normal((128, 160)).astype(np.float32)
    return 0.5 + 0.3 * cv2.GaussianBlur(noise, (0, 0), 1.0)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_measure_falls_with_every_blur(measure, texture):
    scores = [measure(texture)] + [measure(cv2.GaussianBlur(texture, (0, 0), sigma)) for sigma in (0.7, 1.5, 3, 6)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[-1]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_flat_picture_scores_nothing(measure):
    assert measure(np.full((20, 30), 0.7, np.float32)) == pytest.approx(0, abs=1e-10)
    assert measure(np.zeros((20, 30), np.float32)) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_the_measure_is_the_same_for_a_picture_on_its_side(measure, texture):
    assert measure(np.ascontiguousarray(texture.T)) == pytest.approx(measure(texture), rel=1e-4)


def test_values_on_a_ramp():
    ramp = np.tile(np.arange(40, dtype=np.float32) * 0.01, (30, 1))
    # Two pixels apart the ramp rises by 0.02 across and by nothing down.
    assert brenner(ramp) == pytest.approx(0.02**2 / 2, rel=1e-4)
    # Sobel's kernel gives eight times the slope, except on the mirrored first and last columns.
    assert tenengrad(ramp) == pytest.approx(0.08**2 * 38 / 40, rel=1e-4)


def test_variance_over_mean_of_two_levels():
    halves = np.repeat(np.array([0.2, 0.6], np.float32), 50).reshape(10, 10)
    assert normalised_variance(halves) == pytest.approx(0.04 / 0.4, rel=1e-5)


def test_focus_is_judged_on_green():
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 1], picture[..., 0] = 51, 255
    np.testing.assert_allclose(grey_for_focus(picture), 0.2, rtol=1e-6)
