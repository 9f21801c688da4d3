"""Writing a file of registered pairs, which takes its name when it is whole."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.core.factor import GridFactor
from mobilescope.data.datasets import Role
from mobilescope.data.files import naming_write_failures, read_json, read_part, replaced_when_whole, stored_bytes
from mobilescope.data.pair_record import (
    PAIRS_FORMAT,
    PAIRS_VERSION,
    PairRecord,
    Window,
    grid_of,
    jsonable,
    record_of,
)
from mobilescope.data.pairs import PairStore
from mobilescope.data.schema import CHECKED_CODEC
from mobilescope.data.variants import Warp

INPUT_CHUNK_PX = 120
LABEL_CHUNK_PX = 300


class PairWriter:
    """Writes a file of pairs; a context manager. The file takes its name on a clean exit only.

    Parameters
    ----------
    path : Path
        The pairs file (`layout.pairs_path` names a session's).
    provenance : dict
        JSON-ready. The file's geometry: ``factor`` (label pixels per input pixel, 2.5 where it is missing),
        ``label_pixel_um``, ``input_pixel_um``, ``warp``. What the input is: ``input`` (raw, jpeg, or
        "raw + jpeg" of a phone that gave now the one, now the other; files of before say raw of all that was not made
        a JPEG of here), ``jpeg_ratio``, ``development`` (white balance with its gains, crops, defects, flat field, the
        settings).
        Where it comes from: ``session``, ``session_digest``, ``instrument``, ``phone_half_pitch_um``, ``stains``
        by slide, ``captures_sha256`` and ``scans_sha256`` by slide. How it was judged: ``thresholds``;
        ``software_version``; ``made_of``, a digest of all that decided it.

    Raises
    ------
    UserError
        The factor is none.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        self.path = path
        self._grid = grid_of(provenance)
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
            "quality": {name: jsonable(value) for name, value in quality.items()},
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

    def adopt(self, store: PairStore, index: int) -> int:
        """Copy a pair from another file as its bytes stand there and return its index here.

        Raises
        ------
        InputFileError, DiskSpaceError, OutputError
            The pair can't be read or written; or it has another factor.
        """
        if store.grid != self._grid:
            raise InputFileError(f"{store.path} has pairs of another factor than {self.path}", "register them alike")
        group = store._groups[index]
        with naming_write_failures(self.path):
            self._new.claim(sum(int(each.id.get_storage_size()) for each in group.values()) + 64 * 1024)
            group.file.copy(group, self._new.file["pairs"], name=f"{self._count:06d}")
            self._new.file.flush()
        self._count += 1
        return self._count - 1

    @property
    def grid(self) -> GridFactor:
        """How input and label pixels meet."""
        return self._grid

    def records(self) -> list[PairRecord]:
        """Return what is known so far of each pair beside its pixels."""
        return [record_of(self._group(index)) for index in range(self._count)]

    def map(self, index: int) -> NDArray[np.float32]:
        """Return the registration's map of a pair that has one, see `PairStore.map`."""
        return read_part(self._group(index)["map"], ...)

    def set_window(self, index: int, window: Window) -> None:
        """Give a pair of this file another evaluation window."""
        self._amend(index, {"window": [int(value) for value in window]})

    def refuse(self, index: int, reason: str) -> None:
        """Refuse a pair of this file after all."""
        self._amend(index, {"accepted": False, "reason": reason})

    def _amend(self, index: int, changes: dict[str, Any]) -> None:
        group = self._group(index)
        fields = read_json(group["record"]) | changes
        with naming_write_failures(self.path):
            text = json.dumps(fields).encode("utf-8")
            self._new.claim(len(text))
            del group["record"]
            group["record"] = np.bytes_(text)

    def _group(self, index: int) -> h5py.Group:
        return self._new.file[f"pairs/{index:06d}"]

    def _store(self, group: h5py.Group, name: str, array: NDArray[Any], chunk: int) -> None:
        chunks = (min(chunk, array.shape[0]), min(chunk, array.shape[1]), array.shape[2])
        dataset = group.create_dataset(name, array.shape, array.dtype, chunks=chunks, **CHECKED_CODEC)
        self._new.claim(stored_bytes(dataset))
        dataset[...] = array
        self._new.file.flush()


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
