"""What is made of a turned picture is turned back, and disagreement shows where the result depends on the turn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.imaging.turns import TURNS, spread_over_turns, turned, turned_back, turned_copy

PICTURE = np.random.default_rng(0).random((9, 12, 3), dtype=np.float32)


def enlarge(image):
    return cv2.resize(image, None, fx=2.5, fy=2.5, interpolation=cv2.INTER_LINEAR)


def test_turns_are_eight_and_come_back():
    views = [turned(PICTURE, turn) for turn in range(TURNS)]
    assert len({view.tobytes() for view in views}) == TURNS
    for turn, view in enumerate(views):
        np.testing.assert_array_equal(turned_back(view, turn), PICTURE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_turned_copy_is_what_the_view_shows_and_stands_alone(dtype):
    whole = np.random.default_rng(1).integers(0, 255, (14, 15, 3)).astype(dtype)
    part = whole[2:11, 1:13]
    for turn in range(TURNS):
        copy = turned_copy(part, turn)
        np.testing.assert_array_equal(copy, turned(part, turn))
        assert copy.dtype == dtype
        assert copy.flags.c_contiguous
        assert not np.shares_memory(copy, whole)


@pytest.mark.parametrize("shape", [(10, 12), (9, 12), (9, 11), (1, 1)])
def test_an_enhancer_that_knows_no_direction_agrees_with_itself(shape):
    spread = spread_over_turns([enlarge], np.resize(PICTURE, (*shape, 3)), 2)
    assert spread.shape == shape
    assert spread.dtype == np.float32
    assert spread.max() < 1e-6


def test_disagreement_shows_where_an_enhancer_prefers_a_direction():
    flat = np.full((20, 20, 3), 0.5, dtype=np.float32)
    flat[:, 10:] = 0.9  # an edge, which a blur along the columns alone leaves or smears by its direction

    def smear(image):
        return enlarge(cv2.blur(image, (1, 3)))

    spread = spread_over_turns([smear], flat, 2)
    assert spread[:, 9:11].min() > 0.02
    assert spread[:, :7].max() < 1e-6


def test_disagreement_shows_where_members_differ():
    def darker(image):
        return enlarge(image) - np.float32(0.1)

    spread = spread_over_turns([enlarge, darker], PICTURE, 2)
    np.testing.assert_allclose(spread, 0.05, atol=1e-5)
