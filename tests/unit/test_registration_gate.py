"""Pairs that must be refused, each for its own plain reason, and pairs that must not be."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from phone_pairs import Pair, PhoneModel, phone_pair, read_rgb

from mobilescope.core.errors import RegistrationError
from mobilescope.imaging.quality import GateThresholds, judge, judge_focus, typical_detail
from mobilescope.imaging.registration import Registration, register

FIELDS = ("he_monuseg_train/mr_18-5592.tif", "he_monuseg_train/mr_38-6178.tif")


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [phone_pair(read_rgb(name), (256, 256), PhoneModel(), seed) for seed, name in enumerate(FIELDS)]


@pytest.fixture(scope="module")
def blood() -> Pair:
    return phone_pair(read_rgb("blood/bccd_00036.jpg"), (160, 200), PhoneModel(), 1)


@pytest.fixture(scope="module")
def good(pairs) -> Registration:
    return run(pairs[0].moving, pairs[0].fixed)


def run(moving: np.ndarray, fixed: np.ndarray, moving_um: float = 0.925) -> Registration:
    return register(moving, fixed, moving_pixel_um=moving_um, fixed_pixel_um=0.37)


def test_good_pairs_are_accepted_without_a_reason(good, blood):
    for result in (good, run(blood.moving, blood.fixed)):
        verdict = judge(result.quality)
        assert verdict.accepted, verdict.reason
        assert verdict.reason == ""


def test_another_field_of_the_same_stain_is_refused(pairs, blood):
    slide = read_rgb("wsi/cmu1_small_region.svs")[900:1800, 600:1500]
    other_blood = read_rgb("blood/bccd_00108.jpg")
    for moving, fixed in (
        (pairs[0].moving, pairs[1].fixed), (pairs[1].moving, slide), (blood.moving, other_blood),
    ):
        with pytest.raises(RegistrationError, match="not found"):
            run(moving, fixed)


def test_a_blank_phone_image_or_window_is_named(pairs):
    rng = np.random.default_rng(0)
    empty = np.clip(235 + 4 * rng.standard_normal((256, 256, 3)), 0, 255).astype(np.uint8)
    with pytest.raises(RegistrationError, match="phone image is blank"):
        run(empty, pairs[0].fixed)
    with pytest.raises(RegistrationError, match="benchtop window is blank"):
        run(pairs[0].moving, np.full((800, 800, 3), 235, dtype=np.uint8))


def test_specimen_in_a_corner_alone_is_said_to_be_too_little_to_place_a_field(pairs):
    pair = pairs[0]
    corner = np.full_like(pair.moving, np.iinfo(pair.moving.dtype).max // 10 * 9)
    rows, columns = corner.shape[0] // 4, corner.shape[1] // 2
    corner[:rows, :columns] = pair.moving[:rows, :columns]
    with pytest.raises(RegistrationError, match=r"\d+ features agree, but all in \d+% of the field; 19% needed"):
        run(corner, pair.fixed)


@pytest.mark.parametrize("flip", [0, 1])
def test_a_mirrored_phone_image_is_named(pairs, blood, flip):
    for pair in (pairs[0], blood):
        with pytest.raises(RegistrationError, match="mirror"):
            run(np.flip(pair.moving, axis=flip), pair.fixed)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_slide_that_lies_turned_is_as_good_as_another(pairs, quarters):
    pair = pairs[0]
    found = run(np.ascontiguousarray(np.rot90(pair.moving, quarters)), pair.fixed)
    assert judge(found.quality).accepted
    error = np.linalg.norm(found.map_yx - np.rot90(pair.truth_yx, quarters), axis=-1) / pair.factor
    assert np.median(error) < 0.1


@pytest.mark.parametrize("texture", ["waves", "tissue"])
def test_a_texture_that_repeats_is_not_placed_by_guess(texture):
    if texture == "waves":
        rows, columns = np.mgrid[0:800, 0:800] * (2 * np.pi / 40)
        image = np.repeat(np.uint8(150 + 60 * np.cos(rows) * np.cos(columns))[..., None], 3, axis=-1)
    else:
        image = np.tile(read_rgb(FIELDS[0])[300:460, 300:460], (5, 5, 1))
    pair = phone_pair(image, (224, 224), PhoneModel(), 0)
    with pytest.raises(RegistrationError, match="not found"):
        run(pair.moving, pair.fixed)


def test_a_scale_that_contradicts_the_pixel_sizes_is_named(pairs):
    with pytest.raises(RegistrationError, match=r"1\.\d\d times as large.*pixel size"):
        run(pairs[0].moving, pairs[0].fixed, moving_um=0.8)


def test_a_blurred_phone_image_is_refused(pairs):
    blurred = cv2.GaussianBlur(pairs[0].moving, (0, 0), 3.0)
    verdict = judge(run(blurred, pairs[0].fixed).quality)
    assert not verdict.accepted
    assert "blurred" in verdict.reason


def test_a_phone_image_far_out_of_focus_is_refused_with_a_hint_at_focus(pairs):
    with pytest.raises(RegistrationError, match="focus"):
        run(cv2.GaussianBlur(pairs[0].moving, (0, 0), 10.0), pairs[0].fixed)


def test_noise_is_not_taken_for_sharpness(pairs):
    blurred = cv2.GaussianBlur(pairs[0].moving, (0, 0), 3.0)
    noisy = np.clip(blurred + 8 * np.random.default_rng(1).standard_normal(blurred.shape), 0, 255).astype(np.uint8)
    assert "blurred" in judge(run(noisy, pairs[0].fixed).quality).reason


def test_an_overexposed_phone_image_is_refused(pairs):
    bright = np.clip(pairs[0].moving.astype(np.float32) * 2, 0, 255).astype(np.uint8)
    verdict = judge(run(bright, pairs[0].fixed).quality)
    assert not verdict.accepted
    assert "saturated" in verdict.reason


def test_residuals_are_small_after_registration_and_given_in_both_units(good):
    quality = good.quality
    assert 0 < quality.residual_median_px < 0.15
    assert quality.residual_median_px <= quality.residual_p95_px < 0.5
    assert quality.residual_p95_um == pytest.approx(quality.residual_p95_px * 0.925)
    assert quality.focus_fixed > 0
    assert 0 <= quality.blank_fraction < 0.2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"residual_median_px": 0.9}, "residual shift"),
        ({"residual_p95_px": 2.5}, "in places"),
        ({"expected_median_px": 0.9}, "may err by"),
        ({"expected_p95_px": 2.5}, "in places"),
        ({"pearson": 0.2}, "correlate"),
        ({"pearson_low": -0.1}, "tenth of the field"),
        ({"inliers": 5}, "features agree"),
        ({"inlier_ratio": 0.02}, "of the features agree"),
        ({"inlier_spread": 0.1}, "of the field only"),
        ({"detail_transfer": 0.1}, "blurred"),
        ({"saturated_fraction": 0.6}, "saturated"),
        ({"blank_fraction": 0.95}, "blank"),
    ],
)
def test_each_threshold_gives_its_own_reason(good, change, word):
    verdict = judge(replace(good.quality, **change))
    assert not verdict.accepted
    assert word in verdict.reason


def test_a_focus_is_held_against_what_the_phone_scope_shows_as_a_rule():
    assert typical_detail([0.9] * 4) is None
    assert typical_detail([0.4, 0.95, 0.9, 1.0, 0.98]) == 0.95
    assert judge_focus(0.62, 0.95).accepted
    verdict = judge_focus(0.5, 0.95)
    assert not verdict.accepted
    assert verdict.reason == (
        "the phone image is blurred: 50% of the fine detail arrives, 95% in other pairs of this session (at least 57%)"
    )
    # A phone scope that shows less at its best is no worse than itself.
    assert judge_focus(0.5, 0.6).accepted
    assert judge_focus(0.5, 0.95, GateThresholds(least_share_of_typical_detail=0.5)).accepted
    assert not judge_focus(float("nan"), 0.95).accepted


def test_thresholds_can_be_set(good):
    assert not judge(good.quality, GateThresholds(least_pearson=0.999)).accepted
    assert judge(replace(good.quality, blank_fraction=0.95), GateThresholds(greatest_blank_fraction=1.0)).accepted


def test_a_quality_that_is_not_a_number_is_refused(good):
    assert not judge(replace(good.quality, residual_median_px=float("nan"))).accepted
