"""Statistics of a training set's signatures, and how far a picture's signature lies from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.core.errors import InputFileError
from mobilescope.learn.activity import ACTIVITY
from mobilescope.learn.signature import ASPECTS, Signature

Floats = NDArray[np.float64]

# How a picture might be wrong: sampled finer (> 1) or coarser than the training set, and blurred by so many pixels.
FINER = np.array([0.55, 0.65, 0.75, 0.83, 0.91, 0.95, 1.0, 1.05, 1.1, 1.2, 1.33, 1.55, 1.8])
BLUR_PX = np.array([0.0, 0.5, 0.9, 1.4, 2.0, 3.0, 4.5])
# No two instruments are sampled quite alike; so much off is as good as what the model was trained on.
_AS_GOOD = np.abs(FINER - 1) < 0.06
AS_TRAINED = (int(np.flatnonzero(FINER == 1)[0]), int(np.flatnonzero(BLUR_PX == 0)[0]))
_VERSION = 1.0
_MOST_COMPONENTS = 16
_LEAST_SPREAD = 0.01
_SHRINKAGE = 0.15
# With fewer fields, what differs between fields is taken from blocks, which differ more.
_LEAST_FIELDS = 8


@dataclass(frozen=True, eq=False)
class Gaussian:
    """How one aspect of a signature is distributed over the fields of a training set.

    A field's mean over n of its blocks has the covariance ``between + within / n``: what fields differ by, and what
    blocks of one field do.

    Attributes
    ----------
    centre, basis : ndarray, shape (features,), (features, components)
        A feature vector v is ``(v - centre) @ basis`` in the components.
    between, within : ndarray, shape (components, components)
    typical : float
        Blocks of a training field. Means over more are held to be no surer: with them, what differs between pictures
        that were registered and live ones would count as strange.
    limit : float
        A distance that one field in a few hundred of the training set's kind exceeds.
    """

    centre: Floats
    basis: Floats
    between: Floats
    within: Floats
    typical: float
    limit: float = 1.0

    @classmethod
    def fit(cls, fields: Sequence[Floats]) -> Gaussian:
        """Fit to the features (blocks, features) of at least two blocks in all."""
        rows = np.concatenate(list(fields))
        centre = np.mean([field.mean(axis=0) for field in fields], axis=0)
        spread = rows.std(axis=0)
        basis = np.diag(np.where(spread > _LEAST_SPREAD, 1 / np.maximum(spread, _LEAST_SPREAD), 0.0))
        few = len(fields) < _LEAST_FIELDS
        units = rows if few else np.stack([field.mean(axis=0) for field in fields])
        if np.count_nonzero(basis) > _MOST_COMPONENTS + 8:
            _, _, directions = np.linalg.svd((units - centre) @ basis, full_matrices=False)
            basis = basis @ directions[:_MOST_COMPONENTS].T
        basis = basis[:, np.abs(basis).any(axis=0)]
        inner = np.concatenate([field - field.mean(axis=0) for field in fields]) @ basis
        within = inner.T @ inner / max(1, len(rows) - len(fields))
        between = np.atleast_2d(np.cov(((units - centre) @ basis).T))
        typical = float(np.mean([len(field) for field in fields]))
        if not few:
            # The scatter of means over blocks holds a part of the blocks' own, which a picture's blocks bring again.
            between = _positive(between - within / typical)
        return cls(centre, basis, between, within, typical)

    def components(self, features: Floats) -> Floats:
        """Return feature vectors (..., features) as components."""
        return np.asarray((features - self.centre) @ self.basis, dtype=np.float64)

    def precision(self, blocks: float) -> Floats:
        """Return the inverse covariance of a mean over so many blocks, shrunk towards its diagonal."""
        covariance = self.between + self.within / min(blocks, self.typical)
        diagonal = np.diag(covariance).copy()
        shrunk = (1 - _SHRINKAGE) * covariance + np.diag(_SHRINKAGE * diagonal + 1e-6)
        return np.asarray(np.linalg.inv(shrunk), dtype=np.float64)

    def distance(self, features: Floats, blocks: float | None = None) -> float:
        """Return the Mahalanobis distance of a picture's mean over its rows of features.

        Parameters
        ----------
        features : ndarray, shape (blocks, features)
        blocks : float, optional
            How many whole blocks the rows stand for where they are smaller.
        """
        offset = self.components(features.mean(axis=0))
        return float(np.sqrt(offset @ self.precision(min(blocks or np.inf, len(features))) @ offset))


@dataclass(frozen=True)
class Explanation:
    """What makes a picture's detail unlike the training set's, by the hypothesis that fits it best.

    Attributes
    ----------
    distance : float
        Mahalanobis distance of the detail from the training set's, sampled a little finer or coarser if that is nearer.
    evidence : float
        Root of the fall in squared distance from the training set to the best hypothesis, 0 where none fits better.
    explained : float
        That fall as a part of the squared distance from the training set, less what the training set's own fields
        have: about 1 where blur and sampling are all that is wrong.
    blur_only, sampling_only : float
        The same for hypotheses with blur alone, and with another sampling alone.
    blur_px : float
        Blur of the best one among those with blur alone.
    finer : float
        How much finer than the training set the best one among those of another sampling alone is sampled.
    """

    distance: float
    evidence: float
    explained: float
    blur_only: float
    sampling_only: float
    blur_px: float
    finer: float


@dataclass(frozen=True, eq=False)
class TrainingStatistics:
    """All that a model knows of its training set, or of one of several.

    Attributes
    ----------
    aspects : dict of Gaussian
        By the names in `mobilescope.learn.signature.ASPECTS`.
    hypotheses : ndarray, shape (len(FINER), len(BLUR_PX), detail features)
        What the detail of training pictures becomes when they are sampled finer and blurred.
    evidence_limit : float
        An `Explanation.evidence` that one field in a few hundred of the training set's kind exceeds.
    disagreement_limit : float
        The same for the disagreement under flips and turns.
    """

    aspects: dict[str, Gaussian]
    hypotheses: Floats
    evidence_limit: float
    disagreement_limit: float

    def distances(self, measured: Signature) -> dict[str, float]:
        """Return the distance of each aspect in parts of its limit."""
        distances = {
            name: gaussian.distance(measured.aspect(name), measured.blocks) / gaussian.limit
            for name, gaussian in self.aspects.items()
        }
        detail = self.aspects["detail"]
        return distances | {"detail": self.explain(measured).distance / detail.limit}

    def explain(self, measured: Signature) -> Explanation:
        """Return the best explanation of a picture's detail by blur and sampling."""
        return explain(self.aspects["detail"], self.hypotheses, measured.detail, measured.blocks)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the statistics as tensors for a model file."""
        tensors = {
            "version": torch.tensor(_VERSION),
            "hypotheses": torch.from_numpy(self.hypotheses),
            "evidence_limit": torch.tensor(self.evidence_limit, dtype=torch.float64),
            "disagreement_limit": torch.tensor(self.disagreement_limit, dtype=torch.float64),
        }
        for name, gaussian in self.aspects.items():
            for part in ("centre", "basis", "between", "within"):
                tensors[f"{name}.{part}"] = torch.from_numpy(np.ascontiguousarray(getattr(gaussian, part)))
            tensors[f"{name}.typical"] = torch.tensor(gaussian.typical, dtype=torch.float64)
            tensors[f"{name}.limit"] = torch.tensor(gaussian.limit, dtype=torch.float64)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], *, source: str) -> TrainingStatistics:
        """Read what `to_tensors` wrote; InputFileError, naming ``source``, for anything else."""
        try:
            if float(tensors["version"]) != _VERSION:
                raise ValueError(f"version {float(tensors['version']):g}")
            arrays = {name: value.double().numpy() for name, value in tensors.items()}
            aspects = {
                name: Gaussian(
                    arrays[f"{name}.centre"], arrays[f"{name}.basis"], arrays[f"{name}.between"],
                    arrays[f"{name}.within"], float(arrays[f"{name}.typical"]), float(arrays[f"{name}.limit"]),
                )
                for name in ASPECTS
            }
            statistics = cls(
                aspects, arrays["hypotheses"], float(arrays["evidence_limit"]), float(arrays["disagreement_limit"])
            )
            statistics._check()
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputFileError(
                f"the statistics of the training set in {source} can't be used: {error}",
                "train the model again with this version",
            ) from error
        return statistics

    def _check(self) -> None:
        detail = self.aspects["detail"]
        if self.hypotheses.shape != (len(FINER), len(BLUR_PX), len(detail.centre)):
            raise ValueError(f"hypotheses of shape {self.hypotheses.shape}")
        if not np.isfinite(self.hypotheses).all():
            raise ValueError("hypotheses that are no numbers")
        for name, gaussian in self.aspects.items():
            features, components = gaussian.basis.shape
            square = (components, components)
            if gaussian.centre.shape != (features,) or {gaussian.between.shape, gaussian.within.shape} != {square}:
                raise ValueError(f"shapes of the aspect {name}")
            values = (gaussian.centre, gaussian.basis, gaussian.between, gaussian.within)
            if not all(np.isfinite(value).all() for value in values):
                raise ValueError(f"values of the aspect {name}")
        limits = [gaussian.limit for gaussian in self.aspects.values()]
        if not all(0 < limit < np.inf for limit in (*limits, self.evidence_limit, self.disagreement_limit)):
            raise ValueError("a limit that is no positive number")


def pack(groups: Sequence[TrainingStatistics]) -> dict[str, Tensor]:
    """Return the statistics of several training sets, such as stains, as tensors for one model file."""
    return {
        f"{number}/{name}": value for number, group in enumerate(groups) for name, value in group.to_tensors().items()
    }


def unpack(tensors: Mapping[str, Tensor], *, source: str) -> list[TrainingStatistics]:
    """Read what `pack` wrote, beside activities; InputFileError, naming ``source``, for anything else."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith(ACTIVITY):
            number, _, name = key.partition("/")
            grouped.setdefault(number, {})[name] = value
    return [TrainingStatistics.from_tensors(group, source=source) for group in grouped.values()]


