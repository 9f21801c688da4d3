"""Defects are found among their own kind and mended, the field is evened out, and clear glass is made neutral."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.defects import dead_pixels, hot_pixels, without_defects
from mobilescope.imaging.flat_field import clear_light, neutral_gains, shading_of
from mobilescope.imaging.raw import cfa_sites, develop_half_size, develop_srgb

BLACK, WHITE = 64, 1023
LEVELS = {"black_level": BLACK, "white_level": WHITE}
SHAPE = (160, 200)


def noisy(level, seed=0, noise=3.0):
    """A frame of a level (a number, or one for each pixel) with noise."""
    return np.random.default_rng(seed).normal(0, noise, SHAPE) + level


def mosaic(cfa="RGGB", levels=(300, 600, 400)):
    """A frame whose colours have levels of their own."""
    frame = np.empty(SHAPE)
    for level, sites in zip(levels, cfa_sites(cfa).values(), strict=True):
        for row, column in sites:
            frame[row::2, column::2] = level
    return frame


def shade(corner=0.5):
    rows, columns = (np.linspace(-1, 1, side) for side in SHAPE)
    return 1 - (1 - corner) * (rows[:, None] ** 2 + columns**2) / 2


def test_hot_pixels_are_found_and_noise_and_glow_are_not():
    glow = 40 * np.linspace(0, 1, SHAPE[1])
    dark = noisy(BLACK + glow)
    places = [(0, 0), (3, 8), (80, 101), (159, 199)]
    for place in places:
        dark[place] += 120
    assert sorted(map(tuple, hot_pixels(dark, **LEVELS))) == places


def test_dead_pixels_are_found_in_every_colour_of_a_shaded_field():
    clear = BLACK + mosaic() * shade() + noisy(0)
    black, bright, weak = (10, 10), (11, 40), (90, 151)
    clear[black], clear[bright] = BLACK, WHITE
    clear[weak] = BLACK + 0.5 * (clear[weak] - BLACK)
    assert sorted(map(tuple, dead_pixels(clear, black_level=BLACK))) == [black, bright, weak]


def test_a_sound_sensor_has_no_defects():
    assert len(hot_pixels(noisy(BLACK), **LEVELS)) == 0
    assert len(dead_pixels(BLACK + mosaic() * shade() + noisy(0), black_level=BLACK)) == 0
    assert len(hot_pixels(np.full(SHAPE, BLACK), **LEVELS)) == 0  # a phone that cuts off at black


def test_a_defect_becomes_the_median_of_its_sound_neighbours_of_the_same_colour():
    sound = mosaic().astype(np.uint16)
    places = np.array([(0, 0), (40, 41), (40, 43), (42, 41), (159, 199)])
    broken = sound.copy()
    broken[tuple(places.T)] = WHITE
    kept = broken.copy()
    np.testing.assert_array_equal(without_defects(broken, places), sound)
    np.testing.assert_array_equal(broken, kept)


def test_a_pixel_without_a_sound_neighbour_keeps_its_value():
    frame = np.arange(16, dtype=np.uint16).reshape(4, 4)
    everywhere = np.argwhere(np.ones((4, 4)))
    np.testing.assert_array_equal(without_defects(frame, everywhere), frame)


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_dividing_by_the_clear_field_evens_it_out_and_keeps_its_middle(cfa):
    frame = BLACK + mosaic(cfa) * shade()
    shading = shading_of(clear_light(frame + noisy(0), cfa=cfa, **LEVELS))
    bayer = np.round(frame).astype(np.uint16)
    plain, even = (
        develop_half_size(bayer, cfa=cfa, **LEVELS, white_balance=(1, 1, 1), shading=each) for each in (None, shading)
    )
    assert plain.min() < 0.6 * plain.max(axis=(0, 1)).min()
    inner = even[4:-4, 4:-4]  # the smoothing sees less at the rim
    assert (inner.std(axis=(0, 1)) / inner.mean(axis=(0, 1))).max() < 0.01
    np.testing.assert_allclose(even[40, 50], plain[40, 50], rtol=0.02)


def test_a_dark_frame_is_taken_off_the_clear_one():
    glow = 60 * np.linspace(0, 1, SHAPE[1])
    light = clear_light(BLACK + glow + mosaic(), cfa="RGGB", **LEVELS, dark=BLACK + glow + np.zeros(SHAPE))
    np.testing.assert_allclose(light, np.broadcast_to(np.array([300, 600, 400]) / (WHITE - BLACK), light.shape), 1e-5)


def test_the_white_reference_makes_clear_glass_neutral():
    frame = BLACK + mosaic() * shade()
    gains = neutral_gains(clear_light(frame, cfa="RGGB", **LEVELS))
    assert gains == pytest.approx((2.0, 1.0, 1.5), rel=1e-3)
    developed = develop_half_size(
        np.round(frame).astype(np.uint16), cfa="RGGB", **LEVELS, white_balance=tuple(0.5 * gain for gain in gains)
    )
    middle = developed[40, 50]
    assert middle.max() / middle.min() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("levels", "said"), [((300, 600, 2), "dark in B"), ((960, 600, 300), "saturated in R")])
def test_a_clear_field_that_can_not_serve_is_refused(levels, said):
    with pytest.raises(InputImageError, match=said):
        clear_light(BLACK + mosaic(levels=levels), cfa="RGGB", **LEVELS)


def test_the_coded_picture_with_a_flat_field_is_the_developed_one_through_the_transfer():
    rng = np.random.default_rng(1)
    bayer = rng.integers(BLACK, WHITE, SHAPE, dtype=np.uint16)
    shading = rng.uniform(1, 2, (80, 100, 3)).astype(np.float32)
    given = {"cfa": "GBRG", **LEVELS, "white_balance": (1.1, 0.8, 1.3), "shading": shading}
    light = develop_half_size(bayer, **given).astype(np.float64)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(develop_srgb(bayer, **given), 65535 * coded, atol=12)


def test_a_flat_field_of_another_size_is_refused():
    with pytest.raises(InputImageError, match="same resolution"):
        develop_srgb(
            np.zeros(SHAPE, np.uint16), cfa="RGGB", **LEVELS, white_balance=(1, 1, 1),
            shading=np.ones((40, 50, 3), np.float32),
        )
