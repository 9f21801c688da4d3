"""Each measure that is out of its range gives the state and the reason that a technician can act on."""

from __future__ import annotations

import json
import math

import pytest

from mobilescope.enhance.verdict import LEVELS, Limits, ModelFacts, judge

MODEL = ModelFacts(stain="blood", input_pixel_um=0.925, has_statistics=True)
GOOD = {
    "specimen_share": 0.9, "white_share": 0.0, "black_share": 0.0, "colour_level": 0.5, "network_level": 0.5,
    "detail_level": 0.4, "blur_level": 0.1, "sampling_level": 0.0, "blur_px": 0.0, "sampled_um": 0.925,
    "detail_explained": 0.0,
}
BLURRED = {"blur_level": 4.0, "sampling_level": 2.0, "blur_px": 2.0, "detail_explained": 0.95, "detail_level": 2.5}
COARSE = {"blur_level": 0.2, "sampling_level": 1.5, "sampled_um": 1.16, "detail_explained": 0.9}


def verdict(changes, model=MODEL):
    return judge(GOOD | changes, model)


def test_a_picture_like_the_training_set_is_trusted_without_reasons():
    report = verdict({})
    assert (report.state, report.reasons) == ("trusted", ())
    assert report.measures["level"] == 0.5


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        (BLURRED, "not for use", "out of focus; refocus"),
        (BLURRED | {"blur_level": 1.2, "sampling_level": 1.0, "detail_level": 0.9}, "caution", "out of focus"),
        (BLURRED | {"detail_explained": 0.5, "colour_level": 2.5}, "not for use", "out of focus"),
        (BLURRED | {"detail_explained": 0.2, "colour_level": 2.5}, "not for use", "colours and structures"),
        (COARSE, "caution", "looks as if sampled at 1.2 µm, but the model was trained at 0.925 µm"),
        (COARSE | {"sampling_level": 2.1}, "not for use", "check the magnification"),
        (COARSE | {"pixel_size_ratio": 1.0}, "caution", "check the magnification"),
        # What looks finer, though its sampling is known to be right, is blurred.
        (COARSE | {"sampled_um": 0.77, "pixel_size_ratio": 1.0}, "caution", "refocus"),
        ({"pixel_size_ratio": 1.25}, "not for use", "sampled at 1.16 µm"),
        ({"pixel_size_ratio": 0.75}, "not for use", "sampled at 0.694 µm"),
        ({"pixel_size_ratio": 1.12}, "caution", "resample the picture"),
        ({"pixel_size_ratio": 1.05}, "trusted", ""),
        ({"colour_level": 1.3}, "caution", "colours are not those of the training set (blood); check light"),
        ({"colour_level": 3.0, "network_level": 2.2}, "not for use", "white balance"),
        ({"colour_level": 3.0, "detail_level": 1.2}, "not for use", "trained on this specimen and stain"),
        (COARSE | {"colour_level": 5.0}, "not for use", "trained on this specimen and stain"),
        ({"network_level": 1.3}, "caution", "structures are not those of the training set (blood)"),
        ({"detail_level": 2.3}, "not for use", "compression and sharpening"),
        ({"sampling_level": 1.3, "detail_explained": 0.3}, "caution", "structures"),
        ({"white_share": 0.1}, "caution", "10% of the picture is overexposed; expose less"),
        ({"white_share": 0.5}, "not for use", "overexposed"),
        ({"black_share": 0.9}, "not for use", "switch the light on"),
        ({"specimen_share": 0.0}, "caution", "too little specimen"),
        ({"disagreement_level": 1.5}, "caution", "when the picture is turned"),
    ],
)
def test_what_is_wrong_gives_a_state_and_a_remedy(changes, state, reason):
    report = verdict(changes)
    assert report.state == state
    assert reason in " | ".join(report.reasons)
    assert bool(report.reasons) == (state != "trusted")
    assert all(";" in each for each in report.reasons)


def test_blur_gives_one_reason_though_all_measures_suffer():
    report = verdict(BLURRED | {"colour_level": 3.0, "network_level": 5.0})
    assert report.state == "not for use"
    assert len(report.reasons) == 1


def test_a_told_pixel_size_is_not_told_twice():
    report = verdict(COARSE | {"pixel_size_ratio": 1.25})
    assert len(report.reasons) == 1


@pytest.mark.parametrize(
    ("changes", "reason"), [(BLURRED, "refocus"), ({"network_level": 5.0, "detail_level": 4.0}, "structures")]
)
def test_a_told_pixel_size_a_little_off_hides_nothing_worse(changes, reason):
    report = verdict(changes | {"pixel_size_ratio": 1.12})
    assert report.state == "not for use"
    assert reason in report.reasons[0]
    assert "sampled at 1.04 µm" in report.reasons[1]


def test_the_worst_reason_comes_first():
    report = verdict({"white_share": 0.1, "pixel_size_ratio": 2.0})
    assert report.state == "not for use"
    assert [("sampled" in each) for each in report.reasons] == [True, False]


def test_a_picture_too_small_and_a_model_without_statistics_are_told():
    small = judge({}, MODEL)
    assert small.state == "caution"
    assert "too small" in small.reasons[0]
    bare = judge({"specimen_share": 0.9}, ModelFacts("unknown", 0.925, has_statistics=False))
    assert bare.state == "caution"
    assert "carries no statistics of its training set; train it again" in bare.reasons[0]
    assert "level" not in bare.measures


def test_limits_belong_to_the_worse_side():
    limits = Limits(1.0, 2.0)
    assert [limits.state(value) for value in (0.99, 1.0, 1.99, 2.0)] == [
        "trusted", "caution", "caution", "not for use",
    ]
    assert limits == LEVELS


def test_a_report_is_json_even_where_a_measure_is_infinite():
    report = judge(GOOD | {"colour_level": math.inf}, MODEL)
    assert report.state == "not for use"
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert written["state"] == "not for use"
    assert written["measures"]["colour_level"] is None
    assert written["reasons"] == list(report.reasons)
