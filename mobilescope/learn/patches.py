"""Training patches as windows of registered fields, and whole fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.core.errors import UserError
from mobilescope.core.factor import GridFactor
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.data.patch_places import patch_places
from mobilescope.imaging.colour import to_float
from mobilescope.imaging.turns import turned_copy

Counts = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class FieldPair:
    """One registered field: input (rows, columns, 3) uint16 and label (``factor`` times as large) uint8, both sRGB."""

    slide: str
    capture: int
    input: NDArray[np.uint16]
    label: NDArray[np.uint8]

    def label_slice(self, start_px: int, stop_px: int) -> slice:
        """Return the label pixels on the input pixels from ``start_px`` to before ``stop_px``, along either axis."""
        factor = GridFactor.of(self.label.shape[0] / self.input.shape[0])
        return factor.fine_slice(start_px, stop_px)


def factor_of(store: PairStore) -> Fraction:
    """Return how many label pixels stand beside one input pixel, exactly."""
    return Fraction(store.grid.p, store.grid.q)


def on_label(length_px: int, factor: Fraction) -> int:
    """Return a length or place of an input on its label's grid; both are whole at multiples of the factor's step."""
    return length_px * factor.numerator // factor.denominator


def load_field(store: PairStore, index: int, *, windowed: bool) -> FieldPair:
    """Read one pair, cut to its evaluation window if so wanted."""
    record = store.records[index]
    low, label = store.input(index), store.label(index)
    if windowed:
        top, bottom, left, right = record.bounds
        low = low[top:bottom, left:right]
        label = label[store.label_slice(top, bottom), store.label_slice(left, right)]
    return FieldPair(record.slide, record.capture, low, label)


def is_used(record: PairRecord, role: str, *, windowed: bool) -> bool:
    """Return whether a pair has the role, was accepted and, seen through its window, has something to show."""
    top, bottom, left, right = record.bounds
    return record.role == role and record.accepted and not (windowed and (top == bottom or left == right))


def load_fields(path: Path, role: str, *, windowed: bool) -> list[FieldPair]:
    """Read the accepted pairs of a role.

    Parameters
    ----------
    windowed : bool
        Cut each pair to its evaluation window; pairs with an empty one are left out.
    """
    with PairStore.open(path) as store:
        return [
            load_field(store, index, windowed=windowed)
            for index, record in enumerate(store.records)
            if is_used(record, role, windowed=windowed)
        ]


@dataclass(frozen=True, eq=False)
class PatchIndex:
    """Where the patches of a list of fields lie.

    A patch at (2a, 2b) of an input meets its label at ``factor`` times that place without resampling.

    Attributes
    ----------
    places : ndarray, shape (patches, 3), int64
        Number of the field, first row and first column in input pixels.
    patch_px : int
        Side of a patch in input pixels, even.
    """

    places: NDArray[np.int64]
    patch_px: int
    factor: Fraction

    @classmethod
    def over(
        cls, shapes: Sequence[tuple[int, int]], patch_px: int, stride_px: int, factor: Fraction
    ) -> PatchIndex:
        """Cover fields of the given (rows, columns) with patches.

        Raises
        ------
        UserError
            No field holds a patch.
        """
        fields = [patch_places(shape, patch_px, stride_px) for shape in shapes]
        numbers = np.repeat(np.arange(len(fields)), [len(places) for places in fields])
        places = np.column_stack([numbers, *np.concatenate([*fields, np.empty((0, 2), np.int64)]).T])
        if not len(places):
            raise UserError(
                f"no training patches of {patch_px} px in {len(shapes)} accepted training pairs",
                "check the registration's verdicts with 'mobilescope inspect'",
            )
        return cls(places, patch_px, factor)

    def without(self, dropped: NDArray[np.integer]) -> PatchIndex:
        """Leave out the patches at some places, shape (n, 3) as in ``places``.

        Raises
        ------
        UserError
            Nothing is left.
        """
        if not len(dropped):
            return self
        sides = np.maximum(self.places.max(axis=0), dropped.max(axis=0)) + 1
        kept = ~np.isin(*(np.ravel_multi_index(tuple(each.T), tuple(sides)) for each in (self.places, dropped)))
        if not kept.any():
            raise UserError("every training patch is blank and left out", "keep some: --keep-blank 1")
        return PatchIndex(self.places[kept], self.patch_px, self.factor)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.places)

    @property
    def label_px(self) -> int:
        """Side of a patch's label in label pixels."""
        return on_label(self.patch_px, self.factor)

    def label_place(self, row: int, column: int) -> tuple[int, int]:
        """Return where the label of a patch starts."""
        return on_label(row, self.factor), on_label(column, self.factor)


