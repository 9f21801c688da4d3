"""Training patches as windows of stored pairs, and whole validation fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.core.errors import TrainingError
from mobilescope.core.factor import GridFactor
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.colour import to_float


@dataclass(frozen=True, eq=False)
class FieldPair:
    """One registered field: input (rows, columns, 3) uint16 and label (factor rows, factor columns, 3) uint8."""

    slide: str
    capture: int
    input: NDArray[np.uint16]
    label: NDArray[np.uint8]

    def label_slice(self, start_px: int, stop_px: int) -> slice:
        """Return the label pixels on the input pixels from ``start_px`` to before ``stop_px``, along either axis."""
        factor = GridFactor.of(self.label.shape[0] / self.input.shape[0])
        return factor.fine_slice(start_px, stop_px)


def load_fields(path: Path, role: str, *, windowed: bool) -> list[FieldPair]:
    """Read the accepted pairs of a role.

    Parameters
    ----------
    windowed : bool
        Cut each pair to its evaluation window; pairs with an empty one are left out.
    """
    fields = []
    with PairStore.open(path) as store:
        for index, record in enumerate(store.records):
            if record.role != role or not record.accepted:
                continue
            low, label = store.input(index), store.label(index)
            if windowed:
                top, bottom, left, right = record.bounds
                if top == bottom or left == right:
                    continue
                low = low[top:bottom, left:right]
                label = label[store.label_slice(top, bottom), store.label_slice(left, right)]
            fields.append(FieldPair(record.slide, record.capture, low, label))
    return fields


class PatchSet:
    """All training patches of a pair file, addressed by number.

    Parameters
    ----------
    patch_px, stride_px : int
        Even sizes in input pixels; a patch at (2a, 2b) meets its label at (5a, 5b) without resampling.
    """

    def __init__(self, fields: list[FieldPair], patch_px: int, stride_px: int) -> None:
        self._fields = fields
        self._patch_px = patch_px
        self._index = [
            (number, row, column)
            for number, field in enumerate(fields)
            for row in _starts(field.input.shape[0], patch_px, stride_px)
            for column in _starts(field.input.shape[1], patch_px, stride_px)
        ]
        if not self._index:
            raise TrainingError(
                f"no training patches of {patch_px} px in {len(fields)} accepted training pairs",
                "check the registration's verdicts with 'mobilescope inspect'",
            )

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self._index)

    def batch(self, numbers: NDArray[np.integer], turns: NDArray[np.integer] | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs (N, 3, p, p) and labels (N, 3, factor p, factor p), float32 0–1.

        Parameters
        ----------
        turns : ndarray of int, shape (N,), optional
            Which of the eight flips and quarter turns to apply to each patch.
        """
        size = self._patch_px
        inputs, labels = [], []
        for place, number in enumerate(numbers):
            which, row, column = self._index[int(number)]
            field = self._fields[which]
            low = field.input[row : row + size, column : column + size]
            label = field.label[field.label_slice(row, row + size), field.label_slice(column, column + size)]
            turn = 0 if turns is None else int(turns[place])
            inputs.append(dihedral(low, turn))
            labels.append(dihedral(label, turn))
        return as_batch(np.stack(inputs)), as_batch(np.stack(labels))


def _starts(length_px: int, size_px: int, stride_px: int) -> list[int]:
    """Return even patch starts that cover an axis, the last one flush with its end where that is even."""
    last = (length_px - size_px) // 2 * 2
    if last < 0:
        return []
    return sorted({*range(0, last + 1, stride_px), last})


def dihedral(image: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Return one of the eight flips and quarter turns (0 leaves the image) of (rows, columns, channels)."""
    turned = np.rot90(image, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


def as_batch(images: NDArray[np.generic]) -> Tensor:
    """Return (N, rows, columns, 3) integers or floats as a channels-last (N, 3, rows, columns) float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(to_float(images))).permute(0, 3, 1, 2)
