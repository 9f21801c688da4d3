"""Registering made-up phone images of real tissue: how near the found map is to the true one."""

from dataclasses import replace

import numpy as np
import pytest
from phone_pairs import Pair, PhoneModel, phone_pair, read_rgb
from scipy import ndimage

from mobilescope.core.errors import InputImageError
from mobilescope.imaging import registration
from mobilescope.imaging.crops import Crop
from mobilescope.imaging.features import match_fields
from mobilescope.imaging.lattices import (
    corner_map,
    label_map,
    largest_valid_crop,
    largest_valid_window,
    lattice_map,
)
from mobilescope.imaging.quality import supported_mask
from mobilescope.imaging.registration import Registration, register
from mobilescope.imaging.warp import lattice_points, resample

FIXED_UM = 0.37


def registered(pair: Pair, **keywords) -> Registration:
    return register(
        pair.moving, pair.fixed, moving_pixel_um=FIXED_UM * pair.factor, fixed_pixel_um=FIXED_UM, **keywords
    )


def errors_px(map_yx: np.ndarray, pair: Pair) -> np.ndarray:
    """Return distances from the truth in phone pixels."""
    return np.linalg.norm(map_yx - pair.truth_yx, axis=-1) / pair.factor


@pytest.fixture(scope="module")
def tissue() -> Pair:
    return phone_pair(read_rgb("he_monuseg_train/mr_A7-A13E.tif"), (256, 256), PhoneModel(), 5)


@pytest.fixture(scope="module")
def found(tissue) -> Registration:
    return registered(tissue)


@pytest.mark.parametrize(
    ("name", "shape", "model"),
    [
        ("he_monuseg_train/mr_18-5592.tif", (256, 256), PhoneModel(rotation_deg=-5, scale=0.98)),
        ("he_monuseg_train/mr_B0-5710.tif", (256, 256), PhoneModel(rotation_deg=5, scale=1.02)),
        ("he_monuseg_train/mr_38-6178.tif", (200, 300), PhoneModel(rotation_deg=0, scale=1, lateral_colour_px=0.25)),
        ("he_monuseg_train/mr_49-4488.tif", (256, 256), PhoneModel(barrel_px=8, scale=1)),
        ("he_monuseg_train/mr_AR-A1AS.tif", (256, 256), PhoneModel(noise=0.05)),
    ],
)
def test_tissue_is_placed_to_a_tenth_of_a_phone_pixel(name, shape, model):
    pair = phone_pair(read_rgb(name), shape, model, 1)
    error = errors_px(registered(pair).map_yx, pair)
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.3


def test_a_blood_smear_with_laterally_displaced_colours_is_placed_too():
    pair = phone_pair(read_rgb("blood/bccd_00012.jpg"), (160, 200), PhoneModel(), 1)
    error = errors_px(registered(pair).map_yx, pair)
    assert np.median(error) < 0.3
    assert np.percentile(error, 95) < 1.0


def test_a_field_with_empty_parts_is_placed_where_there_is_specimen():
    slide = read_rgb("wsi/cmu1_small_region.svs")[2000:2900, 1300:2200]
    pair = phone_pair(slide, (256, 256), PhoneModel(), 1)
    result = registered(pair)
    error = errors_px(result.map_yx, pair)
    assert result.quality.blank_fraction > 0.2
    assert np.median(error) < 0.1
    # Nothing can be known in the middle of nowhere, but the map must not run away there.
    assert error.max() < 5


def test_a_large_field_is_placed():
    fields = [read_rgb(f"he_monuseg_train/{name}.tif") for name in ("mr_18-5592", "mr_38-6178", "mr_A7-A13E")]
    mosaic = np.vstack([np.hstack([fields[(row + column) % 3] for column in range(2)]) for row in range(2)])
    pair = phone_pair(mosaic, (680, 680), PhoneModel(wobble_scale_px=70, barrel_px=12), 1)
    error = errors_px(registered(pair).map_yx, pair)
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.3


def test_a_field_that_shows_too_few_features_when_shrunk_is_looked_at_whole(monkeypatch):
    pair = phone_pair(read_rgb("he_monuseg_train/mr_A7-A13E.tif"), (410, 420), PhoneModel(factor=2.2, scale=1), 1)
    looked_at = []

    def few_on_small_ones(moving, fixed, **keywords):
        looked_at.append(moving.shape)
        return match_fields(moving, fixed, **{**keywords, "least_inliers": 10**6 if len(looked_at) == 1 else 12})

    monkeypatch.setattr(registration, "match_fields", few_on_small_ones)
    assert np.median(errors_px(registered(pair).map_yx, pair)) < 0.1
    assert [min(shape) for shape in looked_at] == [400, 410]