def explain(detail: Gaussian, hypotheses: Floats, features: Floats, blocks: float) -> Explanation:
    """Hold a picture's detail (blocks, features) against training pictures resampled and blurred.

    The likelihood ratio of Gaussians of one covariance: the fall in squared Mahalanobis distance.
    """
    offset = detail.components(features.mean(axis=0)) - detail.components(hypotheses)
    squared = np.einsum("ijk,kl,ijl->ij", offset, detail.precision(min(blocks, len(features))), offset)
    _, unblurred = AS_TRAINED
    trained, best = float(squared[_AS_GOOD, unblurred].min()), float(squared.min())
    blur, sampling = squared[_AS_GOOD].min(axis=0), squared[:, unblurred]
    usual = detail.basis.shape[1]
    return Explanation(
        distance=float(np.sqrt(trained)),
        evidence=float(np.sqrt(trained - best)),
        explained=min(1.0, (trained - best) / max(trained - usual, 1.0)),
        blur_only=float(np.sqrt(trained - blur.min())),
        sampling_only=float(np.sqrt(trained - sampling.min())),
        blur_px=float(BLUR_PX[blur.argmin()]),
        finer=float(FINER[sampling.argmin()]),
    )


def _positive(matrix: Floats) -> Floats:
    """Return the nearest covariance matrix: negative eigenvalues, which differences of estimates have, become 0."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T, dtype=np.float64)
