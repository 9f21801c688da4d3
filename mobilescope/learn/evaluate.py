"""Blind evaluation as in R18's Tables 2 and 3: every method against the same label in the same geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.metrics import ImageScores, Interval, bootstrap_interval, score_image
from mobilescope.imaging.noise import flat_mask, noise_sigma
from mobilescope.imaging.standardisation import ColourDistance, colour_distance, mean_lab
from mobilescope.learn.baselines import Baselines, fit_baselines, has_training_pairs, label_part, upsample_bicubic
from mobilescope.learn.blindness import trained_slides
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.straight import straight_picture

METHODS = ("raw", "bicubic", "colour", "rl", "network")
_FITTED = ("colour", "rl")
BENCHTOP = "benchtop"
_SAMPLING_TOLERANCE = 0.1

EnhanceFunction = Callable[[NDArray[np.generic]], NDArray[np.generic]]
DevelopFunction = Callable[[PairRecord], NDArray[np.uint16]]
Lab = tuple[float, float, float]


@dataclass(frozen=True)
class FieldScores:
    """One field by each method.

    Attributes
    ----------
    scores : dict
        `ImageScores` by method.
    mean_lab : dict
        Mean L*, a*, b* by method, and of the label under `BENCHTOP`.
    label_noise : float
        Noise of the label where it is flat; NaN where it is flat nowhere.
    pair : int
        Its place in the file of pairs: a capture that was cut into parts has several.
    """

    slide: str
    capture: int
    scores: dict[str, ImageScores]
    mean_lab: dict[str, Lab]
    label_noise: float
    pair: int = 0


@dataclass(frozen=True, eq=False)
class FieldPictures:
    """One field as every method shows it, (rows, columns, 3) float32 0–1 on the label's grid; ``pair`` as above."""

    slide: str
    capture: int
    label: NDArray[np.float32]
    by_method: dict[str, NDArray[np.float32]]
    pair: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Scores per field, and the names of the slides behind them.

    Attributes
    ----------
    trained_on : tuple of str
        Evaluated slides that the model has seen in training; empty unless that was forced.
    methods : tuple of str
        Those of `METHODS` that could be shown, in that order.
    pixel_ratio : float
        The pairs' input pixel size over the one that the model was trained on; near 1 unless it was forced.
    """

    fields: tuple[FieldScores, ...]
    trained_on: tuple[str, ...]
    output_pixel_um: float
    methods: tuple[str, ...]
    pixel_ratio: float

    @property
    def missampled(self) -> bool:
        """Whether the pairs are sampled too differently from what the model was trained on."""
        return abs(self.pixel_ratio - 1) > _SAMPLING_TOLERANCE

    def values(self, method: str, metric: str) -> NDArray[np.floating]:
        """Return one metric of one method, a value per field."""
        return np.array([asdict(field.scores[method])[metric] for field in self.fields])

    def interval(self, method: str, metric: str) -> Interval:
        """Return mean and 95 % interval over fields."""
        return bootstrap_interval(self.values(method, metric))

    def gain(self, over: str, metric: str) -> Interval:
        """Return the network's advantage over a method, paired by field."""
        return bootstrap_interval(self.values("network", metric) - self.values(over, metric))

    def colour(self, method: str) -> ColourDistance:
        """Return how far a method's mean colours lie from the benchtop's."""
        return colour_distance(
            np.array([field.mean_lab[method] for field in self.fields]),
            np.array([field.mean_lab[BENCHTOP] for field in self.fields]),
        )

    @property
    def label_noise(self) -> Interval:
        """The benchtop's own noise, mean and 95 % interval over fields."""
        return bootstrap_interval(np.array([field.label_noise for field in self.fields]))

    @property
    def slides(self) -> tuple[str, ...]:
        """Names of the evaluated slides."""
        return tuple(sorted({field.slide for field in self.fields}))


def is_evaluated(record: PairRecord, role: str) -> bool:
    """Tell whether a pair has the role, was accepted, and has something in its window."""
    top, bottom, left, right = record.bounds
    return record.role == role and record.accepted and top < bottom and left < right


def possible_methods(pairs: Path, *, role: str = "blind", develop: DevelopFunction | None = None) -> tuple[str, ...]:
    """Return which of `METHODS` a pair file can show.

    The fitted ones need training pairs in it. The raw picture needs the maps of registration and the developed
    captures, unless it is the labels that were resampled.
    """
    with PairStore.open(pairs) as store:
        records = [record for record in store.records if is_evaluated(record, role)]
    straight = all(record.has_map and (develop is not None or record.warp == "benchtop") for record in records)
    fitted = has_training_pairs(pairs)
    return tuple(
        method for method in METHODS if (method != "raw" or straight) and (method not in _FITTED or fitted)
    )


def picture_fields(
    pairs: Path,
    enhance: EnhanceFunction,
    *,
    role: str = "blind",
    only: set[tuple[str, int]] | None = None,
    methods: Sequence[str] | None = None,
    develop: DevelopFunction | None = None,
    baselines: Baselines | None = None,
) -> Iterator[FieldPictures]:
    """Yield each evaluated field as the label and every method show it, one at a time.

    Each method sees the whole registered field; the result is then cut to the field's evaluation window.

    Parameters
    ----------
    only : set of (slide, capture), optional
        The fields wanted.
    methods : sequence of str, optional
        The methods wanted; all that are possible otherwise.
    develop : callable, optional
        Gives the developed capture (rows, columns, 3), uint16, sRGB, of a pair; the raw picture is drawn from it.
    baselines : Baselines, optional
        What was fitted on the training pairs; fitted here otherwise.
    """
    wanted = tuple(methods) if methods is not None else possible_methods(pairs, role=role, develop=develop)
    if baselines is None and set(wanted).intersection(_FITTED):
        baselines = fit_baselines(pairs)
    with PairStore.open(pairs) as store:
        for index, record in enumerate(store.records):
            if not is_evaluated(record, role):
                continue
            if only is not None and (record.slide, record.capture) not in only:
                continue
            low, label = store.input(index), store.label(index)
            shape = (label.shape[0], label.shape[1])
            cut = label_part(record.bounds, low.shape, label.shape)
            painter = _Painter(enhance, baselines, develop, record, low, store.map(index), shape)
            by_method = {method: painter.picture(method)[cut] for method in wanted}
            yield FieldPictures(record.slide, record.capture, to_float(label)[cut], by_method, index)


