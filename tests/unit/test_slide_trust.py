"""A slide is judged by windows that show specimen, and is as good as nine in ten of them."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import save_small_model

from mobilescope.app.enhancement.sampling import sample_windows
from mobilescope.app.enhancement.trusting import assess_picture
from mobilescope.app.pictures.images import Picture
from mobilescope.enhance.trust import TrustAssessor
from mobilescope.imaging.pixel_sources import ArraySource


def slide(rows, columns, level=245):
    return np.full((rows, columns, 3), level, np.uint8)


def tissue(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(60, 230, (rows, columns, 3), dtype=np.uint8)


def sample(image, side=100, most=8):
    return sample_windows(Picture(ArraySource(image)), side, most)


def test_windows_are_where_the_specimen_is():
    image = slide(1000, 1000)
    image[600:, 500:] = tissue(400, 500)
    windows = sample(image)
    assert 0 < len(windows) <= 8
    assert all(window.std() > 5 for window in windows)


def test_of_bare_glass_there_are_windows_too():
    assert all(window.shape == (100, 100, 3) for window in sample(slide(1000, 700)))


@pytest.mark.parametrize(
    ("shape", "expected"), [((40, 30), (40, 30)), ((1000, 30), (100, 30)), ((100, 100), (100, 100))]
)
def test_windows_of_small_pictures_stay_inside(shape, expected):
    windows = sample(tissue(*shape))
    assert {window.shape[:2] for window in windows} == {expected}
    assert len(windows) <= 8


def test_windows_reach_all_sides():
    """Of a picture whose pixels say where they are, in its green and blue."""
    image = tissue(1000, 1000) // 4
    image[..., 1] += (np.arange(1000) // 10)[:, None].astype(np.uint8)
    image[..., 2] += (np.arange(1000) // 10)[None].astype(np.uint8)
    means = np.array([window.mean(axis=(0, 1)) for window in sample(image, most=16)])
    assert (means[:, 1:].max(axis=0) - means[:, 1:].min(axis=0) > 75).all()


@pytest.mark.parametrize(
    ("bad", "state"),
    [((0, 0), "caution"), ((500, 500), "caution"), ((1300, 2048), "not for use")],
)
def test_a_slide_is_as_good_as_nine_in_ten_of_its_windows(tmp_path, bad, state):
    """The model carries no statistics, so its best is caution; overexposure makes a window unfit."""
    assessor = TrustAssessor.from_checkpoint(save_small_model(tmp_path / "model.pt"))
    image = tissue(4096, 2048)
    overexposed = image[: bad[0], : bad[1]]
    overexposed[overexposed > 150] = 255
    report = assess_picture(assessor, Picture(ArraySource(image)), 0.925)
    assert report.state == state
    assert any("overexpo" in reason or "expose less" in reason for reason in report.reasons) == (state == "not for use")
    counts = [report.measures[f"windows {name}"] for name in ("trusted", "caution", "not for use")]
    assert 10 <= sum(counts) <= 16
    assert (counts[2] > 0) == (bad[0] > 0)
    assert any(f"{sum(counts):.0f} windows" in reason for reason in report.reasons)


def test_a_picture_of_a_phone_is_judged_whole(tmp_path):
    assessor = TrustAssessor.from_checkpoint(save_small_model(tmp_path / "model.pt"))
    image = tissue(300, 400)
    found, expected = assess_picture(assessor, Picture(ArraySource(image)), None), assessor.assess(image)
    assert (found.state, found.reasons, found.measures) == (expected.state, expected.reasons, expected.measures)
