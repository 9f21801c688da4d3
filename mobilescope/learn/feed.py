"""Where a step's patches come from: memory, worker processes that read the file, or the device itself.

The order is a function of seed and step alone, so a run that is resumed, or fed in another way, sees the same batches
to the bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mobilescope.core.errors import MobilescopeError
from mobilescope.core.processes import starting_workers
from mobilescope.imaging.turns import TURNS, turned
from mobilescope.learn.patches import (
    Counts,
    FieldPair,
    PatchIndex,
    PatchReader,
    PatchSet,
    StoredPatches,
    as_counts,
    scaled,
)

_ORDERS_AHEAD = 64
_BATCHES_AHEAD = 4
_MOST_WORKERS = 12


@dataclass(frozen=True)
class DataOptions:
    """How training data reach the network; none of it changes a weight.

    Attributes
    ----------
    workers : int or None
        Processes that read patches from the file; 0 reads in the training process. None takes as many as there are
        processors (at most 12) for data that stay on the disk.
    cache_bytes : int
        Pairs that take less than this, decoded, are kept in memory.
    resident : str
        Whether the pairs are kept on the device, and patches cut and turned there. "auto" does so on a CUDA GPU for
        pairs that take less than a quarter of its free memory.
    """

    workers: int | None = None
    cache_bytes: int = 1_000_000_000
    resident: Literal["auto", "on", "off"] = "auto"

    def is_resident(self, needed_bytes: int, device: torch.device) -> bool:
        """Return whether pairs of that size stay on the device."""
        if self.resident != "auto":
            return self.resident == "on"
        if device.type != "cuda":
            return False
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return needed_bytes < free_bytes / 4

    def is_cached(self, needed_bytes: int) -> bool:
        """Return whether pairs of that size are read once and kept in memory."""
        return not self.workers and needed_bytes < self.cache_bytes

    def worker_count(self) -> int:
        """Return how many processes read data that stay on the disk."""
        if self.workers is not None:
            return self.workers
        return min(_MOST_WORKERS, os.cpu_count() or 1)


class Order:
    """Which patches a step sees, and how they are turned: each epoch is a new permutation.

    Parameters
    ----------
    count : int
        Patches in all.
    part : slice
        The part of each batch that this process works on.
    """

    def __init__(self, count: int, batch: int, seed: int, *, augment: bool, part: slice | None = None) -> None:
        self._count, self._batch, self._seed, self._augment = count, batch, seed, augment
        self._part = part or slice(None)
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def draw(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a step's patch numbers and turns, each (batch,)."""
        places = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs = {int(epoch) for epoch in places // self._count}
        self._epochs = {epoch: self._epoch(epoch) for epoch in epochs}
        numbers = np.array([self._epochs[int(place) // self._count][place % self._count] for place in places])
        turns = np.zeros(self._batch, np.int64)
        if self._augment:
            turns = np.random.default_rng([self._seed, step, 8]).integers(0, 8, self._batch)
        return numbers[self._part], turns[self._part]

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch in self._epochs:
            return self._epochs[epoch]
        return np.random.default_rng([self._seed, epoch]).permutation(self._count)


class Feed(Protocol):
    """Gives the batches of a run of steps, on the device.

    What `batches` yields for a step and `decode` makes of it are apart, so that the second can be part of a recorded
    or compiled step.
    """

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield two tensors for each step from ``first`` to before ``end``."""
        ...

    def decode(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (N, 3, p, p) and labels (N, 3, factor·p, factor·p), channels-last, float32 0-1."""
        ...


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """Patches cut in this process, one batch at a time."""

    reader: PatchReader
    order: Order
    device: torch.device

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield integer inputs and labels (N, rows, columns, 3) for each step."""
        for step in range(first, end):
            inputs, labels = (as_counts(images) for images in self.reader.read(*self.order.draw(step)))
            yield _sent(inputs, self.device), _sent(labels, self.device)

    def decode(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Return integer inputs and labels as float32 0-1."""
        return scaled(one), scaled(two)


@dataclass(frozen=True, eq=False)
class WorkerFeed:
    """Patches read from the file by processes that work ahead."""

    reader: StoredPatches
    order: Order
    device: torch.device
    workers: int

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield integer inputs and labels (N, rows, columns, 3) for each step."""
        if first >= end:
            return
        loader: DataLoader[Any] = DataLoader(
            _Batches(self.reader),  # type: ignore[arg-type]  # it gives whole batches
            batch_sampler=_Draws(self.order, first, end),
            num_workers=self.workers,
            collate_fn=_whole,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context="spawn",
            prefetch_factor=_BATCHES_AHEAD,
            generator=torch.Generator(),
        )
        with starting_workers():
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, MobilescopeError):
                raise batch
            inputs, labels = batch
            yield inputs.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def decode(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Return integer inputs and labels as float32 0-1."""
        return scaled(one), scaled(two)


@dataclass(frozen=True)
class _Draws:
    """The steps' draws as torch's loader wants them: a list of (number, turn) for each batch."""

    order: Order
    first: int
    end: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first, self.end):
            numbers, turns = self.order.draw(step)
            yield list(zip(numbers.tolist(), turns.tolist(), strict=True))

    def __len__(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class _Batches:
    """What a worker gives for a list of (number, turn)."""

    reader: StoredPatches

    def __getitems__(self, items: list[tuple[int, int]]) -> tuple[Tensor, Tensor] | MobilescopeError:
        numbers, turns = np.array(items, dtype=np.int64).T
        try:
            inputs, labels = self.reader.read(numbers, turns)
        except MobilescopeError as error:
            return error  # torch would bury its cause and remedy under the worker's traceback
        return as_counts(inputs), as_counts(labels)


def _whole(batch: object) -> object:
    """Return a batch that was read as one, where torch would put single patches together."""
    return batch


class ResidentFeed:
    """Patches cut, turned and scaled on the device, which holds all fields as integers.

    Parameters
    ----------
    fields : sequence of FieldPair
        In the order of the index.
    """

    def __init__(self, fields: Sequence[FieldPair], index: PatchIndex, order: Order, device: torch.device) -> None:
        self._order, self._device = order, device
        self._inputs, input_starts = _laid_out([field.input for field in fields], device)
        self._labels, label_starts = _laid_out([field.label for field in fields], device)
        which, rows, columns = index.places.T
        self._input_patches = _Patches(
            input_starts[which], rows, columns, np.array([field.input.shape[1] for field in fields])[which],
            index.patch_px, device,
        )
        up, down = index.factor.numerator, index.factor.denominator
        self._label_patches = _Patches(
            label_starts[which], rows * up // down, columns * up // down,
            np.array([field.label.shape[1] for field in fields])[which], index.label_px, device,
        )

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield patch numbers and turns, each (N,) int64, for each step."""
        for start in range(first, end, _ORDERS_AHEAD):
            draws = [np.stack(self._order.draw(step)) for step in range(start, min(end, start + _ORDERS_AHEAD))]
            block = _sent(torch.from_numpy(np.stack(draws)), self._device)
            yield from ((numbers, turns) for numbers, turns in block)

    def decode(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of patch numbers and turns as float32 0-1."""
        return (
            scaled(self._input_patches.cut(self._inputs, one, two)),
            scaled(self._label_patches.cut(self._labels, one, two)),
        )


class _Patches:
    """Places of square patches in images that lie one behind the other, (pixels, 3)."""

    def __init__(
        self, starts: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64],
        widths: NDArray[np.int64], size_px: int, device: torch.device,
    ) -> None:
        self._first = torch.from_numpy(starts + rows * widths + columns).to(device)
        self._widths = torch.from_numpy(widths).to(device)
        down, across = _turned_places(size_px)
        self._down, self._across = torch.from_numpy(down).to(device), torch.from_numpy(across).to(device)

    def cut(self, pixels: Tensor, numbers: Tensor, turns: Tensor) -> Tensor:
        """Return the patches (N, size, size, 3)."""
        places = self._first[numbers][:, None, None] + self._down[turns] * self._widths[numbers][:, None, None]
        return pixels[places + self._across[turns]]


def _turned_places(size_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column that each pixel of a turned patch comes from, for each turn (8, size, size)."""
    places = np.stack(np.meshgrid(np.arange(size_px), np.arange(size_px), indexing="ij"), axis=-1)
    turns = np.stack([turned(places, turn) for turn in range(TURNS)])
    return np.ascontiguousarray(turns[..., 0]), np.ascontiguousarray(turns[..., 1])


def _laid_out(images: Sequence[Counts], device: torch.device) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the pixels of all images, (pixels, 3), on the device, and where each image starts."""
    lengths = [math.prod(image.shape[:2]) for image in images]
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - np.array(lengths)
    first = as_counts(images[0][:0])
    pixels = torch.empty((int(ends[-1]), 3), dtype=first.dtype, device=device)
    for image, start, end in zip(images, starts, ends, strict=True):
        pixels[start:end] = as_counts(image).reshape(-1, 3).to(device)
    return pixels, starts


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device; to a GPU it goes from pinned memory, while the processor goes on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def make_feed(reader: PatchSet | StoredPatches, order: Order, options: DataOptions, device: torch.device) -> Feed:
    """Return the feed that suits where the patches are and what trains on them."""
    if isinstance(reader, StoredPatches):
        workers = options.worker_count()
        return WorkerFeed(reader, order, device, workers) if workers else MemoryFeed(reader, order, device)
    if options.is_resident(reader.nbytes, device):
        return ResidentFeed(reader.fields, reader.index, order, device)
    return MemoryFeed(reader, order, device)
