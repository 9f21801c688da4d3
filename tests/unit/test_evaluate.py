"""Evaluation is blind, compares every method in one place, and never shows more than the window."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from mobilescope.core.errors import CancelledError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.imaging.colour import luminance, srgb_encode, to_float, to_uint8
from mobilescope.imaging.metrics import score_image, ssim
from mobilescope.learn.baselines import TrainingFields, fit_colour_matrix, fit_deblurring, upsample_bicubic
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.evaluate import METHODS, evaluate, picture_fields, possible_methods
from mobilescope.learn.jpeg_scores import score_jpeg
from mobilescope.learn.networks import NetworkConfig
from mobilescope.learn.patches import FieldPair, load_fields

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
    with pytest.raises(UserError, match="no training pairs"):
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


def test_a_slide_of_the_same_name_in_another_session_is_blind(pairs, write_pairs):
    other = write_pairs(("d", "training"), name="other.h5", session_digest="cd" * 32)

    def trained_on(digest, session):
        source = {"sha256": digest, "slides": {"training": ["d"]}}
        if session:
            source["session_digest"] = session
        return ModelCard(NetworkConfig(), 0.925, 0.37, "a twin", "phone", {
            "sources": [source], "slides": {"training": ["d"]}, "pairs_sha256": digest,
        })

    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (pairs, other)}
    evaluation = evaluate(pairs, enlarge, trained_on(digests[other], "cd" * 32), cutoff_um=CUTOFF_UM)
    assert evaluation.slides == ("c", "d")
    assert evaluation.trained_on == ()
    # The session that these pairs are of, whatever became of the pair file; the very pair file; and nobody knows.
    for seen in (
        trained_on(digests[other], "ab" * 32), trained_on(digests[pairs], None), trained_on(digests[other], None),
    ):
        with pytest.raises(UserError, match="trained on d"):
            evaluate(pairs, enlarge, seen, cutoff_um=CUTOFF_UM)


def test_a_slide_that_no_source_explains_is_taken_for_seen(pairs):
    training = {
        "sources": [{"sha256": "cd" * 32, "session_digest": "cd" * 32, "slides": {"training": ["a"]}}],
        "slides": {"training": ["a", "d"]},
    }
    model = ModelCard(NetworkConfig(), 0.925, 0.37, "a twin", "phone", training)
    with pytest.raises(UserError, match="trained on d"):
        evaluate(pairs, enlarge, model, cutoff_um=CUTOFF_UM)


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


def shifted_map(size, shift_px, wave_px=0.0):
    """Where each input pixel lies in its capture, (x, y): a shift, and a slow wave that no affine map follows."""
    row, column = np.mgrid[:size, :size].astype(np.float32)
    wave = wave_px * np.sin(column * 2 * np.pi / 16)
    return np.stack([column + shift_px + wave, row + 2 * shift_px], axis=-1).astype(np.float32)


def test_the_raw_picture_is_the_capture_without_the_elastic_part(write_pairs):
    path = write_pairs(("a", "training"), ("c", "blind", {"displacement_map": shifted_map(48, 5, 0.8)}))
    field, = load_fields(path, "blind", windowed=False)
    capture = np.full((70, 70, 3), 30000, np.uint16)
    capture[10:58, 5:53] = field.input
    asked = []

    def develop(record):
        asked.append((record.slide, record.capture))
        return capture

    pictures, = picture_fields(path, enlarge, develop=develop)
    assert asked == [("c", 1)]
    assert tuple(pictures.by_method) == METHODS
    # The wave has no affine part, so the raw picture is the input itself where the shift alone puts it.
    inner = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(pictures.by_method["raw"][inner], pictures.by_method["bicubic"][inner], atol=0.01)


def test_the_raw_picture_needs_captures_or_untouched_inputs(write_pairs):
    phone = write_pairs(("a", "training"), ("c", "blind", {"displacement_map": shifted_map(48, 5)}))
    assert possible_methods(phone) == METHODS[1:]
    benchtop = write_pairs(
        ("a", "training"), ("c", "blind", {"displacement_map": 4 * shifted_map(48, 5)}), warp="benchtop", name="b.h5"
    )
    evaluation = evaluate(benchtop, enlarge, card(), cutoff_um=CUTOFF_UM)
    assert evaluation.methods == METHODS
    # An affine map is followed whole, so nothing tells the raw picture from the registered one.
    raw, bicubic = (evaluation.interval(method, "ssim").mean for method in ("raw", "bicubic"))
    assert raw == pytest.approx(bicubic, abs=1e-3)


def test_without_training_pairs_what_needs_fitting_is_left_out(write_pairs):
    path = write_pairs(("c", "blind"), ("c", "blind"))
    assert evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM).methods == ("bicubic", "network")


def test_pairs_of_another_factor_are_cut_by_theirs(write_pairs):
    path = write_pairs(("a", "training"), ("c", "blind", {"window": (4, 40, 8, 48)}), factor=2.0)
    pictures, = picture_fields(path, lambda image: upsample_bicubic(image, 96, 96))
    assert {picture.shape for picture in pictures.by_method.values()} == {(72, 80, 3)}
    with pytest.raises(UserError, match=r"0\.925 µm.*0\.74 µm"):
        evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM)
    with pytest.raises(UserError, match=r"120×120 px.*96×96.*own factor"):
        evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM, force=True)


def test_pairs_of_another_sampling_are_refused_unless_forced(write_pairs):
    path = write_pairs(("a", "training"), ("c", "blind"), label_pixel_um=0.3)
    with pytest.raises(UserError, match=r"0\.925 µm.*0\.75 µm.*or force"):
        evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM)
    forced = evaluate(path, enlarge, card(), cutoff_um=CUTOFF_UM, force=True)
    assert forced.missampled
    assert forced.pixel_ratio == pytest.approx(0.75 / 0.925)
    assert not evaluate(write_pairs(("c", "blind"), name="o.h5"), enlarge, card(), cutoff_um=CUTOFF_UM).missampled


def test_the_deblurring_finds_the_width_of_the_blur():
    generator = np.random.default_rng(0)
    fields = []
    for number in range(2):
        light = np.full((250, 250, 3), 0.8, np.float32)
        for row, column, radius in generator.uniform((0, 0, 4), (250, 250, 14), (90, 3)):
            cv2.circle(light, (int(column), int(row)), int(radius), tuple(generator.uniform(0.1, 0.6, 3).tolist()), -1)
        blurred = cv2.GaussianBlur(light, (0, 0), 0.8 * 2.5)
        low = cv2.resize(blurred, (100, 100), interpolation=cv2.INTER_AREA)
        fields.append(FieldPair(
            "a", number, np.round(65535 * srgb_encode(low)).astype(np.uint16), to_uint8(srgb_encode(light))
        ))
    deblurring = fit_deblurring(fields)
    assert deblurring.sigma_px in (0.65, 0.8, 1.0)
    label = luminance(to_float(fields[0].label))
    bicubic = luminance(fit_colour_matrix(fields).apply(upsample_bicubic(fields[0].input, 250, 250)))
    assert ssim(luminance(deblurring(fields[0].input, 250, 250)), label) > ssim(bicubic, label) + 0.02
    with pytest.raises(UserError, match="no training pairs"):
        fit_deblurring([])


def test_of_many_training_pairs_a_part_is_read(write_pairs):
    refused = ("a", "training", {"accepted": False, "reason": "bad"})
    path = write_pairs(*[("a", "training")] * 5, refused, ("c", "blind"))
    fields = TrainingFields(path)
    assert [field.capture for field in fields] == [0, 1, 2, 3, 4]
    assert [field.capture for field in fields[1::2]] == [1, 3]
    assert fields[-1].capture == 4
    many = TrainingFields(write_pairs(*[("a", "training")] * 150, size=12, name="many.h5"))
    assert len(many) == 75
    assert many[74].capture == 148


def test_colours_are_compared_with_the_benchtops(pairs):
    evaluation = evaluate(pairs, perfect, card(), cutoff_um=CUTOFF_UM)
    network, bicubic = evaluation.colour("network"), evaluation.colour("bicubic")
    assert network.offset < 0.2 < 1 < bicubic.offset
    assert network.spread < 0.2 < 0.5 < bicubic.spread


def test_jpeg_costs_more_the_smaller_it_gets(pairs):
    scores = score_jpeg(pairs, perfect, ratios=(1.0, 4.0, 30.0))
    assert scores.ratios == (1.0, 4.0, 30.0)
    assert [field.capture for field in scores.fields if field.wanted == 4] == [2, 3, 4]
    evaluation = evaluate(pairs, perfect, card(), cutoff_um=CUTOFF_UM)
    for method in ("bicubic", "network"):
        for metric in ("ssim", "cie94"):
            lossless = scores.interval(1.0, f"{metric}_{method}").mean
            assert lossless == pytest.approx(evaluation.interval(method, metric).mean, abs=1e-6)
    ssims = [scores.interval(ratio, "ssim_network").mean for ratio in scores.ratios]
    assert ssims == sorted(ssims, reverse=True)
    sizes = [scores.interval(ratio, "size_bytes").mean for ratio in scores.ratios]
    assert sizes[0] == 48 * 48 * 3
    assert sizes == sorted(sizes, reverse=True)
    assert all(field.quality is None for field in scores.fields if field.wanted == 1)
    stop = StopToken()
    with pytest.raises(CancelledError, match="JPEG"):
        score_jpeg(pairs, perfect, stop=stop, on_progress=lambda _: stop.request())


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
