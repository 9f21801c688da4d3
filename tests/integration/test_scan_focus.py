"""A scan's tiles are in focus although the focus drive has play, as the instrument file says how to come to a z."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.app.acquisition.acquiring import open_writer, run_scan, scan_runner
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.core.config import InstrumentConfig
from mobilescope.data.session import Session
from mobilescope.plans.job import JobPlan
from mobilescope.twin.truth import TruthLog

FRAME_PX = 160


def scanned(folder, scan, **benchtop):
    """Scan a smear on a twin whose focus drive has 1.6 µm of play; return the session and each frame's defocus."""
    config = InstrumentConfig.model_validate({
        "benchtop": {"frame_rows": FRAME_PX, "frame_columns": FRAME_PX} | benchtop,
        "twin": {
            "slides": {"s": {"specimen": "blood", "seed": 4}},
            "stage": {"z_backlash_um": 1.6, "z_repeatability_um": 0.0},
            "surface": {"tilt_um_per_mm": 5.0, "waviness_um": 0.0},
        },
    })
    plan = JobPlan.model_validate({"slides": [{"name": "s", "role": "training", "scan": scan}]})
    truth = TruthLog()
    path = folder / "s.h5"
    with (
        build_instruments(config, source="test", truth=truth) as instruments,
        open_writer(path, plan, instruments) as writer,
    ):
        run_scan(scan_runner(writer, plan, instruments), writer, instruments)
    return path, np.array([tile.defocus_um for tile in truth.tiles if tile.whole and tile.slide == "s"])


@pytest.mark.parametrize("approach", [{}, {"focus_approach_um": -2.0}], ids=["usual", "from above"])
def test_tiles_between_two_searches_are_in_focus_on_a_drive_with_play(tmp_path, approach):
    path, defocus_um = scanned(tmp_path, {"rows": 3, "columns": 4, "focus": {"every": 2}}, **approach)
    assert len(defocus_um) == 12
    assert np.abs(defocus_um[4:]).max() < 0.49
    with Session.open(path) as session:
        assert {tile.focus.verdict for tile in session.tiles("s")} == {"focused", "predicted"}


def test_the_planes_of_a_stack_are_as_far_apart_as_the_plan_says(tmp_path):
    _, defocus_um = scanned(tmp_path, {"rows": 1, "columns": 2, "z": {"planes": 3, "step_um": 0.6}})
    assert np.diff(defocus_um.reshape(2, 3)) == pytest.approx(0.6, abs=0.01)
    assert np.abs(defocus_um[1::3]).max() < 0.49


def test_a_plan_can_ask_for_sweeps(tmp_path):
    path, defocus = scanned(tmp_path, {"rows": 1, "columns": 2, "focus": {"sweep": True, "first_half_range_um": 9.0}})
    with Session.open(path) as session:
        first, second = session.tiles("s")
    # Micro-Manager's demo drive arrives at once, so that each depth of field of the 18 µm is a stop.
    assert first.focus.images_taken > 14
    assert (first.focus.verdict, second.focus.verdict) == ("focused", "focused")
    assert np.abs(defocus).max() < 0.6
