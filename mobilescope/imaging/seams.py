"""Seams between overlapping tiles: each runs where the two differ least, so that nothing is seen double.

A seam is one number per row (or column) of an overlap, found by dynamic programming once both tiles are there; what is
kept of a tile is a weight beside each of its seams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# From one tile to the other within so many pixels on either side of the seam.
_HALF_WIDTH_PX = 6
_LEAST_WIDTHS = 8
# What a seam pays for running at the rim of the overlap rather than in its middle, in terms of the usual difference.
_RIM_COST = 0.5
# Corners are shared out by the seams of the edges that meet there.
_LEAST_LENGTH = 0.5
# Where seams that meet leave a pixel to nobody, all share it.
_FOR_ALL = 1e-4


@dataclass(frozen=True, eq=False)
class Seam:
    """The line between two tiles.

    Attributes
    ----------
    first_px : tuple of int
        (row, column) in the mosaic of the overlap's first pixel.
    upright : bool
        Whether it runs from top to bottom, with one tile to its left; else from left to right, with one above.
    place : ndarray, shape (length,), int
        Pixels from the overlap's rim to the seam, for each row of an upright one, else for each column.
    width : int
        Pixels of the overlap across the seam.
    """

    first_px: tuple[int, int]
    upright: bool
    place: NDArray[np.int_]
    width: int

    def fades(self) -> NDArray[np.float32]:
        """Return the weight of the left or upper tile over the overlap, shape of the overlap, 0 to 1."""
        across = np.arange(self.width, dtype=np.float32)
        distance = (self.place[:, None] - across) / (2 * _half_width_px(self.width))
        fade: NDArray[np.float32] = np.clip(0.5 + distance, 0, 1).astype(np.float32)
        return fade if self.upright else np.ascontiguousarray(fade.T)


def _half_width_px(across: int) -> float:
    """Return how far to either side of a seam its tiles mix, in an overlap so many pixels across."""
    return min(_HALF_WIDTH_PX, across / _LEAST_WIDTHS)


def find_seam(
    tiles: tuple[NDArray[Any], NDArray[Any]], first_px: tuple[NDArray[np.int_], NDArray[np.int_]],
    gains: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> tuple[Seam, bool] | None:
    """Return the seam of two tiles of one shape, and whether the first of them is the left or upper one.

    Parameters
    ----------
    tiles : pair of ndarray, shape (rows, columns, channels)
    first_px : pair of ndarray
        (row, column) in the mosaic of each one's pixel (0, 0).
    gains : pair of ndarray, shape (channels,), optional
        Factors on their values.

    Returns
    -------
    Seam and bool, or None
        None where they share no more than a corner.
    """
    shape = np.array(tiles[0].shape[:2])
    top_left = np.maximum(*first_px)
    size = np.minimum(*first_px) + shape - top_left
    if size.min() < 1 or (size < _LEAST_LENGTH * shape).all():
        return None
    upright = bool(size[0] / shape[0] >= size[1] / shape[1])
    parts = []
    for number, (tile, first) in enumerate(zip(tiles, first_px, strict=True)):
        row, column = top_left - first
        part = tile[row:row + size[0], column:column + size[1]].astype(np.float32)
        parts.append(part if gains is None else part * gains[number])
    cost = np.abs(parts[0] - parts[1]).sum(axis=2)
    reach = 2 * math.ceil(_half_width_px(int(size[int(upright)]))) + 1
    cost = cv2.blur(cost, (reach, reach), borderType=cv2.BORDER_REFLECT)
    cost = cost if upright else cost.T
    middle = (cost.shape[1] - 1) / 2
    rim = np.abs(np.arange(cost.shape[1]) - middle) / max(middle, 1)
    # A difference counts with its square: rather a long way round than through a thing that only one tile shows.
    place = _cheapest_path(np.square(cost / (cost.mean() + 1e-3)) + _RIM_COST * rim**2)
    axis = 1 if upright else 0
    return Seam((int(top_left[0]), int(top_left[1])), upright, place, cost.shape[1]), bool(
        first_px[0][axis] <= first_px[1][axis]
    )


def _cheapest_path(cost: NDArray[np.floating]) -> NDArray[np.int_]:
    """Return the column of each row on the cheapest way from top to bottom, a column sideways per row at most."""
    rows, columns = cost.shape
    total = cost[0].astype(np.float64)
    came_from = np.zeros((rows, columns), dtype=np.int8)
    padded = np.full(columns + 2, np.inf)
    for row in range(1, rows):
        padded[1:-1] = total
        choices = np.stack([padded[1:-1], padded[:-2], padded[2:]])
        step = choices.argmin(axis=0)
        came_from[row] = np.array([0, -1, 1], dtype=np.int8)[step]
        total = choices.min(axis=0) + cost[row]
    path = np.empty(rows, dtype=int)
    path[-1] = int(total.argmin())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = path[row] + came_from[row, path[row]]
    return path


class Shares:
    """Of the tiles that are held, how much each pixel of theirs counts, by the seams between them."""

    def __init__(
        self, first_px: NDArray[np.int64], tile_shape: tuple[int, int], gains: NDArray[np.float32] | None
    ) -> None:
        self._first_px, self._shape, self._gains = first_px, tile_shape, gains
        # In 255ths: one byte a pixel for every tile that is held.
        self._shares: dict[int, NDArray[np.uint8]] = {}

    def add(self, index: int, tiles: Mapping[int, NDArray[Any]]) -> None:
        """Take in a tile that is held among the given ones, and draw its seams with those taken in before."""
        self._shares[index] = np.full(self._shape, 255, dtype=np.uint8)
        for other in [k for k in tiles if k != index and k in self._shares]:
            gains = None if self._gains is None else (self._gains[index], self._gains[other])
            found = find_seam((tiles[index], tiles[other]), (self._first_px[index], self._first_px[other]), gains)
            if found is None:
                continue
            seam, is_first = found
            fade = seam.fades()
            for tile, share in ((index, fade if is_first else 1 - fade), (other, 1 - fade if is_first else fade)):
                row, column = np.array(seam.first_px) - self._first_px[tile]
                part = self._shares[tile][row:row + fade.shape[0], column:column + fade.shape[1]]
                part[...] = np.rint(part * share)

    def of(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        """Return the share of a tile's rows from start to stop, above 0 everywhere."""
        share = self._shares[index][start:stop].astype(np.float32)
        share /= 255
        return np.asarray(np.maximum(share, _FOR_ALL, out=share), dtype=np.float32)

    def drop(self, index: int) -> None:
        """Forget a tile that is no longer held."""
        self._shares.pop(index, None)
