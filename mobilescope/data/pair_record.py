"""What a file of pairs says of each, and of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py

from mobilescope.core.factor import GridFactor
from mobilescope.data.datasets import Role
from mobilescope.data.files import read_json
from mobilescope.data.variants import DEFAULT_FACTOR, Warp

PAIRS_FORMAT = "mobilescope-pairs"
# Version 1 knew no factor but 2.5, and inputs that were resampled alone.
PAIRS_VERSION = 2
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


def grid_of(provenance: dict[str, Any]) -> GridFactor:
    """Return how input and label pixels of a file meet."""
    return GridFactor.of(float(provenance.get("factor", DEFAULT_FACTOR)))


def record_of(group: h5py.Group) -> PairRecord:
    """Return what is stored beside a pair's pixels."""
    fields = read_json(group["record"])
    rows, columns, _ = group["input"].shape
    quality = {name: math.nan if value is None else value for name, value in fields.pop("quality").items()}
    x_px, y_px = fields.pop("origin_px")
    window, crop_px = fields.pop("window"), fields.pop("crop_px", None)
    return PairRecord(
        **fields, quality=quality, origin_px=(x_px, y_px), window=None if window is None else tuple(window),
        shape=(rows, columns), has_map="map" in group, crop_px=None if crop_px is None else tuple(crop_px),
    )


def jsonable(value: float) -> float | None:
    """Return a figure for JSON, which knows no NaN: one that could not be measured is null."""
    number = float(value)
    return number if math.isfinite(number) else None