def test_dust_on_the_phone_sensor_does_not_bend_the_map_around_it(tissue):
    dusty = tissue.moving.copy()
    row, column = np.ogrid[:256, :256]
    spot = (row - 90) ** 2 + (column - 160) ** 2 < 14**2
    dusty[spot] = dusty[spot] // 6
    result = register(dusty, tissue.fixed, moving_pixel_um=2.5 * FIXED_UM, fixed_pixel_um=FIXED_UM)
    error = errors_px(result.map_yx, tissue)
    around = (row - 90) ** 2 + (column - 160) ** 2 < 40**2
    assert np.median(error[around & ~spot]) < 0.3
    assert np.median(error[~around]) < 0.1


def test_16_bit_grey_and_float_images_give_the_same_map(tissue, found):
    grey = tissue.moving[..., 1].astype(np.uint16) * 257
    result = register(
        grey, tissue.fixed.astype(np.float32) / 255, moving_pixel_um=2.5 * FIXED_UM, fixed_pixel_um=FIXED_UM
    )
    assert np.median(np.linalg.norm(result.map_yx - found.map_yx, axis=-1)) < 0.1


def test_the_same_seed_gives_the_same_map(tissue, found):
    assert np.array_equal(registered(tissue, seed=0).map_yx, found.map_yx)


def test_a_phone_image_turned_upside_down_is_found(tissue):
    turned = register(
        tissue.moving[::-1, ::-1], tissue.fixed, moving_pixel_um=2.5 * FIXED_UM, fixed_pixel_um=FIXED_UM
    )
    assert np.median(errors_px(turned.map_yx[::-1, ::-1], tissue)) < 0.1


def test_a_field_that_leaves_the_window_is_placed_where_they_overlap(tissue):
    cropped = Pair(tissue.moving, tissue.fixed[:, 300:], tissue.truth_yx - [0, 300], tissue.factor)
    result = registered(cropped)
    inside = cropped.truth_yx[..., 1] > 20
    assert not inside.all()
    assert np.median(errors_px(result.map_yx, cropped)[inside]) < 0.1


def test_lattice_map_points_each_lattice_pixel_at_the_right_phone_pixel(tissue, found):
    window = largest_valid_window(found)
    source = lattice_map(found, window.fixed_origin_px, window.shape)
    # The truth there, carried forward, must be the lattice pixel's own centre.
    forward = np.stack(
        [
            ndimage.map_coordinates(tissue.truth_yx[..., axis], np.moveaxis(source, -1, 0), order=3, mode="nearest")
            for axis in (0, 1)
        ],
        axis=-1,
    )
    centres = lattice_points(window.shape, 2.5, origin_yx=window.fixed_origin_px)
    error = np.linalg.norm(forward - centres, axis=-1) / 2.5
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.3


def test_the_phone_image_resampled_once_looks_like_the_fixed_window(tissue, found):
    window = largest_valid_window(found)
    drawn, valid = resample(tissue.moving, lattice_map(found, window.fixed_origin_px, window.shape))
    assert valid.all()
    (top, left), (height, width) = window.fixed_origin_px, window.fixed_shape
    label = tissue.fixed[top : top + height, left : left + width, 1].astype(float)
    assert label.shape == (height, width)
    coarse = ndimage.zoom(ndimage.gaussian_filter(label, 2), 1 / 2.5, order=1, grid_mode=True, mode="nearest")
    assert coarse.shape == window.shape
    assert np.corrcoef(coarse.ravel(), drawn[..., 1].ravel())[0, 1] > 0.97


def test_label_map_refines_the_phone_grid_with_half_pixel_centres(tissue, found):
    fine = label_map(found)
    assert fine.shape == (640, 640, 2)
    centres = np.moveaxis(lattice_points((640, 640), 1 / 2.5), -1, 0)
    for axis in (0, 1):
        truth = ndimage.map_coordinates(tissue.truth_yx[..., axis], centres, order=1, mode="nearest")
        assert np.median(np.abs(fine[3:-3, 3:-3, axis] - truth[3:-3, 3:-3])) < 0.1 * 2.5
    assert np.abs(label_map(found, 1.0) - found.map_yx).max() < 0.01


def test_label_map_of_an_odd_size_is_rounded_up():
    pair = phone_pair(read_rgb("he_monuseg_train/mr_A7-A13E.tif"), (201, 233), PhoneModel(), 5)
    assert label_map(registered(pair)).shape == (503, 583, 2)


