"""A scale bar is round, fits, and is as long as it says."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.imaging.scale_bar import scale_bar


@pytest.mark.parametrize(
    ("width_um", "text"),
    [(111.0, "20 µm"), (80.0, "20 µm"), (79.0, "10 µm"), (200.0, "50 µm"), (3.0, "0.5 µm"), (9250.0, "2 mm"),
     (4000.0, "1 mm"), (0.6, "0.1 µm")],
)
def test_the_longest_round_bar_that_fits_a_quarter(width_um, text):
    assert str(scale_bar(width_um)) == text


def test_it_always_fits_and_is_never_next_to_nothing():
    for width_um in np.geomspace(0.5, 50_000, 400):
        bar = scale_bar(float(width_um))
        assert 0.1 - 1e-9 <= bar.share <= 0.25 + 1e-9
        assert bar.share * width_um == pytest.approx(bar.length_um)
