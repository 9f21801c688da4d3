"""Ratios of lattices, and where their edges meet."""

from __future__ import annotations

import pytest

from mobilescope.core.errors import InputImageError, UserError
from mobilescope.core.factor import GridFactor


@pytest.mark.parametrize(
    ("value", "p", "q", "even_step"),
    [(1, 1, 1, 2), (1.5, 3, 2, 2), (2, 2, 1, 2), (2.5, 5, 2, 2), (3, 3, 1, 2), (4 / 3, 4, 3, 6), (2.25, 9, 4, 4)],
)
def test_a_number_is_read_as_a_ratio_of_small_whole_numbers(value, p, q, even_step):
    factor = GridFactor.of(value)
    assert (factor.p, factor.q, factor.step_px, factor.even_step_px) == (p, q, q, even_step)
    assert factor.value == pytest.approx(value)


@pytest.mark.parametrize("value", [0, -1, 0.99, 16.5, 3.14159, 2 + 1 / 9, float("nan"), float("inf")])
def test_other_numbers_are_refused(value):
    with pytest.raises(UserError, match="factor"):
        GridFactor.of(value)


def test_fine_pixels_on_coarse_ones_are_whole_or_refused():
    factor = GridFactor.of(2.5)
    assert [factor.fine_px(n) for n in (0, 2, 60)] == [0, 5, 150]
    assert factor.fine_slice(4, 64) == slice(10, 160)
    with pytest.raises(InputImageError, match=r"61 px at a factor of 2\.5.*even"):
        factor.fine_px(61)
    with pytest.raises(InputImageError, match="even"):
        factor.fine_slice(0, 3)
    assert GridFactor.of(3).fine_slice(1, 4) == slice(3, 12)
