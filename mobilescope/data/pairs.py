"""Registered pairs of a session in one derived file: stored once, read whole or in patches, never copied."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.data.files import (
    naming_write_failures,
    open_for_reading,
    read_json,
    read_part,
    replaced_when_whole,
    stored_bytes,
)
from mobilescope.data.schema import CODEC

PAIRS_FORMAT = "mobilescope-pairs"
PAIRS_VERSION = 1
INPUT_CHUNK_PX = 120
LABEL_CHUNK_PX = 300

Role = Literal["training", "validation", "blind"]
Warp = Literal["phone", "benchtop"]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class PairRecord:
    """What is known of a pair beside its pixels.

    Attributes
    ----------
    capture, row, column : int
        The phone capture's index, and the crop's place within that capture.
    accepted, reason : bool, str
        Whether the pair passed the quality gate; why not, if it did not.
    quality : dict of float
        Named figures of the registration and of both images; NaN where one could not be measured.
    warp : str
        Which image was resampled onto the other's lattice.
    origin_px : tuple of float
        (x, y) of the input's pixel (0, 0) in the pixel frame of the slide's mosaic, level 0.
    window : tuple of int or None
        (first row, end row, first column, end column) in input pixels of the part where both images hold and
        figures are taken; an empty one leaves nothing; None is the whole pair.
    shape : tuple of int
        (rows, columns) of the input; the label is 2.5 times as large.
    """

    slide: str
    role: Role
    capture: int
    row: int
    column: int
    accepted: bool
    reason: str
    quality: dict[str, float]
    warp: Warp
    origin_px: tuple[float, float]
    window: Window | None
    shape: tuple[int, int]
    has_map: bool

    @property
    def bounds(self) -> Window:
        """The window, or the whole pair where there is none."""
        return self.window if self.window is not None else (0, self.shape[0], 0, self.shape[1])


class PairWriter:
    """Writes a file of pairs; a context manager. The file takes its name on a clean exit only.

    Parameters
    ----------
    path : Path
        The pairs file (`layout.pairs_path` names a session's).
    provenance : dict
        JSON-ready: thresholds, software version, the session's digest.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        self.path = path
        self._provenance = json.dumps(provenance).encode("utf-8")
        self._count = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._new = self._stack.enter_context(replaced_when_whole(self.path, PAIRS_FORMAT, PAIRS_VERSION))
        try:
            with naming_write_failures(self.path):
                self._new.claim(len(self._provenance))
                self._new.file["provenance"] = np.bytes_(self._provenance)
                self._new.file.create_group("pairs")
                self._new.file.flush()
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, failure, traceback)

    def add(
        self, pixels: NDArray[np.uint16], label: NDArray[np.uint8], *, slide: str, role: Role, capture: int, row: int,
        column: int, accepted: bool, reason: str, quality: dict[str, float], warp: Warp,
        origin_px: tuple[float, float], window: Window | None, displacement_map: NDArray[np.float32] | None = None,
    ) -> int:
        """Store one pair and return its index; the names are explained at `PairRecord`.

        Parameters
        ----------
        pixels : ndarray, shape (h, w, 3), uint16
            Input, sRGB-coded on 16 bit; h and w even.
        label : ndarray, shape (2.5 h, 2.5 w, 3), uint8
            sRGB.
        displacement_map : ndarray, shape (h, w, 2), float32, optional
            The registration's map as (x, y).

        Raises
        ------
        InputImageError
            Arrays of another type or size, or a window that leaves the input.
        DiskSpaceError, OutputError
            The pair can't be written.
        """
        _check_pair(pixels, label, window, displacement_map)
        fields: dict[str, Any] = {
            "slide": slide, "role": role, "capture": int(capture), "row": int(row), "column": int(column),
            "accepted": bool(accepted), "reason": reason, "warp": warp,
            "quality": {name: _jsonable(value) for name, value in quality.items()},
            "origin_px": [float(value) for value in origin_px],
            "window": None if window is None else [int(value) for value in window],
        }
        with naming_write_failures(self.path):
            text = json.dumps(fields).encode("utf-8")
            self._new.claim(len(text))
            group = self._new.file["pairs"].create_group(f"{self._count:06d}")
            group["record"] = np.bytes_(text)
            self._store(group, "input", pixels, INPUT_CHUNK_PX)
            self._store(group, "label", label, LABEL_CHUNK_PX)
            if displacement_map is not None:
                self._store(group, "map", displacement_map, INPUT_CHUNK_PX)
        self._count += 1
        return self._count - 1

    def _store(self, group: h5py.Group, name: str, array: NDArray[Any], chunk: int) -> None:
        chunks = (min(chunk, array.shape[0]), min(chunk, array.shape[1]), array.shape[2])
        dataset = group.create_dataset(name, array.shape, array.dtype, chunks=chunks, **CODEC)
        self._new.claim(stored_bytes(dataset))
        dataset[...] = array
        self._new.file.flush()


