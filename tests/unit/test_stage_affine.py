"""The affine between stage and image is found from moves, with an honest error."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.imaging.stage_affine import fit_stage_affine

MOVES = [(100.0, 0.0), (0.0, 100.0), (-100.0, 0.0), (0.0, -100.0), (70.0, 70.0), (-70.0, 70.0)]


def matrix(pixel_um, rotation_deg, mirrored, shear=0.0):
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.array([[1, shear], [0, 1]]) @ np.diag([1, -1 if mirrored else 1]) / pixel_um


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation_deg", [0, 3.5, -90, 178])
def test_rotation_and_mirror_are_found(rotation_deg, mirrored):
    true = matrix(0.37, rotation_deg, mirrored)
    found = fit_stage_affine(MOVES, np.array(MOVES) @ true.T + (3.0, -2.0))
    assert found.pixel_size_um == pytest.approx(0.37)
    assert found.rotation_deg == pytest.approx(rotation_deg)
    assert found.mirrored is mirrored
    assert found.residual_px == pytest.approx(0, abs=1e-9)
    assert abs(np.linalg.det(found.device_to_stage)) == pytest.approx(1)


def test_shear_is_told():
    found = fit_stage_affine(MOVES, np.array(MOVES) @ matrix(0.5, 10, False, shear=0.02).T)
    assert found.shear_deg == pytest.approx(np.degrees(0.02), rel=0.01)


def test_the_standard_error_is_what_noise_makes_of_the_pixel_size():
    generator, true = np.random.default_rng(0), matrix(0.4, 5, True)
    fits = [
        fit_stage_affine(MOVES, np.array(MOVES) @ true.T + generator.normal(0, 1.5, (len(MOVES), 2)))
        for _ in range(600)
    ]
    spread = np.std([fit.pixel_size_um for fit in fits]) / 0.4
    told = np.sqrt(np.mean([fit.pixel_size_error**2 for fit in fits]))
    assert told == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(
    ("moves", "shifts", "why"),
    [
        (MOVES[:3], MOVES[:3], "four or more"),
        ([(1.0, 2.0), (2.0, 4.0), (-1.0, -2.0), (3.0, 6.0)], MOVES[:4], "on one line"),
        (MOVES, [(x + y, 2 * (x + y)) for x, y in MOVES], "does not follow both axes"),
    ],
    ids=["too few", "on a line", "one axis"],
)
def test_what_can_not_be_fitted_is_refused(moves, shifts, why):
    with pytest.raises(ValueError, match=why):
        fit_stage_affine(moves, shifts)
