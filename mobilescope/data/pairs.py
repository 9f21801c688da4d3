"""Registered pairs of a session in one derived file: stored once, read whole or in patches, never copied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.closing import Closing
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.factor import GridFactor
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.data.datasets import (
    DATASET_FORMAT,
    Dataset,
    Role,
    allow_open_files,
    check_member,
    joined_provenance,
    member_path,
)
from mobilescope.data.files import file_format, open_for_reading, read_json, read_part, stored
from mobilescope.data.pair_record import PAIRS_FORMAT, PAIRS_VERSION, PairRecord, grid_of, record_of

_REMEDY = "register the session again"
_PIXELS = ("input", "label", "map")


@dataclass(frozen=True, eq=False)
class PairStore(Closing):
    """A finished file of pairs, or all the files of a dataset; a context manager.

    Attributes
    ----------
    records : tuple of PairRecord
        In the order of adding, file by file; those of a dataset have its roles.
    provenance : dict
        As given to `PairWriter`; older files lack what was added later.
    grid : GridFactor
        How input and label pixels meet.
    parts : tuple of range
        Which records each file of a dataset gave; one range for a single file.
    """

    path: Path
    records: tuple[PairRecord, ...]
    provenance: dict[str, Any]
    grid: GridFactor
    parts: tuple[range, ...]
    _groups: tuple[h5py.Group, ...]
    _files: tuple[h5py.File, ...]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file of pairs, or a dataset.

        Raises
        ------
        InputFileError, NewerVersionError
            It is missing, truncated, foreign, damaged, or newer than this software; a file of a dataset is not what it
            was.
        """
        if file_format(path) == DATASET_FORMAT:
            return cls._open_dataset(path)
        file = open_for_reading(path, PAIRS_FORMAT, PAIRS_VERSION)
        try:
            groups = tuple(file["pairs"][name] for name in sorted(file["pairs"]))
            provenance = read_json(file["provenance"])
            records = tuple(record_of(group) for group in groups)
            grid = grid_of(provenance)
            for record, group in zip(records, groups, strict=True):
                _check_arrays(record, group, grid)
            return cls(path, records, provenance, grid, (range(len(groups)),), groups, (file,))
        except InputFileError:
            file.close()
            raise
        except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError, UserError) as error:
            file.close()
            raise InputFileError(f"{path} is damaged: {error}", _REMEDY) from error

    @classmethod
    def _open_dataset(cls, path: Path) -> Self:
        """Open every file of a dataset; slides that it leaves out are left out."""
        dataset, stores = Dataset.read(path), []
        allow_open_files(len(dataset.members))
        try:
            for member in dataset.members:
                stores.append(store := cls.open(member_path(path, member)))
                check_member(path, member, store._files[0], store.path)
            records: list[PairRecord] = []
            groups: list[h5py.Group] = []
            parts = []
            for member, store in zip(dataset.members, stores, strict=True):
                start = len(records)
                for record, group in zip(store.records, store._groups, strict=True):
                    if record.slide in member.roles:
                        records.append(replace(record, role=member.roles[record.slide]))
                        groups.append(group)
                parts.append(range(start, len(records)))
            return cls(
                path, tuple(records), joined_provenance([store.provenance for store in stores]), stores[0].grid,
                tuple(parts), tuple(groups), tuple(file for store in stores for file in store._files),
            )
        except BaseException:
            for store in stores:
                store.close()
            raise

    def close(self) -> None:
        """Close the file, or the files."""
        for file in self._files:
            file.close()

    def verify(self, on_progress: ProgressListener = ignore_progress) -> list[str]:
        """Read all pixels, and return a line for each pair that can't be read.

        In files that were written before pixels had checksums, damage shows only where it keeps them from being
        unpacked.
        """
        problems = []
        for index, record in enumerate(self.records):
            try:
                for name in _PIXELS:
                    if name != "map" or record.has_map:
                        self._read(index, name, ...)
            except InputFileError as error:
                problems.append(f"pair {index} (slide {record.slide}, capture {record.capture}): {error.cause}")
            on_progress(Progress(f"check {self.path.name}", index + 1, len(self.records)))
        return problems

    @property
    def factor(self) -> float:
        """Label pixels per input pixel along each axis."""
        return self.grid.value

    @property
    def step_px(self) -> int:
        """Inputs, windows and patches start and end at multiples of so many input pixels, and so on whole label pixels.

        It is the denominator of the factor: 2 for 1.5 and 2.5, 1 for whole factors.
        """
        return self.grid.step_px

    def label_px(self, input_px: int) -> int:
        """Return how many label pixels stand on so many input pixels; InputImageError between label pixels."""
        return self.grid.fine_px(input_px)

    def label_slice(self, start_px: int, stop_px: int) -> slice:
        """Return the label pixels on the input pixels from ``start_px`` to before ``stop_px``, along either axis."""
        return self.grid.fine_slice(start_px, stop_px)

    def input(self, index: int) -> NDArray[np.uint16]:
        """Read a pair's whole input, shape (h, w, 3), uint16, sRGB-coded."""
        return self._read(index, "input", ...)

    def label(self, index: int) -> NDArray[np.uint8]:
        """Read a pair's whole label, shape (factor h, factor w, 3), uint8, sRGB."""
        return self._read(index, "label", ...)

    def map(self, index: int) -> NDArray[np.float32] | None:
        """Read the registration's map, shape (h, w, 2) as (x, y), float32; None if it was not kept.

        For each input pixel its place in the image that it is no crop of: where in the developed capture it was
        resampled from (``warp="phone"``), or where it lies in the mosaic's level 0 (``warp="benchtop"``).
        """
        return self._read(index, "map", ...) if self.records[index].has_map else None

    def input_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint16]:
        """Read a part of an input, shape (height, width, 3); one that leaves the pair is an InputImageError."""
        self._check_window(index, row, column, height, width)
        return self._read(index, "input", np.s_[row:row + height, column:column + width])

    def label_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read the label under an input window, shape (factor height, factor width, 3).

        All four numbers are in input pixels and multiples of `step_px`, so that the label needs no resampling;
        InputImageError where they are not, or where the window leaves the pair.
        """
        self._check_window(index, row, column, height, width)
        part = self.label_slice(row, row + height), self.label_slice(column, column + width)
        return self._read(index, "label", part)

    def patches(
        self, role: Role, size: int = 60, stride: int = 36, *, refused: bool = False
    ) -> list[tuple[int, int, int]]:
        """List the patches of a role as (pair, row, column) in input pixels, inside each pair's window.

        Parameters
        ----------
        size, stride : int
            Patch side and step in input pixels; multiples of `step_px`, so that label patches start at whole pixels.
        refused : bool
            Include pairs that the quality gate refused.
        """
        step = self.step_px
        if size < 1 or stride < 1 or size % step or stride % step:
            raise ValueError(f"patch size and stride must be positive multiples of {step}, got {size} and {stride}")
        listed: list[tuple[int, int, int]] = []
        for index, record in enumerate(self.records):
            if record.role != role or not (record.accepted or refused):
                continue
            top, bottom, left, right = record.bounds
            rows = range(top + -top % step, bottom - size + 1, stride)
            columns = range(left + -left % step, right - size + 1, stride)
            listed.extend((index, row, column) for row in rows for column in columns)
        return listed

    def _read(self, index: int, name: str, part: Any) -> NDArray[Any]:
        return read_part(stored(self._groups[index], name, _REMEDY), part, _REMEDY)

    def _check_window(self, index: int, row: int, column: int, height: int, width: int) -> None:
        rows, columns = self.records[index].shape
        if row < 0 or column < 0 or row + height > rows or column + width > columns:
            raise InputImageError(
                f"window {height}x{width} at ({row}, {column}) leaves pair {index} of {rows}x{columns}"
            )


def _check_arrays(record: PairRecord, group: h5py.Group, grid: GridFactor) -> None:
    """Refuse a pair whose input, label and map don't lie on one another."""
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "input": ((*record.shape, 3), "uint16"),
        "label": ((*(grid.fine_px(side) for side in record.shape), 3), "uint8"),
    }
    if record.has_map:
        expected["map"] = ((*record.shape, 2), "float32")
    for name, (shape, dtype) in expected.items():
        found = stored(group, name, _REMEDY)
        if (found.shape, found.dtype) != (shape, dtype):
            raise InputFileError(
                f"{group.file.filename} is damaged: {found.name} is {found.dtype} {found.shape}, not {dtype} {shape}",
                _REMEDY,
            )
