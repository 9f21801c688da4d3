"""Blind evaluation as in R18's Tables 2 and 3: every method against the same label in the same geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import TrainingError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.pairs import PairRecord, PairStore
from mobilescope.imaging.colour import ColourMatrix, to_float
from mobilescope.imaging.metrics import ImageScores, Interval, bootstrap_interval, score_image
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.patches import FieldPair, load_fields

METHODS = ("bicubic", "colour", "network")
_MATRIX_SAMPLING = 7

EnhanceFunction = Callable[[NDArray[np.generic]], NDArray[np.generic]]


@dataclass(frozen=True)
class FieldScores:
    """The scores of one field for each of `METHODS`."""

    slide: str
    capture: int
    scores: dict[str, ImageScores]


@dataclass(frozen=True, eq=False)
class FieldPictures:
    """One field as every method shows it, (rows, columns, 3) float32 0–1 on the label's grid."""

    slide: str
    capture: int
    label: NDArray[np.float32]
    by_method: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Evaluation:
    """Scores per field, and the names of the slides behind them.

    ``trained_on`` lists evaluated slides that the model has seen in training; empty unless that was forced.
    """

    fields: tuple[FieldScores, ...]
    trained_on: tuple[str, ...]
    output_pixel_um: float

    def values(self, method: str, metric: str) -> NDArray[np.floating]:
        """Return one metric of one method, a value per field."""
        return np.array([asdict(field.scores[method])[metric] for field in self.fields])

    def interval(self, method: str, metric: str) -> Interval:
        """Return mean and 95 % interval over fields."""
        return bootstrap_interval(self.values(method, metric))

    def gain(self, over: str, metric: str) -> Interval:
        """Return the network's advantage over a method, paired by field."""
        return bootstrap_interval(self.values("network", metric) - self.values(over, metric))

    @property
    def slides(self) -> tuple[str, ...]:
        """Names of the evaluated slides."""
        return tuple(sorted({field.slide for field in self.fields}))


def upsample_bicubic(image: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.float32]:
    """Enlarge an encoded RGB image with half-pixel centres (R18's baseline), to (rows, columns, 3) float32 0–1."""
    enlarged = cv2.resize(to_float(image), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(enlarged, dtype=np.float32), 0.0, 1.0)


def fit_colour_matrix(fields: list[FieldPair]) -> ColourMatrix:
    """Fit the 3×4 matrix that takes enlarged phone pixels to benchtop pixels over the training pairs."""
    sources, targets = [], []
    for field in fields:
        rows, columns = field.label.shape[:2]
        step = (slice(None, None, _MATRIX_SAMPLING), slice(None, None, _MATRIX_SAMPLING))
        sources.append(upsample_bicubic(field.input, rows, columns)[step].reshape(-1, 3))
        targets.append(to_float(field.label[step]).reshape(-1, 3))
    if not sources:
        raise TrainingError("no training pairs to fit the colour matrix on", "register the training slides first")
    return ColourMatrix.fit(np.concatenate(sources), np.concatenate(targets))


def _is_evaluated(record: PairRecord, role: str) -> bool:
    top, bottom, left, right = record.bounds
    return record.role == role and record.accepted and top < bottom and left < right


def picture_fields(
    pairs: Path, enhance: EnhanceFunction, *, role: str = "blind", only: set[tuple[str, int]] | None = None
) -> Iterator[FieldPictures]:
    """Yield each evaluated field as the label and every method show it, one at a time.

    Each method sees the whole registered field; the result is then cut to the field's evaluation window.
    """
    matrix = fit_colour_matrix(load_fields(pairs, "training", windowed=False))
    with PairStore.open(pairs) as store:
        for index, record in enumerate(store.records):
            if not _is_evaluated(record, role):
                continue
            if only is not None and (record.slide, record.capture) not in only:
                continue
            low, label = store.input(index), store.label(index)
            bicubic = upsample_bicubic(low, *label.shape[:2])
            top, bottom, left, right = record.bounds
            cut = (store.label_slice(top, bottom), store.label_slice(left, right))
            yield FieldPictures(
                record.slide, record.capture, to_float(label)[cut],
                {
                    "bicubic": bicubic[cut],
                    "colour": matrix.apply(bicubic[cut]),
                    "network": to_float(enhance(to_float(low)))[cut],
                },
            )


def evaluate(
    pairs: Path,
    enhance: EnhanceFunction,
    card: ModelCard,
    *,
    cutoff_um: float,
    role: str = "blind",
    force: bool = False,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> Evaluation:
    """Score bicubic enlargement, the same with a colour matrix, and the network on the fields of a role.

    Parameters
    ----------
    cutoff_um : float
        Finest period that the phone resolves; the detail score looks above it.
    force : bool
        Evaluate also on slides that the model was trained on; the result names them.

    Raises
    ------
    UserError
        A slide of this role was trained on, or no field can be evaluated.
    """
    with PairStore.open(pairs) as store:
        slides = {record.slide for record in store.records if record.role == role}
        total = sum(_is_evaluated(record, role) for record in store.records)
        pixel_um = float(store.provenance["label_pixel_um"])
    seen = tuple(sorted(slides & set(card.training.get("slides", {}).get("training", []))))
    if seen and not force:
        raise UserError(
            f"the model was trained on {', '.join(seen)}, so these are not blind", "evaluate other slides, or force it"
        )
    fields = []
    stop = stop or StopToken()
    for done, pictures in enumerate(picture_fields(pairs, enhance, role=role), start=1):
        stop.raise_if_requested("the evaluation")
        scores = {
            method: score_image(image, pictures.label, pixel_um, cutoff_um)
            for method, image in pictures.by_method.items()
        }
        fields.append(FieldScores(pictures.slide, pictures.capture, scores))
        on_progress(Progress("evaluate", done, total, f"SSIM {scores['network'].ssim:.4f}"))
    if not fields:
        raise UserError(
            f"{pairs} has no accepted field of the role {role!r} to evaluate",
            "capture and register a slide of that role",
        )
    return Evaluation(tuple(fields), seen, pixel_um)
