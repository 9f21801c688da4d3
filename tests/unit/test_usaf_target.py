"""The twin's USAF 1951 target: ISO frequencies, bars where their geometry says, sampled by area."""

from __future__ import annotations

import pytest

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens import UsafTarget


def test_usaf_elements_have_iso_frequencies() -> None:
    target = UsafTarget()
    assert len(target.elements) == 6 * 6 * 2
    assert target.element(4, 1, "x").line_pairs_per_mm == pytest.approx(16)
    assert target.element(7, 6, "y").line_pairs_per_mm == pytest.approx(228.07, abs=0.01)
    element = target.element(9, 3, "x")
    assert element.pitch_um == pytest.approx(1000 / 645.08, abs=1e-4)
    assert [bar.height_um / element.pitch_um for bar in element.bars()] == pytest.approx([0.5] * 3)
    assert element.bars()[0].width_um == pytest.approx(2.5 * element.pitch_um)


def test_usaf_elements_do_not_touch() -> None:
    elements = UsafTarget().elements
    for index, one in enumerate(elements):
        grown = one.region.grown(0.9 * one.bar_width_um)
        assert all(grown.intersection(other.region) is None for other in elements[index + 1 :])


def test_finest_usaf_groups_surround_the_origin() -> None:
    fine = [element for element in UsafTarget().elements if element.group >= 8]
    assert max(max(abs(e.x_um), abs(e.y_um)) for e in fine) < 40


@pytest.mark.parametrize("bars_along", ["x", "y"])
def test_usaf_bars_are_dark_where_their_geometry_says(bars_along: str) -> None:
    target = UsafTarget()
    element = target.element(8, 2, bars_along)
    for bar in element.bars():
        assert target.transmittance(PixelGrid.over(bar, element.bar_width_um / 8)).max() < 0.01
    assert target.transmittance(PixelGrid.over(element.region, 0.1)).mean() == pytest.approx(1 - 0.6 * 0.999, abs=0.02)


def test_usaf_chrome_is_area_sampled() -> None:
    bar = UsafTarget().element(9, 6, "y").bars()[1]
    pixel = RegionUm(bar.x_um - 0.3, bar.y_um + 0.1, 1.0, 1.0)
    assert bar.width_um < 0.7
    light = UsafTarget().transmittance(PixelGrid.over(pixel, 1.0))
    assert light[0, 0, 1] == pytest.approx(1 - 0.999 * bar.width_um, abs=1e-5)


def test_unknown_usaf_element_is_refused() -> None:
    with pytest.raises(ValueError, match="group 3"):
        UsafTarget().element(3, 1, "x")