class PatchReader(Protocol):
    """Reads patches by number, from memory or from the disk."""

    def read(self, numbers: NDArray[np.integer], turns: NDArray[np.integer]) -> tuple[Counts, Counts]:
        """Return inputs (N, p, p, 3) uint16 and labels (N, factor·p, factor·p, 3) uint8, each turned as told."""
        ...


class PatchSet:
    """The patches of fields that are held in memory, addressed by number.

    Parameters
    ----------
    patch_px, stride_px : int
        Even sizes in input pixels.
    factor : Fraction
        Label pixels beside one input pixel.
    index : PatchIndex, optional
        Where the patches lie, if not everywhere.
    """

    def __init__(
        self, fields: Sequence[FieldPair], patch_px: int, stride_px: int, factor: Fraction = Fraction(5, 2),
        index: PatchIndex | None = None,
    ) -> None:
        self.fields = tuple(fields)
        shapes = [(field.input.shape[0], field.input.shape[1]) for field in fields]
        self.index = index or PatchIndex.over(shapes, patch_px, stride_px, factor)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Memory that the fields' pixels take."""
        return sum(field.input.nbytes + field.label.nbytes for field in self.fields)

    def read(self, numbers: NDArray[np.integer], turns: NDArray[np.integer]) -> tuple[Counts, Counts]:
        """Return inputs (N, p, p, 3) uint16 and labels (N, factor·p, factor·p, 3) uint8, each turned as told."""
        size, extent = self.index.patch_px, self.index.label_px
        inputs, labels = [], []
        for number, turn in zip(numbers, turns, strict=True):
            which, row, column = (int(value) for value in self.index.places[number])
            top, left = self.index.label_place(row, column)
            field = self.fields[which]
            inputs.append(turned_copy(field.input[row : row + size, column : column + size], int(turn)))
            labels.append(turned_copy(field.label[top : top + extent, left : left + extent], int(turn)))
        return np.stack(inputs), np.stack(labels)

    def batch(self, numbers: NDArray[np.integer], turns: NDArray[np.integer] | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs (N, 3, p, p) and labels (N, 3, factor·p, factor·p), float32 0-1.

        Parameters
        ----------
        turns : ndarray of int, shape (N,), optional
            Which of the eight flips and quarter turns to apply to each patch.
        """
        inputs, labels = self.read(numbers, np.zeros(len(numbers), np.int64) if turns is None else turns)
        return as_batch(inputs), as_batch(labels)


class StoredPatches:
    """The patches of fields that stay on the disk: each is read as a window of its pair.

    The files are opened at the first read, in whichever process reads: pickling leaves them out.

    Parameters
    ----------
    fields : sequence of (Path, int)
        Pair file and number of the pair, in the order of the index.
    """

    def __init__(self, fields: Sequence[tuple[Path, int]], index: PatchIndex) -> None:
        self._fields = tuple(fields)
        self.index = index
        self._stores: dict[Path, PairStore] = {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_stores": {}}

    def read(self, numbers: NDArray[np.integer], turns: NDArray[np.integer]) -> tuple[Counts, Counts]:
        """Return inputs (N, p, p, 3) uint16 and labels (N, factor·p, factor·p, 3) uint8, each turned as told."""
        size = self.index.patch_px
        inputs, labels = [], []
        for number, turn in zip(numbers, turns, strict=True):
            which, row, column = (int(value) for value in self.index.places[number])
            path, pair = self._fields[which]
            store = self._store(path)
            inputs.append(turned_copy(store.input_window(pair, row, column, size, size), int(turn)))
            labels.append(turned_copy(store.label_window(pair, row, column, size, size), int(turn)))
        return np.stack(inputs), np.stack(labels)

    def close(self) -> None:
        """Close the files; a later read opens them again."""
        for store in self._stores.values():
            store.close()
        self._stores = {}

    def _store(self, path: Path) -> PairStore:
        if path not in self._stores:
            self._stores[path] = PairStore.open(path)
        return self._stores[path]


def as_batch(images: NDArray[np.generic]) -> Tensor:
    """Return (N, rows, columns, 3) integers or floats as a channels-last (N, 3, rows, columns) float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(to_float(images))).permute(0, 3, 1, 2)


def as_counts(images: Counts) -> Tensor:
    """Return integer images as a tensor; 16-bit counts as the int16 of the same bits, which every torch can index."""
    whole = np.ascontiguousarray(images)
    return torch.from_numpy(whole.view(np.int16) if images.dtype == np.uint16 else whole)


def scaled(counts: Tensor) -> Tensor:
    """Return what `as_counts` gave, (N, rows, columns, 3), as `as_batch` would: (N, 3, rows, columns) float32 0-1."""
    planes = counts.permute(0, 3, 1, 2)
    if counts.dtype == torch.int16:
        return (planes.to(torch.int32) & 0xFFFF).to(torch.float32) / 65535
    return planes.to(torch.float32) / 255
