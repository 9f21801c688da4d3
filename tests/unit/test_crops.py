"""The middle of a picture in four squares, as R18 cut it, or the largest there is."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.crops import central_crops


def test_r18_is_the_central_2048_in_four_and_its_area_is_the_papers():
    crops = central_crops((2684, 3576), "r18")
    assert [crop.shape for crop in crops] == [(1024, 1024)] * 4
    assert [crop.origin_px for crop in crops] == [(318, 764), (318, 1788), (1342, 764), (1342, 1788)]
    assert [crop.origin_px for crop in central_crops((2048, 2048), "r18")] == [
        (0, 0), (0, 1024), (1024, 0), (1024, 1024),
    ]
    assert sum(np.prod(crop.shape) for crop in crops) * 0.404**2 / 1e6 == pytest.approx(0.685, abs=0.001)


@pytest.mark.parametrize(("shape", "side"), [((256, 256), 128), ((255, 401), 126), ((1080, 1920), 540), ((4, 9), 2)])
def test_the_largest_square_is_cut_in_four_that_meet_and_lie_in_the_middle(shape, side):
    crops = central_crops(shape, "square")
    seen = np.zeros(shape, int)
    for crop in crops:
        assert crop.shape == (side, side)
        assert not any(start % 2 for start in crop.origin_px)
        seen[crop.part] += 1
    assert seen.max() == 1
    assert seen.sum() == 4 * side * side
    rows, columns = np.nonzero(seen)
    assert abs(rows.mean() - (shape[0] - 1) / 2) <= 1.5
    assert abs(columns.mean() - (shape[1] - 1) / 2) <= 1.5


def test_a_crop_knows_where_it_lies_on_the_slide():
    first, *_, last = central_crops((256, 512), "square")
    assert first.offset_um((256, 512), 0.925) == (-64 * 0.925, -64 * 0.925)
    assert last.offset_um((256, 512), 0.925) == (64 * 0.925, 64 * 0.925)
    (whole,) = central_crops((255, 511), "whole")
    assert (whole.shape, whole.offset_um((255, 511), 0.925)) == ((255, 511), (0, 0))


@pytest.mark.parametrize(("shape", "preset"), [((2047, 4000), "r18"), ((3, 100), "square")])
def test_a_picture_that_is_too_small_is_refused(shape, preset):
    with pytest.raises(InputImageError, match=f"{shape[0]}x{shape[1]}"):
        central_crops(shape, preset)


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputImageError, match="r18"):
        central_crops((100, 100), "golden")
