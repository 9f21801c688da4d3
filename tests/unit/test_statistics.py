"""Distances from a training set count in its own spread, explanations name what was done, and files are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilescope.core.errors import InputFileError
from mobilescope.learn.signature import Signature
from mobilescope.learn.statistics import AS_TRAINED, BLUR_PX, FINER, Gaussian, TrainingStatistics, explain, pack, unpack

DETAIL = 21


def fields(count=40, blocks=4, features=6, between=1.0, within=0.5, seed=0):
    """Return features of fields whose means differ by ``between``, and whose blocks do by ``within``."""
    rng = np.random.default_rng(seed)
    return [
        10 + between * rng.standard_normal(features) + within * rng.standard_normal((blocks, features))
        for _ in range(count)
    ]


def test_a_new_field_of_the_same_kind_is_as_far_as_its_dimensions_say():
    fitted = Gaussian.fit(fields(400))
    distances = [fitted.distance(field) ** 2 for field in fields(300, seed=1)]
    assert np.mean(distances) == pytest.approx(6, rel=0.15)


def test_the_smaller_a_picture_the_more_it_may_deviate():
    fitted = Gaussian.fit(fields(200, between=0.1, within=2.0))
    strange = np.full((1, 6), 12.0)
    distances = [fitted.distance(np.repeat(strange, rows, axis=0)) for rows in (1, 2, 4)]
    assert distances == sorted(distances)
    assert fitted.distance(strange, blocks=0.25) < distances[0]


def test_more_blocks_than_a_training_field_has_make_no_surer():
    fitted = Gaussian.fit(fields(blocks=4))
    strange = np.full((1, 6), 14.0)
    assert fitted.distance(np.repeat(strange, 64, axis=0)) == pytest.approx(
        fitted.distance(np.repeat(strange, 4, axis=0))
    )


def test_features_that_never_vary_do_not_count():
    constant = [np.column_stack([field, np.full(len(field), 3.0)]) for field in fields()]
    fitted = Gaussian.fit(constant)
    assert fitted.basis.shape == (7, 6)
    assert np.isfinite(fitted.distance(constant[0] + np.eye(7)[6]))


def test_many_features_are_reduced_and_few_fields_suffice():
    for count in (1, 3, 30):
        fitted = Gaussian.fit(fields(count, features=76))
        assert fitted.basis.shape[1] <= 16
        assert np.isfinite(fitted.distance(fields(1, features=76, seed=5)[0]))


@pytest.fixture(scope="module")
def statistics():
    """Statistics whose hypotheses move along one axis with sampling, and along another with blur."""
    rng = np.random.default_rng(0)
    detail = Gaussian.fit([rng.standard_normal((4, DETAIL)) * 0.1 for _ in range(60)])
    becomes = np.zeros((len(FINER), len(BLUR_PX), DETAIL))
    becomes[..., 0] = np.log(FINER)[:, None] * 5
    becomes[..., 1] = BLUR_PX
    aspects = {
        "detail": detail, "colour": Gaussian.fit(fields(features=9)), "network": Gaussian.fit(fields(features=30)),
    }
    return TrainingStatistics(aspects, becomes + detail.centre, 3.0, 0.02)


def explained(statistics, place):
    rows = np.repeat(statistics.hypotheses[place][None], 4, axis=0)
    return explain(statistics.aspects["detail"], statistics.hypotheses, rows, 4)


def test_blur_and_sampling_are_told_apart(statistics):
    same = explained(statistics, AS_TRAINED)
    assert same.evidence == 0
    row, column = AS_TRAINED
    blurred = explained(statistics, (row, 3))
    assert blurred.blur_px == BLUR_PX[3]
    assert blurred.blur_only > 10 * max(blurred.sampling_only, 0.1)
    coarse = explained(statistics, (1, column))
    assert coarse.finer == FINER[1]
    assert coarse.sampling_only > 10 * max(coarse.blur_only, 0.1)
    assert min(blurred.explained, coarse.explained) > 0.95


def test_what_neither_blur_nor_sampling_does_stays_unexplained(statistics):
    strange = np.repeat(statistics.hypotheses[AS_TRAINED][None], 4, axis=0)
    strange[:, 10] += 5
    result = explain(statistics.aspects["detail"], statistics.hypotheses, strange, 4)
    assert result.distance > 20
    assert result.explained < 0.1


def test_a_little_finer_sampling_is_as_good_as_the_training_sets(statistics):
    near = [int(np.flatnonzero(value == FINER)[0]) for value in (0.95, 1.05)]
    assert all(explained(statistics, (row, AS_TRAINED[1])).evidence == 0 for row in near)


def test_statistics_come_back_from_tensors_as_they_were(statistics):
    again = TrainingStatistics.from_tensors(statistics.to_tensors(), source="a model")
    measured = Signature(
        np.full((2, DETAIL), 0.3), np.full((2, 9), 11.0), np.full((2, 30), 9.0), blocks=2.0,
    )
    assert again.distances(measured) == pytest.approx(statistics.distances(measured))
    assert again.explain(measured) == statistics.explain(measured)
    assert (again.evidence_limit, again.disagreement_limit) == (3.0, 0.02)


def test_several_training_sets_come_back_each_by_itself(statistics):
    shifted = TrainingStatistics(statistics.aspects, statistics.hypotheses + 1, 3.0, 0.02)
    first, second = unpack(pack([statistics, shifted]), source="a model")
    np.testing.assert_array_equal(first.hypotheses, statistics.hypotheses)
    np.testing.assert_array_equal(second.hypotheses, shifted.hypotheses)
    assert unpack({}, source="a model") == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors.pop("colour.centre"),
        lambda tensors: tensors.update(version=torch.tensor(99.0)),
        lambda tensors: tensors.update(hypotheses=torch.zeros(2, 2, DETAIL)),
        lambda tensors: tensors.update({"network.within": torch.zeros(3, 3)}),
        lambda tensors: tensors["detail.between"].fill_(float("nan")),
        lambda tensors: tensors["colour.basis"].fill_(float("nan")),
        lambda tensors: tensors["hypotheses"].fill_(float("nan")),
        lambda tensors: tensors.update(evidence_limit=torch.zeros(3)),
        lambda tensors: tensors.update({"colour.limit": torch.tensor(0.0)}),
    ],
)
def test_foreign_or_damaged_statistics_are_refused_by_name(statistics, damage):
    tensors = {name: value.clone() for name, value in statistics.to_tensors().items()}
    damage(tensors)
    with pytest.raises(InputFileError, match=r"a model.*train the model again"):
        TrainingStatistics.from_tensors(tensors, source="a model")
