"""The link between two stages' frames: through pointed places, better with each pair, honest about what it knows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobilescope.core.errors import UserError
from mobilescope.core.geometry import Affine
from mobilescope.imaging.frame_link import PAIRED_UM, FrameLink, LinkPoint

TRUE = Affine.similarity(1.03, 78.0, 5200.0, -3100.0)
MIRRORED = Affine(np.array([[1.0, 0.0, 300.0], [0.0, -1.0, 40.0]]))
CORNERS = ((0.0, 0.0), (1500.0, 100.0), (200.0, 1200.0))


def seen(frame, places, noise_um=0.0, seed=0):
    generator = np.random.default_rng(seed)
    at = frame.apply(places) + generator.normal(0, noise_um, (len(places), 2)) if noise_um else frame.apply(places)
    return tuple(LinkPoint(tuple(place), tuple(there), 25.0) for place, there in zip(places, at, strict=True))


@pytest.mark.parametrize("frame", [TRUE, MIRRORED])
def test_three_places_link_frames_that_are_turned_shifted_stretched_or_mirrored(frame):
    link = FrameLink.through(seen(frame, CORNERS))
    np.testing.assert_allclose(link.to_benchtop.matrix, frame.matrix, atol=1e-6)
    assert link.residual_um == pytest.approx(0, abs=1e-6)
    assert link.mirrored == (frame is MIRRORED)
    np.testing.assert_allclose(link.on_phone(link.on_benchtop((37.0, -5.0))), (37.0, -5.0), atol=1e-6)


def test_the_residual_tells_how_well_places_agree_and_contradictions_are_refused():
    link = FrameLink.through(seen(TRUE, CORNERS, noise_um=15, seed=2))
    assert 2 < link.residual_um < 40
    wrong = list(seen(TRUE, CORNERS))
    wrong[1] = LinkPoint(wrong[1].phone_um, (wrong[1].benchtop_um[0] + 1000, wrong[1].benchtop_um[1]), 25.0)
    with pytest.raises(UserError, match="contradict each other"):
        FrameLink.through(tuple(wrong))


@pytest.mark.parametrize(("points", "words"), [
    (seen(TRUE, CORNERS[:2]), "needs 3 places"),
    (seen(TRUE, ((0.0, 0.0), (10.0, 10.0), (20.0, 20.0))), "on one line"),
    (seen(Affine.similarity(1000.0, 0.0), CORNERS), "1e\\+03 times as far"),
])
def test_places_that_make_no_link_are_refused(points, words):
    with pytest.raises(UserError, match=words):
        FrameLink.through(points)


def test_each_pair_makes_the_link_better_and_surer():
    link = FrameLink.through(seen(TRUE, CORNERS, noise_um=60, seed=5))
    generator = np.random.default_rng(1)
    far = (1200.0, 1100.0)
    errors, sigmas = [], []
    for _ in range(30):
        errors.append(math.dist(link.on_benchtop(far), TRUE.apply(far)))
        sigmas.append(link.sigma_um(far))
        place = tuple(generator.uniform(0, 1200, 2))
        there = TRUE.apply(place) + generator.normal(0, PAIRED_UM, 2)
        link = link.improved(LinkPoint(place, tuple(there)))
    assert errors[-1] < 8 < errors[0]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] < 1.3 * PAIRED_UM


def test_what_a_link_says_of_its_own_error_holds():
    within = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        link = FrameLink.through(seen(TRUE, CORNERS, noise_um=25, seed=seed))
        for place in generator.uniform(0, 1200, (4, 2)):
            link = link.improved(LinkPoint(tuple(place), tuple(TRUE.apply(place) + generator.normal(0, PAIRED_UM, 2))))
        at = (600.0, 500.0)
        there = TRUE.apply(at) + generator.normal(0, PAIRED_UM, 2)
        within.append(abs(link.on_benchtop(at)[0] - there[0]) < 3 * link.sigma_um(at))
    assert np.mean(within) > 0.95


def test_a_link_that_nobody_measured_follows_the_first_pair_and_keeps_its_direction():
    link = FrameLink.nominal((100.0, 100.0))
    assert math.isnan(link.residual_um)
    shifted = link.improved(LinkPoint((100.0, 100.0), (120.0, 90.0)))
    assert shifted.turn_deg == pytest.approx(0, abs=0.01)
    assert 10 < shifted.on_benchtop((100.0, 100.0))[0] - 100 <= 20
    assert shifted.sigma_um((100.0, 100.0)) < link.sigma_um((100.0, 100.0))


def test_a_slide_that_was_put_back_loosens_the_link():
    link = FrameLink.through(seen(TRUE, CORNERS))
    assert link.loosened().sigma_um((500.0, 500.0)) > 60
    moved = TRUE.apply((500.0, 500.0)) + np.array([80.0, -50.0])
    again = link.loosened().improved(LinkPoint((500.0, 500.0), tuple(moved)))
    assert math.dist(again.on_benchtop((500.0, 500.0)), moved) < 5
