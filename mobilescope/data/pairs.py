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

from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.factor import GridFactor
from mobilescope.data.files import (
    naming_write_failures,
    open_for_reading,
    read_json,
    read_part,
    replaced_when_whole,
    stored_bytes,
)
from mobilescope.data.schema import CODEC
from mobilescope.data.variants import DEFAULT_FACTOR, Warp

PAIRS_FORMAT = "mobilescope-pairs"
# Version 1 knew no factor but 2.5, and inputs that were resampled alone.
PAIRS_VERSION = 2
INPUT_CHUNK_PX = 120
LABEL_CHUNK_PX = 300

Role = Literal["training", "validation", "blind"]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class PairRecord:
    """What is known of a pair beside its pixels.

    Attributes
    ----------
    capture, row, column : int
        The phone capture's index, and its place in the grid of fields; where captures were cut into parts, that of the
        part in the grid of all parts.
    accepted, reason : bool, str
        Whether the pair passed the quality gate; why not, if it did not.
    quality : dict of float
        Named figures of the registration and of both images; NaN where one could not be measured. An input that was
        stored as JPEG adds ``jpeg_bytes``, ``jpeg_quality`` and ``jpeg_ratio``; one that was found by a search of the
        mosaic ``place_x_um``, ``place_y_um``, ``place_rotation_deg``, ``place_correlation`` and ``place_landmarks``.
    warp : str
        Which image was resampled onto the other's lattice.
    origin_px : tuple of float
        (x, y) of the input's pixel (0, 0) in the pixel frame of the slide's mosaic, level 0.
    window : tuple of int or None
        (first row, end row, first column, end column) in input pixels of the part where both images hold and
        figures are taken; an empty one leaves nothing; None is the whole pair.
    shape : tuple of int
        (rows, columns) of the input; the label is the file's factor times as large.
    has_map : bool
        Whether the registration's map was kept, see `PairStore.map`.
    crop_px : tuple of int or None
        (row, column) in the developed capture of the first pixel of an input that is a crop of it, untouched; None
        where the input was resampled.
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
    crop_px: tuple[int, int] | None = None

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
        JSON-ready. The file's geometry: ``factor`` (label pixels per input pixel, 2.5 where it is missing),
        ``label_pixel_um``, ``input_pixel_um``, ``warp``. What the input is: ``input`` (raw or jpeg), ``jpeg_ratio``,
        ``development`` (white balance with its gains, crops, defects, flat field, the settings).
        Where it comes from: ``session``, ``session_digest``, ``instrument``, ``phone_half_pitch_um``, ``stains``
        by slide. How it was judged: ``thresholds``; ``software_version``.

    Raises
    ------
    UserError
        The factor is none.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        self.path = path
        self._grid = _grid_of(provenance)
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
        crop_px: tuple[int, int] | None = None,
    ) -> int:
        """Store one pair and return its index; the names are explained at `PairRecord`.

        Parameters
        ----------
        pixels : ndarray, shape (h, w, 3), uint16
            Input, sRGB-coded on 16 bit; h and w multiples of the factor's step (2 for 1.5 and 2.5, 1 for whole ones).
        label : ndarray, shape (factor h, factor w, 3), uint8
            sRGB.
        displacement_map : ndarray, shape (h, w, 2), float32, optional
            The registration's map as (x, y), see `PairStore.map`.

        Raises
        ------
        InputImageError
            Arrays of another type or size, or a window that leaves the input.
        DiskSpaceError, OutputError
            The pair can't be written.
        """
        _check_pair(self._grid, pixels, label, window, displacement_map)
        fields: dict[str, Any] = {
            "slide": slide, "role": role, "capture": int(capture), "row": int(row), "column": int(column),
            "accepted": bool(accepted), "reason": reason, "warp": warp,
            "quality": {name: _jsonable(value) for name, value in quality.items()},
            "origin_px": [float(value) for value in origin_px],
            "window": None if window is None else [int(value) for value in window],
            "crop_px": None if crop_px is None else [int(value) for value in crop_px],
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
    """A finished file of pairs; a context manager.

    Attributes
    ----------
    records : tuple of PairRecord
        In the order of adding.
    provenance : dict
        As given to `PairWriter`; older files lack what was added later.
    grid : GridFactor
        How input and label pixels meet.
    """

    path: Path
    records: tuple[PairRecord, ...]
    provenance: dict[str, Any]
    grid: GridFactor
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
            records = tuple(_record(group) for group in groups)
            return cls(path, records, provenance, _grid_of(provenance), groups, file)
        except (KeyError, OSError, TypeError, ValueError, UserError) as error:
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
        return read_part(self._groups[index]["input"], ...)

    def label(self, index: int) -> NDArray[np.uint8]:
        """Read a pair's whole label, shape (factor h, factor w, 3), uint8, sRGB."""
        return read_part(self._groups[index]["label"], ...)

    def map(self, index: int) -> NDArray[np.float32] | None:
        """Read the registration's map, shape (h, w, 2) as (x, y), float32; None if it was not kept.

        For each input pixel its place in the image that it is no crop of: where in the developed capture it was
        resampled from (``warp="phone"``), or where it lies in the mosaic's level 0 (``warp="benchtop"``).
        """
        return read_part(self._groups[index]["map"], ...) if self.records[index].has_map else None

    def input_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint16]:
        """Read a part of an input, shape (height, width, 3); one that leaves the pair is an InputImageError."""
        self._check_window(index, row, column, height, width)
        return read_part(self._groups[index]["input"], np.s_[row:row + height, column:column + width])

    def label_window(self, index: int, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read the label under an input window, shape (factor height, factor width, 3).

        All four numbers are in input pixels and multiples of `step_px`, so that the label needs no resampling;
        InputImageError where they are not, or where the window leaves the pair.
        """
        self._check_window(index, row, column, height, width)
        part = self.label_slice(row, row + height), self.label_slice(column, column + width)
        return read_part(self._groups[index]["label"], part)

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

    def _check_window(self, index: int, row: int, column: int, height: int, width: int) -> None:
        rows, columns = self.records[index].shape
        if row < 0 or column < 0 or row + height > rows or column + width > columns:
            raise InputImageError(
                f"window {height}x{width} at ({row}, {column}) leaves pair {index} of {rows}x{columns}"
            )


def _grid_of(provenance: dict[str, Any]) -> GridFactor:
    return GridFactor.of(float(provenance.get("factor", DEFAULT_FACTOR)))


def _check_pair(
    grid: GridFactor, pixels: NDArray[Any], label: NDArray[Any], window: Window | None,
    displacement_map: NDArray[Any] | None,
) -> None:
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputImageError(f"an input must be uint16 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    rows, columns = pixels.shape[:2]
    expected = (grid.fine_px(rows), grid.fine_px(columns), 3)
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
        for edge in window:
            grid.fine_px(edge)


def _record(group: h5py.Group) -> PairRecord:
    fields = read_json(group["record"])
    rows, columns, _ = group["input"].shape
    quality = {name: math.nan if value is None else value for name, value in fields.pop("quality").items()}
    x_px, y_px = fields.pop("origin_px")
    window, crop_px = fields.pop("window"), fields.pop("crop_px", None)
    return PairRecord(
        **fields, quality=quality, origin_px=(x_px, y_px), window=None if window is None else tuple(window),
        shape=(rows, columns), has_map="map" in group, crop_px=None if crop_px is None else tuple(crop_px),
    )


def _jsonable(value: float) -> float | None:
    """JSON knows no NaN: a figure that could not be measured is stored as null."""
    number = float(value)
    return number if math.isfinite(number) else None
