"""What is expected of a tile's focus follows the slide's tilt, and stays near what was found where that says little."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.acquire.focus_keeping import FocusKeeper
from mobilescope.plans.scan_plans import FocusPlan


def keeper(points):
    kept = FocusKeeper(FocusPlan())
    for point in points:
        kept.add(*point)
    return kept


def test_the_tilt_of_a_slide_is_followed_over_a_long_way():
    def height_um(x_um, y_um):
        return 3.0 + 0.004 * x_um - 0.002 * y_um

    kept = keeper((x, y, height_um(x, y)) for x in (0, 1000, 2000) for y in (0, 1000))
    assert kept.predict(3000, 2000) == pytest.approx(height_um(3000, 2000), abs=0.2)


def test_noise_of_points_near_each_other_leads_nowhere():
    rng = np.random.default_rng(3)
    kept = keeper((x, y, 5 + rng.normal(0, 0.3)) for x in (0, 40, 80) for y in (0, 40))
    assert abs(kept.predict(800, -600) - 5) < 4


def test_points_in_a_line_say_nothing_across_it():
    kept = keeper((x, 0.0, 2.0 + 0.005 * x) for x in range(0, 2000, 250))
    assert kept.predict(1000, 900) == pytest.approx(kept.predict(1000, 0))
    assert kept.predict(2250, 0) == pytest.approx(2.0 + 0.005 * 2250, abs=0.2)


def test_before_the_first_focus_nothing_is_expected():
    assert keeper(()).predict(0, 0) is None
    assert keeper([(5, 5, 7.0)]).predict(900, 900) == 7