@pytest.mark.parametrize("factor", [1, 1.5, 2.5, 3])
def test_a_crops_label_is_its_part_of_the_whole_label(found, factor):
    crop = Crop((20, 34), (100, 120))
    part = label_map(found, factor, crop=crop)
    assert part.shape == (100 * factor, 120 * factor, 2)
    top, left, bottom, right = (round(edge * factor) for edge in (20, 34, 120, 154))
    np.testing.assert_allclose(part, label_map(found, factor)[top:bottom, left:right], atol=1e-2)


def test_pixel_corners_lie_midway_between_centres(found):
    corners = corner_map(found, Crop((20, 34), (100, 120)))
    assert corners.shape == (101, 121, 2)
    centres = found.map_yx[20:120, 34:154]
    middle = (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
    np.testing.assert_allclose(middle, centres, atol=0.02)


@pytest.mark.parametrize("factor", [1, 2.5, 4 / 3])
def test_the_largest_crop_is_even_and_lies_inside_the_fixed_image(tissue, factor):
    cropped = Pair(tissue.moving, tissue.fixed[:, 300:], tissue.truth_yx - [0, 300], tissue.factor)
    result = registered(cropped)
    crop = largest_valid_crop(result, factor)
    rows, columns = crop.shape
    assert rows % 2 == columns % 2 == 0
    assert rows * factor == pytest.approx(round(rows * factor))
    assert columns < 200 < rows
    assert result.supported[crop.part].all()
    needed = label_map(result, factor, crop=crop)
    _, valid = resample(cropped.fixed, needed)
    assert valid.all()


def test_images_without_a_common_part_have_no_crop(found):
    away = replace(found, map_yx=found.map_yx + np.float32(5000))
    with pytest.raises(InputImageError, match="no usable"):
        largest_valid_crop(away)


def test_the_largest_window_keeps_its_margin_and_is_large(found, tissue):
    window = largest_valid_window(found, margin_px=4)
    source = lattice_map(found, window.fixed_origin_px, window.shape)
    assert source.min() >= 4 - 0.05
    assert source.max() <= 255 - 4 + 0.05
    assert window.shape[0] % 2 == 0
    assert window.shape[1] % 2 == 0
    # Turned by 4 degrees, the largest upright rectangle still covers most of the field.
    assert window.shape[0] * window.shape[1] > 0.75 * 256**2
    top, left = window.fixed_origin_px
    assert top + window.fixed_shape[0] <= tissue.fixed.shape[0]
    assert left + window.fixed_shape[1] <= tissue.fixed.shape[1]


def test_the_window_leaves_out_bare_glass_far_from_the_specimen():
    image = read_rgb("he_monuseg_train/mr_A7-A13E.tif").copy()
    image[:, image.shape[1] // 2 :] = 235
    pair = phone_pair(image, (256, 256), PhoneModel(), 5)
    found = registered(pair)
    window = largest_valid_window(found)
    source = lattice_map(found, window.fixed_origin_px, window.shape)
    bare = found.supported.argmin(axis=1)
    assert 0.4 * 256 < np.median(bare) < 0.75 * 256
    assert window.shape[0] > 200
    assert window.shape[1] < 0.7 * 256
    nearest = np.moveaxis(np.round(source).astype(int), -1, 0)
    assert found.supported[tuple(nearest)].all()
    assert np.percentile(errors_px(found.map_yx, pair)[found.supported], 95) < 0.5


def test_a_gap_within_the_specimen_is_supported_from_all_around():
    specimen = np.ones((300, 300), dtype=bool)
    specimen[80:220, 80:220] = False
    assert supported_mask(specimen).all()
    assert not supported_mask(np.zeros((300, 300), dtype=bool)).any()
    corner = np.zeros((300, 300), dtype=bool)
    corner[:100, :100] = True
    supported = supported_mask(corner)
    assert supported[110, 110]
    assert not supported[200, 200]


def test_images_that_are_too_small_or_of_a_wrong_shape_are_refused(tissue):
    with pytest.raises(InputImageError, match="at least"):
        register(tissue.moving[:50, :50], tissue.fixed, moving_pixel_um=0.925, fixed_pixel_um=FIXED_UM)
    with pytest.raises(InputImageError, match="shape"):
        register(tissue.moving[..., :2], tissue.fixed, moving_pixel_um=0.925, fixed_pixel_um=FIXED_UM)
