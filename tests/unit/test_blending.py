"""A mosaic is the picture its tiles were cut from, and is never held whole."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from mobilescope.core.errors import CancelledError, InputImageError, StitchingError
from mobilescope.imaging.blending import mosaic_bands, mosaic_shape, place

TILE = (60, 70)


def picture(rows: int = 240, columns: int = 260) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def assembled(bands) -> tuple[np.ndarray, np.ndarray]:
    bands = list(bands)
    return np.vstack([band.pixels for band in bands]), np.vstack([band.covered for band in bands])


def cutter(image: np.ndarray, positions):
    def load(index: int) -> np.ndarray:
        row, column = (int(value) for value in positions[index])
        return image[row:row + TILE[0], column:column + TILE[1]]

    return load


@pytest.mark.parametrize("band_rows", [1, 37, 60, 256, 1000])
def test_tiles_cut_from_one_picture_make_that_picture_again(band_rows):
    image = picture()
    positions = np.array([(r, c) for r in (0, 51, 103, 149, 180) for c in (0, 58, 125, 190)])
    pixels, covered = assembled(mosaic_bands(positions, TILE, cutter(image, positions), band_rows))
    assert covered.all()
    assert np.array_equal(pixels, image)


def test_bands_follow_one_another_and_have_the_announced_shape():
    positions = np.array([(0.0, 0.0), (45.0, 50.0)])
    image = picture()
    bands = list(mosaic_bands(positions, TILE, cutter(image, positions), band_rows=32))
    assert [band.first_row for band in bands] == [0, 32, 64, 96]
    assert [len(band.pixels) for band in bands] == [32, 32, 32, 9]
    assert mosaic_shape(positions, TILE) == (105, 120)
    assert all(band.pixels.shape[1:] == (120, 3) and band.pixels.dtype == np.uint8 for band in bands)


def test_where_no_tile_lies_the_mosaic_is_black_and_says_so():
    positions = np.array([(0, 0), (100, 150)])
    image = np.full((240, 260, 3), 200, np.uint8)
    pixels, covered = assembled(mosaic_bands(positions, TILE, cutter(image, positions), 50))
    expected = np.zeros((160, 220), bool)
    expected[:60, :70] = expected[100:, 150:] = True
    assert np.array_equal(covered, expected)
    assert np.array_equal(pixels.any(axis=2), expected)
    assert (pixels[expected] == 200).all()


@pytest.mark.parametrize("step", [(0, 50), (40, 0)])
def test_a_seam_between_unequal_tiles_is_a_smooth_ramp(step):
    values = (100, 160)
    pixels, _ = assembled(mosaic_bands([(0, 0), step], TILE, lambda k: np.full((*TILE, 3), values[k], np.uint8), 25))
    profile = pixels[pixels.shape[0] // 2, :, 0] if step[1] else pixels[:, pixels.shape[1] // 2, 0]
    steps = np.diff(profile.astype(int))
    assert (profile[0], profile[-1]) == values
    assert steps.min() >= 0
    assert steps.max() <= 60 / 20 + 1


def test_each_tile_is_loaded_once_and_only_those_under_the_band_are_held():
    positions = np.array([(row * 50, column * 60) for row in range(20) for column in range(2)])
    loads: list[int] = []
    alive: list[weakref.ref] = []
    most = 0

    def load(index: int) -> np.ndarray:
        nonlocal most
        loads.append(index)
        tile = np.full((*TILE, 3), index, np.uint8)
        alive.append(weakref.ref(tile))
        most = max(most, sum(ref() is not None for ref in alive))
        return tile

    for _ in mosaic_bands(positions, TILE, load, band_rows=25):
        pass
    assert sorted(loads) == list(range(40))
    assert most <= 2 * 2 + 2  # two are loaded ahead


def test_positions_are_rounded_and_the_rest_is_recorded():
    positions = np.array([(10.2, -3.0), (61.9, 57.4)])
    placement = place(positions)
    assert placement.first_px.tolist() == [[0, 0], [52, 60]]
    assert placement.remainder_px == pytest.approx(np.array([(0, 0), (-0.3, 0.4)]))
    assert placement.first_px + placement.remainder_px + placement.origin_px == pytest.approx(positions)


def test_a_listener_can_stop_the_blending():
    def stop(progress):
        raise CancelledError("stopped")

    bands = mosaic_bands([(0, 0)], TILE, lambda _: np.zeros((*TILE, 3), np.uint8), 10, stop)
    next(bands)
    with pytest.raises(CancelledError):
        next(bands)


def test_wrong_tiles_and_empty_mosaics_are_errors():
    with pytest.raises(InputImageError, match="tile 0 is float64"):
        next(mosaic_bands([(0, 0)], TILE, lambda _: np.zeros((*TILE, 3))))
    with pytest.raises(InputImageError, match="shape"):
        next(mosaic_bands([(0, 0)], TILE, lambda _: np.zeros(TILE, np.uint8)))
    with pytest.raises(StitchingError):
        next(mosaic_bands(np.empty((0, 2)), TILE, lambda _: np.zeros(TILE, np.uint8)))
    with pytest.raises(ValueError, match="at least one row"):
        next(mosaic_bands([(0, 0)], TILE, lambda _: np.zeros(TILE, np.uint8), 0))


@pytest.mark.parametrize("band_rows", [20, 60, 1000])
def test_seams_between_agreeing_tiles_are_not_to_be_seen(band_rows):
    image = picture()
    positions = np.array([(r, c) for r in (0, 51, 103, 149, 180) for c in (0, 58, 125, 190)])
    pixels, covered = assembled(mosaic_bands(positions, TILE, cutter(image, positions), band_rows, seams=True))
    assert covered.all()
    assert np.array_equal(pixels, image)


@pytest.mark.parametrize("across", [True, False])
def test_a_seam_goes_round_what_only_one_tile_shows(across):
    """Mixed, it would be seen through; cut, by half."""
    first, second = (np.full((*TILE, 3), 200, np.uint8) for _ in range(2))
    thing = (slice(24, 34), slice(54, 64)) if across else (slice(46, 56), slice(28, 40))
    first[thing] = 20
    positions = np.array([(0, 0), (0, 48)]) if across else np.array([(0, 0), (40, 0)])
    pixels, _ = assembled(mosaic_bands(positions, TILE, [first, second].__getitem__, seams=True))
    assert set(np.unique(pixels[thing])) in ({20}, {200})
    faded, _ = assembled(mosaic_bands(positions, TILE, [first, second].__getitem__))
    assert 60 < faded[thing].mean() < 180
