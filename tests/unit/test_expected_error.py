"""What a registration says beforehand of its error, held against the true one."""

from dataclasses import replace

import numpy as np
import pytest
from phone_pairs import Pair, PhoneModel, phone_pair, read_rgb
from scipy.stats import spearmanr

from mobilescope.imaging.expected_error import expected_error, noise_overlap
from mobilescope.imaging.quality import judge
from mobilescope.imaging.registration import register

MODEL = PhoneModel(barrel_px=2, lateral_colour_px=0.2)
# From an easy pair to one that is hardly there.
MODELS = (
    replace(MODEL, noise=0.005, colour_mix=0), MODEL, replace(MODEL, noise=0.06), replace(MODEL, noise=0.1),
    replace(MODEL, blur_px=2, noise=0.03), replace(MODEL, blur_px=2.5, noise=0.06),
)


def registered(pair: Pair):
    return register(pair.moving, pair.fixed, moving_pixel_um=0.37 * pair.factor, fixed_pixel_um=0.37)


def test_the_error_is_foretold_from_easy_pairs_to_hard_ones():
    image = read_rgb("he_monuseg_train/mr_A7-A13E.tif")[:700, :700]
    told, true = [], []
    for seed, model in enumerate(MODELS):
        pair = phone_pair(image, (224, 224), model, seed)
        found = registered(pair)
        error = np.linalg.norm(found.map_yx - pair.truth_yx, axis=-1)[found.supported] / pair.factor
        told.append((found.quality.expected_median_px, found.quality.expected_p95_px))
        true.append(np.percentile(error, (50, 95)))
        assert found.quality.expected_median_px >= found.quality.residual_median_px
    ratio = np.array(true) / np.array(told)
    assert ratio.max() < 3
    assert ratio[:, 0].min() > 0.3
    assert spearmanr(np.array(told)[:, 0], np.array(true)[:, 0])[0] > 0.7
    assert true[-1][0] > 4 * true[0][0]


def test_a_field_that_leaves_the_window_is_not_refused_for_what_lies_outside():
    pair = phone_pair(read_rgb("he_monuseg_train/mr_A7-A13E.tif"), (256, 256), MODEL, 5)
    left = int(np.percentile(pair.truth_yx[..., 1], 6))
    verdict = judge(registered(Pair(pair.moving, pair.fixed[:, left:], pair.truth_yx, pair.factor)).quality)
    assert verdict.accepted, verdict.reason


def test_noise_that_looks_like_the_image_counts_for_more_than_white_noise():
    rng = np.random.default_rng(0)
    white = rng.standard_normal((128, 130)).astype(np.float32)
    image = np.cumsum(np.cumsum(rng.standard_normal((128, 130)), axis=0), axis=1).astype(np.float32)
    image -= image.mean()
    image /= image.std()
    assert noise_overlap(image + 0.1 * white, image) == pytest.approx(1, abs=0.3)
    assert noise_overlap(image + 0.1 * np.roll(image, 50, axis=(0, 1)), image) > 3


def test_without_specimen_nothing_is_promised():
    centres = np.zeros((2, 2, 2))
    told = expected_error(np.zeros((4, 2, 2, 2)), centres, 1.0, np.zeros((64, 64), dtype=bool))
    assert told.median_px == told.p95_px == float("inf")
