"""What a network has to beat: enlargement, a fitted colour matrix, Richardson-Lucy; fitted on training pairs alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.colour import ColourMatrix, luminance, to_float
from mobilescope.imaging.deconvolution import deblur_srgb
from mobilescope.imaging.metrics import ssim
from mobilescope.learn.patches import FieldPair

# The matrix is fitted on every seventh pixel along each axis, fewer of a label of more than a megapixel.
_MATRIX_SAMPLING = 7
_MATRIX_PIXELS = 20_000
_MOST_FIELDS = 100
# Widths in input pixels around R18's phone (0.6 of a pixel of 0.925 µm), and numbers of steps, that are tried.
_SIGMAS_PX = (0.35, 0.5, 0.65, 0.8, 1.0, 1.3)
_STEPS = (3, 6, 12, 24)
_TUNING_FIELDS = 4
_TUNING_PX = 128


@dataclass(frozen=True, eq=False)
class Deblurring:
    """Richardson-Lucy on the input, enlargement, then a colour matrix; all fitted on training pairs."""

    sigma_px: float
    steps: int
    matrix: ColourMatrix

    def __call__(self, image: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.float32]:
        """Return an encoded input (h, w, 3) deblurred on the label's grid, (rows, columns, 3) float32 0–1."""
        (sharp,) = deblur_srgb(to_float(image), self.sigma_px, (self.steps,))
        return self.matrix.apply(upsample_bicubic(sharp, rows, columns))


@dataclass(frozen=True, eq=False)
class Baselines:
    """The fitted colour matrix of the enlargement, and the fitted deblurring."""

    matrix: ColourMatrix
    deblurring: Deblurring


def upsample_bicubic(image: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.float32]:
    """Enlarge an encoded RGB image with half-pixel centres (R18's baseline), to (rows, columns, 3) float32 0–1."""
    enlarged = cv2.resize(to_float(image), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(enlarged, dtype=np.float32), 0.0, 1.0)


class TrainingFields(Sequence[FieldPair]):
    """The accepted training pairs of a file, read one by one; of many, a hundred spread over them."""

    def __init__(self, pairs: Path) -> None:
        self._pairs = pairs
        with PairStore.open(pairs) as store:
            found = [n for n, record in enumerate(store.records) if record.role == "training" and record.accepted]
        self._numbers = found[:: max(1, -(-len(found) // _MOST_FIELDS))]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> FieldPair: ...

    @overload
    def __getitem__(self, place: slice) -> list[FieldPair]: ...

    def __getitem__(self, place: int | slice) -> FieldPair | list[FieldPair]:
        """Read one or several pairs."""
        if isinstance(place, slice):
            return list(self._read(self._numbers[place]))
        return next(self._read([self._numbers[place]]))

    def __iter__(self) -> Iterator[FieldPair]:
        """Read all, one by one."""
        return self._read(self._numbers)

    def _read(self, numbers: list[int]) -> Iterator[FieldPair]:
        with PairStore.open(self._pairs) as store:
            for number in numbers:
                record = store.records[number]
                yield FieldPair(record.slide, record.capture, store.input(number), store.label(number))


def fit_baselines(pairs: Path) -> Baselines:
    """Fit every baseline on the training pairs of a file; UserError where it has none."""
    fields = TrainingFields(pairs)
    return Baselines(fit_colour_matrix(fields), fit_deblurring(fields))


def has_training_pairs(pairs: Path) -> bool:
    """Tell whether baselines can be fitted on a file."""
    return len(TrainingFields(pairs)) > 0


def fit_colour_matrix(fields: Sequence[FieldPair]) -> ColourMatrix:
    """Fit the 3×4 matrix that takes enlarged phone pixels to benchtop pixels over the training pairs."""
    return _fitted((upsample_bicubic(field.input, *field.label.shape[:2]), field.label) for field in fields)


def fit_deblurring(fields: Sequence[FieldPair]) -> Deblurring:
    """Choose the width and the number of steps that give the best SSIM on parts of a few training pairs.

    The phone's point spread is not asked for: the width is whichever works best, as a user without a target to
    measure would find it. The colour matrix of the winner is then fitted on all pairs.

    Raises
    ------
    UserError
        There are no pairs.
    """
    if not fields:
        raise UserError("no training pairs to fit the deblurring on", "register the training slides first")
    chosen = fields[:: max(1, len(fields) // _TUNING_FIELDS)][:_TUNING_FIELDS]
    parts = [_middle(field) for field in chosen]
    best = (-np.inf, _SIGMAS_PX[0], _STEPS[0])
    for sigma_px in _SIGMAS_PX:
        by_step = zip(*(deblur_srgb(to_float(low), sigma_px, _STEPS) for low, _ in parts), strict=True)
        for steps, sharps in zip(_STEPS, by_step, strict=True):
            pictures = [
                (upsample_bicubic(sharp, *label.shape[:2]), label)
                for sharp, (_, label) in zip(sharps, parts, strict=True)
            ]
            matrix = _fitted(pictures)
            score = float(np.mean([
                ssim(luminance(matrix.apply(picture)), luminance(to_float(label))) for picture, label in pictures
            ]))
            best = max(best, (score, sigma_px, steps))
    _, sigma_px, steps = best
    sharp = ((deblur_srgb(to_float(field.input), sigma_px, (steps,))[0], field.label) for field in fields)
    matrix = _fitted((upsample_bicubic(picture, *label.shape[:2]), label) for picture, label in sharp)
    return Deblurring(sigma_px, steps, matrix)


def _middle(field: FieldPair) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the middle of a pair, with whole label pixels on it."""
    rows, columns = field.input.shape[:2]
    height, width = (min(_TUNING_PX, side) // 2 * 2 for side in (rows, columns))
    top, left = (rows - height) // 4 * 2, (columns - width) // 4 * 2
    part = label_part((top, top + height, left, left + width), field.input.shape, field.label.shape)
    return field.input[top : top + height, left : left + width], field.label[part]


def label_part(
    window: tuple[int, int, int, int], input_shape: tuple[int, ...], label_shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Return the rows and columns of a label that stand on a window (first row, end row, first column, end column).

    Whatever the factor between the two, it is that of their shapes; windows of pairs end on whole label pixels.
    """
    top, bottom, left, right = window
    (rows, columns), (tall, wide) = input_shape[:2], label_shape[:2]
    return slice(top * tall // rows, bottom * tall // rows), slice(left * wide // columns, right * wide // columns)


def _fitted(pictures: Iterable[tuple[NDArray[np.float32], NDArray[np.uint8]]]) -> ColourMatrix:
    """Fit the matrix from pictures to labels, on a part of their pixels."""
    sources, targets = [], []
    for picture, label in pictures:
        rows, columns = label.shape[:2]
        sampling = max(_MATRIX_SAMPLING, math.ceil(math.sqrt(rows * columns / _MATRIX_PIXELS)))
        step = (slice(None, None, sampling), slice(None, None, sampling))
        # Copies, so that the whole pictures need not be kept.
        sources.append(picture[step].reshape(-1, 3).copy())
        targets.append(to_float(label[step]).reshape(-1, 3))
    if not sources:
        raise UserError("no training pairs to fit the colour matrix on", "register the training slides first")
    return ColourMatrix.fit(np.concatenate(sources), np.concatenate(targets))