@dataclass(frozen=True, eq=False)
class _Painter:
    """One field, and how each method shows it on the label's grid."""

    enhance: EnhanceFunction
    baselines: Baselines | None
    develop: DevelopFunction | None
    record: PairRecord
    low: NDArray[np.uint16]
    map_xy: NDArray[np.float32] | None
    shape: tuple[int, int]

    def picture(self, method: str) -> NDArray[np.float32]:
        """Return the whole field (rows, columns, 3), float32 0–1."""
        if method == "raw" and self.map_xy is not None:
            untouched = self.record.warp == "benchtop"
            source = self.low if untouched or self.develop is None else self.develop(self.record)
            return straight_picture(source, self.map_xy, self.shape, warp=self.record.warp)
        if method == "bicubic":
            return upsample_bicubic(self.low, *self.shape)
        if method == "colour" and self.baselines is not None:
            return self.baselines.matrix.apply(upsample_bicubic(self.low, *self.shape))
        if method == "rl" and self.baselines is not None:
            return self.baselines.deblurring(self.low, *self.shape)
        if method == "network":
            return self._enhanced()
        raise ValueError(f"the method {method!r} can't be shown for capture {self.record.capture}")

    def _enhanced(self) -> NDArray[np.float32]:
        picture = to_float(self.enhance(to_float(self.low)))
        if picture.shape[:2] != self.shape:
            raise UserError(
                f"the network makes {picture.shape[1]}×{picture.shape[0]} px of a field whose label has "
                f"{self.shape[1]}×{self.shape[0]}",
                "evaluate a model on pairs of its own factor",
            )
        return picture


def evaluate(
    pairs: Path,
    enhance: EnhanceFunction,
    card: ModelCard,
    *,
    cutoff_um: float,
    role: str = "blind",
    force: bool = False,
    methods: Sequence[str] | None = None,
    develop: DevelopFunction | None = None,
    baselines: Baselines | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
    stage: str = "evaluate",
) -> Evaluation:
    """Score the network, and what it has to beat, on the fields of a role.

    Parameters
    ----------
    cutoff_um : float
        Finest period that the phone resolves; the detail score looks above it.
    force : bool
        Evaluate also on slides that the model was trained on, and on pairs of another sampling; the result says so.
    methods, develop, baselines
        See `picture_fields`.
    stage : str
        What progress is reported under.

    Raises
    ------
    UserError
        A slide of this role was trained on, no field can be evaluated, or the model has another factor than the pairs
        or was trained on pixels of another size.
    """
    with PairStore.open(pairs) as store:
        evaluated = [record for record in store.records if is_evaluated(record, role)]
        slides = {record.slide for record in store.records if record.role == role}
        pixel_um = float(store.provenance["label_pixel_um"])
        input_pixel_um = pixel_um * store.factor
    pixel_ratio = input_pixel_um / card.input_pixel_um
    seen = trained_slides(card.training, pairs, slides)
    if seen and not force:
        raise UserError(
            f"the model was trained on {', '.join(seen)}, so these are not blind", "evaluate other slides, or force it"
        )
    if not evaluated:
        raise UserError(
            f"{pairs} has no accepted field of the role {role!r} to evaluate",
            "capture and register a slide of that role",
        )
    if abs(pixel_ratio - 1) > _SAMPLING_TOLERANCE and not force:
        raise UserError(
            f"the model was trained on pixels of {card.input_pixel_um:g} µm, and {pairs} has pixels of "
            f"{input_pixel_um:g} µm", "evaluate on pairs of the model's own pixel size, or force it",
        )
    shown = tuple(methods) if methods is not None else possible_methods(pairs, role=role, develop=develop)
    fields = []
    stop = stop or StopToken()
    found = picture_fields(pairs, enhance, role=role, methods=shown, develop=develop, baselines=baselines)
    for done, pictures in enumerate(found, start=1):
        stop.raise_if_requested("the evaluation")
        fields.append(score_field(pictures, pixel_um, cutoff_um))
        on_progress(Progress(stage, done, len(evaluated), f"SSIM {fields[-1].scores['network'].ssim:.4f}"))
    return Evaluation(tuple(fields), seen, pixel_um, shown, pixel_ratio)


def score_field(pictures: FieldPictures, pixel_um: float, cutoff_um: float) -> FieldScores:
    """Score one field by every method; the names are those of `evaluate`."""
    luma = luminance(pictures.label)
    return FieldScores(
        pictures.slide,
        pictures.capture,
        scores={
            method: score_image(image, pictures.label, pixel_um, cutoff_um)
            for method, image in pictures.by_method.items()
        },
        mean_lab={
            name: mean_lab(image) for name, image in {**pictures.by_method, BENCHTOP: pictures.label}.items()
        },
        label_noise=noise_sigma(luma, flat_mask(luma, pixel_um), pixel_um),
        pair=pictures.pair,
    )
