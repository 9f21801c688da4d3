"""Pictures shrunk for the eye show what averaging at once shows, where it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.imaging.shrinking import shrink


def specimen(rows, columns):
    noise = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return np.clip(128 + 6 * (cv2.GaussianBlur(noise, (0, 0), 4).astype(float) - 127), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(540, 960), (541, 961), (1080, 1922)])
@pytest.mark.parametrize("size", [(113, 63), (240, 135), (479, 269), (960, 540)])
def test_as_averaging_at_once_but_for_a_few_levels(shape, size):
    picture = specimen(*shape)
    small = shrink(picture, *size)
    at_once = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    assert small.shape == (size[1], size[0], 3)
    assert small.dtype == np.uint8
    difference = small.astype(int) - at_once
    assert difference.std() < 3  # of a contrast of 60
    assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize("shape", [(1080, 1920), (1081, 1921)])
def test_nothing_moves(shape):
    """A spot's centre stays at the same part of the picture."""
    picture = np.zeros((*shape, 3), np.uint8)
    cv2.circle(picture, (1403, 301), 60, (200, 200, 200), -1)
    small = shrink(picture, 300, 169)[..., 0].astype(float)
    rows, columns = np.indices(small.shape)
    row, column = ((index * small).sum() / small.sum() for index in (rows, columns))
    assert (column + 0.5) / 300 == pytest.approx(1403.5 / shape[1], abs=0.1 / 300)
    assert (row + 0.5) / 169 == pytest.approx(301.5 / shape[0], abs=0.1 / 169)


def test_a_picture_of_its_own_size_stays_as_it_is():
    picture = specimen(61, 83)
    np.testing.assert_array_equal(shrink(picture, 83, 61), picture)


def test_grey_stays_grey():
    assert shrink(np.full((64, 64), 7, np.uint8), 10, 10).tolist() == [[7] * 10] * 10


def test_a_line_becomes_no_smaller_than_one_pixel():
    assert shrink(np.full((2, 512, 3), 9, np.uint8), 100, 1).shape == (1, 100, 3)
