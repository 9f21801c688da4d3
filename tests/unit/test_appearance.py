"""A picture's detail and colours are measured so that blur, sampling and light show, and contrast and place do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.imaging.appearance import (
    BANDS,
    DETAIL_FEATURES,
    colour_features,
    detail_features,
    noise_level,
    pick_blocks,
    resized,
    richest_window,
)


def texture(size=128, seed=0, noise=0.0, grain_px=1.5):
    """Return grain of one size, in grey on pink."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), grain_px)
    picture = 0.6 + 0.1 * (grain / grain.std())[..., None] * np.array([1.0, 0.9, 0.8])
    return np.clip(picture + noise * rng.standard_normal(picture.shape), 0, 1).astype(np.float32)


def picked(picture):
    return pick_blocks(lambda rows, columns: picture[rows, columns], *picture.shape[:2])


def fineness(block):
    """Return how much power lies in the upper bands over the lower ones."""
    profile = detail_features(block, noise=0.0)[:BANDS]
    return profile[BANDS // 2 :].mean() - profile[: BANDS // 2].mean()


def test_blur_takes_fine_detail_step_by_step():
    values = [fineness(cv2.GaussianBlur(texture(), (0, 0), blur) if blur else texture()) for blur in (0, 0.7, 1.4, 2.8)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[1] > 0.3


def test_finer_sampling_spreads_detail_to_lower_frequencies():
    values = [fineness(resized(texture(256), factor)[:100, :100]) for factor in (0.75, 1, 1.25)]
    assert values == sorted(values, reverse=True)


def test_detail_does_not_depend_on_contrast_or_brightness():
    block = texture()
    np.testing.assert_allclose(
        detail_features(block * np.float32(0.5) + np.float32(0.1), 0.0), detail_features(block, 0.0), atol=0.02
    )


def test_detail_depends_less_on_the_place_than_on_blur():
    first, second = (detail_features(texture(seed=seed), 0.0) for seed in (1, 2))
    blurred = detail_features(cv2.GaussianBlur(texture(seed=1), (0, 0), 1.0), 0.0)
    assert first.shape == (DETAIL_FEATURES,)
    assert np.linalg.norm(first - second) < 0.6 * np.linalg.norm(first - blurred)


def test_a_simulated_blur_is_like_a_real_one_with_its_noise():
    noise = 0.01
    sharp, rng = texture(noise=0.0), np.random.default_rng(5)

    def noisy(block):
        return (block + noise * rng.standard_normal((*block.shape[:2], 1))).astype(np.float32)

    real = detail_features(noisy(cv2.GaussianBlur(sharp, (0, 0), 1.4)), noise)
    simulated = detail_features(noisy(sharp), noise, blur_px=1.4)
    assert np.linalg.norm(real - simulated) < 0.2 * np.linalg.norm(real - detail_features(noisy(sharp), noise))


def sparse(size=128):
    """Return texture in the lower half, and none in the upper one."""
    block = texture(size)
    block[: size // 2] = 0.6
    return block


def test_bare_glass_beside_the_specimen_changes_its_detail_little():
    full, half = (detail_features(block, noise=0.0)[:BANDS] for block in (texture(), sparse()))
    blurred = detail_features(cv2.GaussianBlur(texture(), (0, 0), 1.0), noise=0.0)[:BANDS]
    assert np.linalg.norm(full - half) < 0.6 * np.linalg.norm(full - blurred)


def test_the_richest_window_lies_in_the_specimen():
    np.testing.assert_array_equal(richest_window(sparse())[:, 32], richest_window(sparse()[64:])[:, 32])
    assert richest_window(texture(64)).shape == (64, 64, 3)
    assert richest_window(texture(130)[:65]).shape == (64, 64, 3)


def test_colours_tell_light_from_light():
    block = texture()
    warmer = block * np.array([1.1, 1.0, 0.9], dtype=np.float32)
    change = colour_features(warmer) - colour_features(block)
    assert (change[0::3] > 0.05).all()
    assert np.abs(change[1::3]).max() < 1e-6
    assert (change[2::3] < -0.05).all()


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_noise_is_measured_through_the_specimen(noise):
    grey = texture(grain_px=4, noise=0.0)[..., 0]
    noisy = grey + noise * np.random.default_rng(3).standard_normal(grey.shape)
    assert noise_level(noisy.astype(np.float32)) == pytest.approx(noise, rel=0.15)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_clear_glass_shows_no_specimen(noise):
    glass = np.full((200, 200, 3), 0.8, dtype=np.float32) * np.linspace(0.9, 1, 200, dtype=np.float32)[:, None, None]
    glass += np.float32(noise) * np.random.default_rng(0).standard_normal(glass.shape, dtype=np.float32)
    blocks = picked(glass)
    assert blocks.pixels == []
    assert blocks.specimen_share == 0


def test_only_the_part_with_specimen_is_kept():
    picture = np.full((256, 512, 3), 0.8, dtype=np.float32)
    picture[:, :256] = texture(256)
    blocks = picked(picture)
    assert len(blocks.pixels) == 4
    assert blocks.specimen_share == pytest.approx(0.5, abs=0.1)


def test_ends_of_the_scale_are_counted_but_pure_colours_are_not():
    picture = texture(128)
    picture[:32] = 1
    picture[32:64] = 0
    picture[64:96, :, 2] = 0
    blocks = picked(picture)
    assert blocks.white_share == pytest.approx(0.25, abs=0.01)
    assert blocks.black_share == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("shape", [(64, 64), (65, 67), (64, 3000), (129, 1023)])
def test_any_size_from_the_least_on_is_measured_in_parts(shape):
    picture = np.resize(texture(128), (*shape, 3))
    read = []

    def part(rows, columns):
        read.append(picture[rows, columns].size)
        return picture[rows, columns]

    blocks = pick_blocks(part, *shape)
    assert 1 <= len(blocks.pixels) <= 16
    assert max(read) <= 128 * 128 * 3
    assert all(np.isfinite(detail_features(block, blocks.noise)).all() for block in blocks.pixels)
