"""Dense maps: their inverse, their composition, and resampling an image once."""

import cv2
import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.warp import apply_homography, compose, invert_map, lattice_points, pixel_grid, resample

HOMOGRAPHY = np.array([[2.45, -0.2, 30.0], [0.21, 2.52, 12.0], [1e-5, -2e-5, 1.0]])


def curved_map(shape: tuple[int, int], size_px: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a map H(x + d(x)) with a smooth d, and its exact d at any points as a function's values on the grid."""
    grid = pixel_grid(shape).astype(np.float64)
    return apply_homography(HOMOGRAPHY, grid + bend(grid, size_px)).astype(np.float32), grid


def bend(points: np.ndarray, size_px: float) -> np.ndarray:
    return size_px * np.stack([np.sin(points[..., 1] / 40), np.cos(points[..., 0] / 50)], axis=-1)


def test_inverse_brings_every_point_back_within_a_fiftieth_of_a_pixel():
    map_yx, grid = curved_map((200, 240))
    rng = np.random.default_rng(0)
    inside = rng.uniform([5, 5], [194, 234], (50, 60, 2))
    target = apply_homography(HOMOGRAPHY, inside + bend(inside, 3.0))
    assert np.abs(invert_map(map_yx, HOMOGRAPHY, target) - inside).max() < 0.02
    assert np.abs(invert_map(map_yx, HOMOGRAPHY, map_yx) - grid).max() < 0.02


def test_inverse_continues_beyond_the_map_along_the_homography():
    map_yx, _ = curved_map((120, 120), size_px=0.0)
    outside = np.array([[[-30.0, 50.0], [150.0, 150.0], [60.0, -80.0]]])
    back = invert_map(map_yx, HOMOGRAPHY, apply_homography(HOMOGRAPHY, outside))
    assert np.abs(back - outside).max() < 0.02


def test_composition_of_a_map_with_its_inverse_is_the_identity():
    map_yx, _ = curved_map((160, 160))
    points = apply_homography(HOMOGRAPHY, pixel_grid((60, 60), origin_yx=(50, 50)).astype(np.float64))
    back = invert_map(map_yx, HOMOGRAPHY, points)
    assert np.abs(compose(map_yx, back) - points).max() < 0.05


def test_lattice_uses_half_pixel_centres():
    points = lattice_points((3, 2), 2.5, origin_yx=(10, 20))
    assert points[0, 0].tolist() == [10.75, 20.75]
    # Lattice pixel 2 starts where fixed pixel 5 starts.
    assert points[2, 0, 0] - 2.5 / 2 == 10 + 5 - 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_identity_map_returns_the_image_itself(dtype, channels):
    rng = np.random.default_rng(1)
    shape = (40, 50) if channels is None else (40, 50, channels)
    image = rng.random(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, np.iinfo(dtype).max, shape)
    image = image.astype(dtype)
    result, valid = resample(image, pixel_grid((40, 50)))
    assert result.shape == image.shape
    assert result.dtype == (np.float32 if np.issubdtype(dtype, np.floating) else dtype)
    assert np.allclose(result, image, atol=1e-6)
    assert valid[3:-3, 3:-3].all()


def test_pixels_drawn_from_outside_are_marked_and_filled():
    image = np.full((30, 30), 200, dtype=np.uint8)
    result, valid = resample(image, pixel_grid((30, 30), origin_yx=(20, 0)), interpolation="linear", fill=7)
    assert valid[:10].all()
    assert not valid[10:].any()
    assert (result[12:] == 7).all()


def test_shrinking_a_fine_pattern_gives_its_mean_not_a_moire():
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (300, 150))
    map_yx = lattice_points((100, 100), 2.9).astype(np.float32)
    smooth, _ = resample(stripes, map_yx)
    aliased, _ = resample(stripes, map_yx, prefilter=False)
    assert smooth[10:-10, 10:-10].std() < 0.05
    assert aliased[10:-10, 10:-10].std() > 0.2


def test_a_shifted_smooth_image_is_interpolated_exactly_enough():
    row, column = np.meshgrid(np.arange(80.0), np.arange(80.0), indexing="ij")

    def wave(y, x):
        return 0.5 + 0.4 * np.sin(y / 3) * np.cos(x / 4)

    image = wave(row, column).astype(np.float32)
    for interpolation in ("cubic", "lanczos4"):
        shifted, _ = resample(image, pixel_grid((60, 60), origin_yx=(10.25, 10.5)), interpolation=interpolation)
        assert np.abs(shifted - wave(row[:60, :60] + 10.25, column[:60, :60] + 10.5)).max() < 0.01


def test_unusable_images_are_refused():
    with pytest.raises(InputImageError, match="type"):
        resample(np.zeros((20, 20), dtype=np.int64), pixel_grid((20, 20)))
    with pytest.raises(InputImageError, match="shape"):
        resample(np.zeros((20, 20, 9), dtype=np.uint8), pixel_grid((20, 20)))


def test_resampling_agrees_with_opencv_for_a_rotation():
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(rng.random((90, 90)).astype(np.float32), (0, 0), 2)
    matrix = cv2.getRotationMatrix2D((44.5, 44.5), 10, 1.0)
    map_yx = apply_homography(np.vstack([matrix, [0, 0, 1]]), pixel_grid((90, 90)).astype(np.float64))
    ours, valid = resample(image, map_yx.astype(np.float32), interpolation="cubic")
    theirs = cv2.warpAffine(image, matrix, (90, 90), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    assert np.abs(ours - theirs)[valid].max() < 0.01
