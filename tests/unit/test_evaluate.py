"""Evaluation is blind, compares every method in one place, and never shows more than the window."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import CancelledError, TrainingError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.imaging.colour import to_float
from mobilescope.imaging.metrics import score_image
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.baselines import fit_colour_matrix, upsample_bicubic
from mobilescope.learn.evaluate import METHODS, evaluate, picture_fields
from mobilescope.learn.networks import NetworkConfig
from mobilescope.learn.patches import load_fields

CUTOFF_UM = 1.74


def card(*slides):
    return ModelCard(NetworkConfig(), 0.925, 0.37, "a twin", "phone", {"slides": {"training": list(slides)}})


def enlarge(image):
    """Stand in for a network: the bicubic enlargement."""
    rows, columns = image.shape[:2]
    return upsample_bicubic(image, rows * 5 // 2, columns * 5 // 2)


def perfect(image):
    """Stand in for a network that has learnt the colours too."""
    return 0.15 + 0.7 * enlarge(image)[..., ::-1]


@pytest.fixture
def pairs(write_pairs):
    return write_pairs(("a", "training"), ("b", "validation"), ("c", "blind"), ("c", "blind"), ("d", "blind"))


def test_the_colour_matrix_of_the_training_pairs_is_recovered(pairs):
    matrix = fit_colour_matrix(load_fields(pairs, "training", windowed=False)).matrix
    # The fixture's label is 0.15 + 0.7 times the input with its colours reversed.
    np.testing.assert_allclose(matrix[:, :3], 0.7 * np.eye(3)[::-1], atol=0.01)
    np.testing.assert_allclose(matrix[:, 3], 0.15, atol=0.01)


def test_the_colour_matrix_sees_training_pairs_alone(write_pairs):
    others = {"accepted": False, "reason": "bad"}
    first = write_pairs(("a", "training"), ("c", "blind"), name="one.h5")
    second = write_pairs(("a", "training"), ("c", "training", others), ("c", "blind"), name="two.h5")
    matrices = [fit_colour_matrix(load_fields(path, "training", windowed=False)).matrix for path in (first, second)]
    np.testing.assert_array_equal(*matrices)
    with pytest.raises(TrainingError, match="no training pairs"):
        fit_colour_matrix([])


def test_every_blind_field_is_scored_by_every_method(pairs):
    seen = []
    evaluation = evaluate(pairs, perfect, card("a"), cutoff_um=CUTOFF_UM, on_progress=seen.append)
    assert [(field.slide, field.capture) for field in evaluation.fields] == [("c", 2), ("c", 3), ("d", 4)]
    assert evaluation.slides == ("c", "d")
    assert evaluation.trained_on == ()
    assert evaluation.output_pixel_um == 0.37
    assert [(p.done, p.total) for p in seen] == [(1, 3), (2, 3), (3, 3)]
    for field in evaluation.fields:
        assert tuple(field.scores) == evaluation.methods == ("bicubic", "colour", "rl", "network")
        assert set(field.mean_lab) == {*field.scores, "benchtop"}
        assert field.scores["bicubic"].cie94 > 10
        assert max(field.scores[method].cie94 for method in ("colour", "network")) < 1
        assert min(field.scores[method].ssim for method in ("colour", "network")) > 0.98


def test_a_score_is_that_of_the_picture_against_the_label(pairs):
    evaluation = evaluate(pairs, enlarge, card(), cutoff_um=CUTOFF_UM)
    field = load_fields(pairs, "blind", windowed=True)[0]
    expected = score_image(upsample_bicubic(field.input, 120, 120), to_float(field.label), 0.37, CUTOFF_UM)
    assert repr(evaluation.fields[0].scores["bicubic"]) == repr(expected)
    # The network here is the bicubic enlargement itself.
    assert evaluation.fields[0].scores["network"].ssim == pytest.approx(expected.ssim, abs=1e-6)
    assert evaluation.gain("bicubic", "ssim").mean == pytest.approx(0, abs=1e-6)


def test_gains_are_paired_by_field(pairs):
    evaluation = evaluate(pairs, perfect, card(), cutoff_um=CUTOFF_UM)
    network, bicubic = (evaluation.values(method, "ssim") for method in ("network", "bicubic"))
    gain = evaluation.gain("bicubic", "ssim")
    assert gain.mean == pytest.approx(np.mean(network - bicubic))
    assert gain.low > 0
    assert gain.count == evaluation.interval("network", "ssim").count == 3


def test_a_slide_that_was_trained_on_is_refused(pairs):
    with pytest.raises(UserError, match=r"trained on d.*force") as refused:
        evaluate(pairs, enlarge, card("a", "d"), cutoff_um=CUTOFF_UM)
    assert refused.value.exit_status == 2


def test_a_forced_evaluation_names_the_slides(pairs):
    evaluation = evaluate(pairs, enlarge, card("a", "d"), cutoff_um=CUTOFF_UM, force=True)
    assert evaluation.trained_on == ("d",)
    assert len(evaluation.fields) == 3


def test_another_role_can_be_evaluated(pairs):
    evaluation = evaluate(pairs, enlarge, card("a"), cutoff_um=CUTOFF_UM, role="validation")
    assert evaluation.slides == ("b",)
    with pytest.raises(UserError, match="trained on a"):
        evaluate(pairs, enlarge, card("a"), cutoff_um=CUTOFF_UM, role="training")


@pytest.mark.parametrize("window", [(4, 40, 8, 48), (0, 20, 0, 22), None])
def test_pictures_are_cut_to_the_window_after_enhancement(write_pairs, window):
    path = write_pairs(("a", "training"), ("c", "blind", {"window": window}))
    shapes = []

    def enhance(image):
        shapes.append(image.shape)
        assert image.dtype == np.float32
        return enlarge(image)

    pictures, = picture_fields(path, enhance)
    top, bottom, left, right = window or (0, 48, 0, 48)
    cut = np.s_[top * 5 // 2 : bottom * 5 // 2, left * 5 // 2 : right * 5 // 2]
    field, = load_fields(path, "blind", windowed=False)
    # The network sees the whole field; its picture is cut afterwards.
    assert shapes == [(48, 48, 3)]
    np.testing.assert_array_equal(pictures.label, to_float(field.label)[cut])
    expected = upsample_bicubic(field.input, 120, 120)[cut]
    np.testing.assert_array_equal(pictures.by_method["bicubic"], expected)
    np.testing.assert_allclose(pictures.by_method["network"], expected, atol=1e-6)
    assert {picture.shape for picture in pictures.by_method.values()} == {pictures.label.shape}


def test_what_lies_outside_the_window_does_not_count(write_pairs):
    path = write_pairs(("a", "training"), ("c", "blind", {"window": (0, 24, 0, 24)}))

    def spoilt_outside(image):
        enhanced = enlarge(image)
        enhanced[60:], enhanced[:, 60:] = 0, 1
        return enhanced

    clean, spoilt = (evaluate(path, how, card(), cutoff_um=CUTOFF_UM) for how in (enlarge, spoilt_outside))
    # By what they print, since a noise that can't be measured is NaN.
    assert repr(clean.fields) == repr(spoilt.fields)


def test_refused_and_empty_pairs_are_left_out(write_pairs):
    path = write_pairs(
        ("a", "training"), ("c", "blind"), ("c", "blind", {"accepted": False, "reason": "bad"}),
        ("d", "blind", {"window": (6, 6, 0, 48)}),
    )
    evaluation = evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM)
    assert [(field.slide, field.capture) for field in evaluation.fields] == [("c", 1)]


def test_single_fields_can_be_pictured(pairs):
    found = [(p.slide, p.capture) for p in picture_fields(pairs, enlarge, only={("c", 3), ("d", 4), ("d", 99)})]
    assert found == [("c", 3), ("d", 4)]


def test_a_file_without_blind_fields_is_told(write_pairs):
    path = write_pairs(("a", "training"), ("b", "validation"))
    with pytest.raises(UserError, match=r"job\.pairs\.h5.*'blind'"):
        evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM)


def test_an_evaluation_can_be_stopped(pairs):
    stop = StopToken()
    with pytest.raises(CancelledError, match="evaluation"):
        evaluate(pairs, enlarge, card(), cutoff_um=CUTOFF_UM, stop=stop, on_progress=lambda _: stop.request())


def test_bicubic_keeps_centres_and_range():
    ramp = np.tile(np.linspace(0.1, 0.9, 40, dtype=np.float32)[:, None, None], (1, 30, 3))
    enlarged = upsample_bicubic(ramp, 100, 75)
    # x + 0.5 = (u + 0.5) / 2.5, so a ramp stays the same ramp on the finer lattice.
    centres = (np.arange(100) + 0.5) / 2.5 - 0.5
    expected = 0.1 + 0.8 * centres / 39
    # OpenCV's cubic kernel bends a ramp by a tenth of an output pixel; half a pixel would be 0.004.
    np.testing.assert_allclose(enlarged[10:-10, 5, 0], expected[10:-10], atol=0.001)
    step = np.zeros((20, 20, 3), np.uint8)
    step[:, 10:] = 255
    assert upsample_bicubic(step, 50, 50).min() == 0
    assert upsample_bicubic(step, 50, 50).max() == 1
