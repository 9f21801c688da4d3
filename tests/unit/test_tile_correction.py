"""What a camera adds to every tile is found in the tiles, and neither pulls them together nor shows in the mosaic."""

from __future__ import annotations

import numpy as np
import pytest
from tile_scans import TILE_PX, tissue, write_scan

from mobilescope.app.mosaics.folder_stitching import FolderOptions, stitch_folder
from mobilescope.app.mosaics.tile_folders import TileReader, plan_from_table
from mobilescope.imaging.tile_correction import estimate_correction, spread_out
from mobilescope.imaging.tile_gains import solve_gains, thumbnail

HOT = [(20, 30), (21, 30), (90, 140), (3, 3), (150, 8)]
ROW = 70


def tiles(count=12, change=lambda pixels: pixels, seed=1):
    field = tissue(900, 1, seed)
    rng = np.random.default_rng(seed)
    cut = []
    for _ in range(count):
        row, column = rng.integers(0, 700, 2)
        pixels = change(field[row:row + TILE_PX, column:column + TILE_PX].copy())
        cut.append(np.clip(np.rint(pixels + rng.normal(0, 2, pixels.shape)), 0, 255).astype(np.uint8))
    return cut


def with_hot_pixels(pixels):
    for row, column in HOT:
        pixels[row, column] = 255
    pixels[100, 50] = 0
    return pixels


def test_hot_and_dead_pixels_are_found_and_filled_from_their_neighbours():
    spoilt, clean = tiles(change=with_hot_pixels), tiles()
    correction = estimate_correction(spoilt.__getitem__, spread_out(12))
    assert set(map(tuple, np.argwhere(correction.bad).tolist())) == {*HOT, (100, 50)}
    mended = correction.apply(spoilt[0])
    assert np.abs(mended.astype(int) - clean[0])[correction.bad].max() < 40
    np.testing.assert_array_equal(mended[~correction.bad], spoilt[0][~correction.bad])


def test_shading_is_found_and_evened_out():
    axis = np.linspace(-1, 1, TILE_PX)
    light = (1 - 0.25 * (axis[:, None] ** 2 + axis[None, :] ** 2) + 0.1 * axis[None, :])[..., None]
    spoilt = tiles(40, lambda pixels: pixels * light)
    gain = estimate_correction(spoilt.__getitem__, range(40)).gain
    left = (gain * light)[..., 0]
    assert left.std() / left.mean() < 0.25 * light.std() / light.mean()


def test_even_light_and_sound_pixels_are_left_alone():
    correction = estimate_correction(tiles(24).__getitem__, range(24))
    assert correction.idle
    tile = tiles(1)[0]
    assert correction.apply(tile) is tile


def test_few_tiles_say_nothing():
    assert estimate_correction(tiles(4).__getitem__, range(4)) is None


@pytest.mark.parametrize("correct", [True, False])
def test_what_stands_still_does_not_pull_tiles_together(tmp_path, correct):
    """A row of hot pixels all along the sensor says that neighbours in a row are level."""
    def spoil(_, pixels):
        pixels = 120 + (pixels - 120) * 0.25
        pixels[10::30] = 255
        return pixels

    faint = write_scan(tmp_path / "tiles", 3, 4, spoil=spoil)
    plan = plan_from_table(faint.folder, faint.table, 0.5)
    result = stitch_folder(plan, None, FolderOptions(correct=correct))
    errors = faint.errors_px(result.to_json()["tiles"])
    linked = np.array([verdict.mark == "linked" for verdict in result.verdicts])
    if correct:
        assert linked.all()
        assert errors.max() < 0.5
    else:
        assert not linked.all() or errors.max() > 1


def test_tiles_of_differing_brightness_are_brought_to_one(tmp_path):
    factors = np.random.default_rng(3).uniform(0.85, 1.15, 12)
    scan = write_scan(tmp_path / "tiles", spoil=lambda index, pixels: pixels * factors[index])
    reader = TileReader(plan_from_table(scan.folder, scan.table, 0.5).files)
    links = [(k, k + 1) for k in range(11) if k % 4 != 3] + [(k, k + 4) for k in range(8)]
    thumbnails = [thumbnail(reader(k)) for k in range(12)]
    gains = solve_gains(thumbnails, 8, scan.true_px, links)[:, 0]
    left = gains * factors
    assert left.std() / left.mean() < 0.2 * factors.std()
    even = write_scan(tmp_path / "even")
    reader = TileReader(plan_from_table(even.folder, even.table, 0.5).files)
    assert solve_gains([thumbnail(reader(k)) for k in range(12)], 8, even.true_px, links) is None


def test_a_tile_of_bare_glass_gets_its_neighbours_brightness_unless_they_show_something_else(tmp_path):
    """Nothing ties it to them but the stage, which is good enough where both are even."""
    glass = {1: 200.0, 2: 235.0}
    scan = write_scan(
        tmp_path / "tiles", 1, 4,
        spoil=lambda index, pixels: np.full_like(pixels, glass[index]) if index in glass else pixels,
    )
    reader = TileReader(plan_from_table(scan.folder, scan.table, 0.5).files)
    thumbnails = [thumbnail(reader(k)) for k in range(4)]
    gains = solve_gains(thumbnails, 8, scan.true_px, [], [(0, 1), (1, 2), (2, 3)])[:, 0]
    assert gains[1] * 200 == pytest.approx(gains[2] * 235, rel=0.01)
    assert gains[[0, 3]] == pytest.approx([1, 1], abs=0.01)