@dataclass(frozen=True, eq=False)
class PairStore:
    """A finished file of pairs; a context manager. ``records`` are in the order of adding."""

    path: Path
    records: tuple[PairRecord, ...]
    provenance: dict[str, Any]
    _groups: tuple[h5py.Group, ...]
    _file: h5py.File

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file of pairs.

        Raises
        ------
        InputFileError, NewerVersionError
            It is missing, truncated, foreign, damaged, or newer than this software.
        """
        file = open_for_reading(path, PAIRS_FORMAT, PAIRS_VERSION)
        try:
            groups = tuple(file["pairs"][name] for name in sorted(file["pairs"]))
            provenance = read_json(file["provenance"])
            return cls(path, tuple(_record(group) for group in groups), provenance, groups, file)
        except (KeyError, OSError, ValueError) as error:
            file.close()
            raise InputFileError(f"{path} is damaged: {error}", "register the session again") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def input(self, index: int) -> NDArray[np.uint16]:
        """Read a pair's whole input, shape (h, w, 3), uint16, sRGB-coded."""
        return read_part(self._groups[index]["input"], ...)

    def label(self, index: int) -> NDArray[np.uint8]:
        """Read a pair's whole label, shape (2.5 h, 2.5 w, 3), uint8, sRGB."""
        return read_part(self._groups[index]["label"], ...)

    def map(self, index: int) -> NDArray[np.float32] | None:
        """Read a pair's displacement map, shape (h, w, 2) as (x, y), float32; None if it was not kept."""
        return read_part(self._groups[index]["map"], ...) if self.records[index].has_map else None

    def input_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint16]:
        """Read a part of an input, shape (height, width, 3); one that leaves the pair is an InputImageError."""
        self._check_window(index, row, column, height, width)
        return read_part(self._groups[index]["input"], np.s_[row:row + height, column:column + width])

    def label_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read the label under an input window, shape (2.5 height, 2.5 width, 3).

        All four numbers are in input pixels and even, so that the label needs no resampling.
        """
        if row % 2 or column % 2 or height % 2 or width % 2:
            raise InputImageError(f"only even windows meet whole label pixels, got {row}, {column}, {height}, {width}")
        self._check_window(index, row, column, height, width)
        top, left, high, wide = (value // 2 * 5 for value in (row, column, height, width))
        return read_part(self._groups[index]["label"], np.s_[top:top + high, left:left + wide])

    def patches(
        self, role: Role, size: int = 60, stride: int = 36, *, refused: bool = False
    ) -> list[tuple[int, int, int]]:
        """List the patches of a role as (pair, row, column) in input pixels, all even, inside each pair's window.

        Parameters
        ----------
        size, stride : int
            Patch side and step in input pixels; even, as label patches start at 2.5 times a patch's start.
        refused : bool
            Include pairs that the quality gate refused.
        """
        if size < 2 or stride < 2 or size % 2 or stride % 2:
            raise ValueError(f"patch size and stride must be even and positive, got {size} and {stride}")
        listed: list[tuple[int, int, int]] = []
        for index, record in enumerate(self.records):
            if record.role != role or not (record.accepted or refused):
                continue
            top, bottom, left, right = record.bounds
            rows = range(top + top % 2, bottom - size + 1, stride)
            columns = range(left + left % 2, right - size + 1, stride)
            listed.extend((index, row, column) for row in rows for column in columns)
        return listed

    def _check_window(self, index: int, row: int, column: int, height: int, width: int) -> None:
        rows, columns = self.records[index].shape
        if row < 0 or column < 0 or row + height > rows or column + width > columns:
            raise InputImageError(
                f"window {height}x{width} at ({row}, {column}) leaves pair {index} of {rows}x{columns}"
            )


def _check_pair(
    pixels: NDArray[Any], label: NDArray[Any], window: Window | None, displacement_map: NDArray[Any] | None
) -> None:
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputImageError(f"an input must be uint16 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    rows, columns = pixels.shape[:2]
    if rows % 2 or columns % 2:
        raise InputImageError(f"an input needs even sides, got {rows}x{columns}", "leave out the last row or column")
    expected = (rows // 2 * 5, columns // 2 * 5, 3)
    if label.dtype != np.uint8 or label.shape != expected:
        raise InputImageError(f"the label must be uint8 of shape {expected}, got {label.dtype} {label.shape}")
    if displacement_map is not None and (
        displacement_map.dtype != np.float32 or displacement_map.shape != (rows, columns, 2)
    ):
        raise InputImageError(
            f"the map must be float32 of shape {(rows, columns, 2)}, "
            f"got {displacement_map.dtype} {displacement_map.shape}"
        )
    if window is not None:
        top, bottom, left, right = window
        if not (0 <= top <= bottom <= rows and 0 <= left <= right <= columns):
            raise InputImageError(f"window {window} leaves the input of {rows}x{columns}")
        if any(edge % 2 for edge in window):
            raise InputImageError(f"window {window} has odd edges, which lie between label pixels", "use even ones")


def _record(group: h5py.Group) -> PairRecord:
    fields = read_json(group["record"])
    rows, columns, _ = group["input"].shape
    quality = {name: math.nan if value is None else value for name, value in fields.pop("quality").items()}
    x_px, y_px = fields.pop("origin_px")
    window = fields.pop("window")
    return PairRecord(
        **fields, quality=quality, origin_px=(x_px, y_px), window=None if window is None else tuple(window),
        shape=(rows, columns), has_map="map" in group,
    )


def _jsonable(value: float) -> float | None:
    """JSON knows no NaN: a figure that could not be measured is stored as null."""
    number = float(value)
    return number if math.isfinite(number) else None
