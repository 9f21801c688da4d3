"""What a camera adds to every tile alike: dead and hot pixels, and uneven light, estimated from the tiles themselves.

Whatever stands still in all tiles would otherwise be taken for specimen: it correlates where nothing has moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# A pixel is bad if it stands out from its neighbours, to the same side, in this share of the tiles.
_BAD_SHARE = 0.8
_BAD_SIGMAS = 8.0
_LEAST_TILES = 6
_ENOUGH_TILES = 12
_LINE_SHARE = 0.5
# More bad pixels than this are no defects but something else that stands still.
_MOST_BAD_SHARE = 0.05
_BLOCKS = 32
_DEGREE = 3
_MOST_WORKERS = 8
_REWEIGHTINGS = 4
# Shading below this is not worth a correction; above it, two halves of the tiles must tell the same.
_LEAST_SHADING = 0.03
_MOST_DISAGREEMENT = 0.35
_STRONGEST_GAIN = 4.0


@dataclass(frozen=True, eq=False)
class TileCorrection:
    """What is done to each tile before anything else.

    Attributes
    ----------
    bad : ndarray, shape (rows, columns), bool
        Dead and hot pixels.
    gain : ndarray, shape (rows, columns, channels), float32, or None
        Factor on linear or encoded values, as the tiles are; its mean is 1. None leaves the light as it is.
    """

    bad: NDArray[np.bool_]
    gain: NDArray[np.float32] | None

    @property
    def idle(self) -> bool:
        """Whether tiles are left as they are."""
        return self.gain is None and not self.bad.any()

    @cached_property
    def _where(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the bad pixels."""
        rows, columns = np.nonzero(self.bad)
        return rows, columns

    @cached_property
    def _sources(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows and columns of what lies one and two pixels beside each bad one."""
        (rows, columns), (most_row, most_column) = self._where, np.subtract(self.bad.shape, 1)
        around = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if dr or dc]
        return [
            (np.clip(rows + reach * dr, 0, most_row), np.clip(columns + reach * dc, 0, most_column))
            for reach in (1, 2) for dr, dc in around
        ]

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the corrected tile, shape and type as given: (rows, columns, channels)."""
        if self.idle:
            return pixels
        mended: NDArray[Any] = pixels.copy()
        rows, columns = self._where
        if len(rows):
            sources = self._sources
            values = np.stack([pixels[source] for source in sources]).astype(np.float32)
            values[np.stack([self.bad[source] for source in sources])] = np.nan
            # Where nothing good is near, the pixel's own value is as good as any.
            lost = np.isnan(values).all(axis=(0, 2))
            values[0, lost] = pixels[rows[lost], columns[lost]]
            mended[rows, columns] = np.rint(np.nanmedian(values, axis=0)).astype(pixels.dtype)
        if self.gain is not None:
            # A factor of OpenCV's saturates and rounds in one pass.
            kind = cv2.CV_8U if pixels.dtype == np.uint8 else cv2.CV_16U
            mended = np.asarray(cv2.multiply(mended, self.gain, dtype=kind), pixels.dtype).reshape(pixels.shape)
        return mended


def spread_out(count: int) -> list[int]:
    """Return the numbers of a dozen tiles out of so many, from the first to the last; enough for an estimate."""
    return sorted(set(np.linspace(0, max(count - 1, 0), _ENOUGH_TILES).round().astype(int).tolist()))


def estimate_correction(load: Callable[[int], Pixels], tiles: Sequence[int]) -> TileCorrection | None:
    """Estimate what stands still in the tiles, with the memory of a few of them.

    Bad pixels are those that stand out from their 3 x 3 neighbourhood in nearly all tiles. Shading is a polynomial
    of third degree through the medians over all tiles of coarse block means; it counts where it is plain and both
    halves of the tiles, taken alone, say the same.

    Parameters
    ----------
    load : callable
        Returns tile ``index``, shape (rows, columns, channels), uint8 or uint16; called from several threads.
    tiles : sequence of int
        Those to look at; see `spread_out`.

    Returns
    -------
    TileCorrection or None
        None where less than six tiles were given.
    """
    standing: NDArray[np.int16] | None = None
    blocks: list[NDArray[np.float32]] = []

    def look_at(index: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        pixels = load(index)
        small = cv2.resize(pixels, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA).astype(np.float32)
        return _outstanding(pixels), small.reshape(_BLOCKS, _BLOCKS, pixels.shape[2])

    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # A few at a time, so that no more than these are held.
        for start in range(0, len(tiles), workers):
            for outstanding, block in pool.map(look_at, tiles[start:start + workers]):
                if standing is None:
                    standing = np.zeros(outstanding.shape, dtype=np.int16)
                standing += outstanding
                blocks.append(block)
    if standing is None or len(blocks) < _LEAST_TILES:
        return None
    bad: NDArray[np.bool_] = np.max(np.abs(standing), axis=2) >= _BAD_SHARE * len(blocks)
    # A line that is bad for the most part is bad where the specimen happened to look alike, too.
    bad[bad.mean(axis=1) > _LINE_SHARE] = True
    bad[:, bad.mean(axis=0) > _LINE_SHARE] = True
    if bad.mean() > _MOST_BAD_SHARE:
        bad[:] = False
    return TileCorrection(bad, _gain(np.stack(blocks), standing.shape))


def _outstanding(pixels: Pixels) -> NDArray[np.int8]:
    """Return 1 where a pixel is brighter than its surroundings allow, -1 where darker, 0 elsewhere."""
    around = cv2.medianBlur(pixels, 3)
    # Differences that would be negative are 0, so that one of the two is the distance.
    above, below = (
        np.asarray(part).reshape(pixels.shape) for part in (cv2.subtract(pixels, around), cv2.subtract(around, pixels))
    )
    limit = _BAD_SIGMAS * max(1.0, 1.4826 * float(np.median(above[::7, ::7] + below[::7, ::7])))
    standing: NDArray[np.int8] = (above > limit).view(np.int8) - (below > limit).view(np.int8)
    return standing


def _gain(blocks: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return the factor that evens out the light, or None where there is no plain shading."""
    whole, *halves = (_shading(part) for part in (blocks, blocks[::2], blocks[1::2]))
    strength = float(whole.std())
    if np.ptp(whole) < _LEAST_SHADING or float((halves[0] - halves[1]).std()) > _MOST_DISAGREEMENT * strength:
        return None
    rows, columns, channels = shape
    light = np.exp(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_CUBIC)).reshape(rows, columns, channels)
    gain = np.clip(light.mean(axis=(0, 1)) / light, 1 / _STRONGEST_GAIN, _STRONGEST_GAIN)
    return np.ascontiguousarray(gain, dtype=np.float32)


def _shading(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of the light over the tile, smooth, mean 0: shape (blocks, blocks, channels).

    Each tile is first brought to its own median, so that dark tiles count as much as bright ones.
    """
    levels = np.log(np.maximum(blocks, 1))
    levels -= np.median(levels, axis=(1, 2), keepdims=True)
    middle = np.median(levels, axis=0)
    terms = _terms()
    values = middle.reshape(len(terms), -1)
    weight = np.ones_like(values)
    for _ in range(_REWEIGHTINGS):
        # One small system per channel; the terms are few and tame enough for normal equations.
        weighted = weight.T[:, :, None] * terms
        normal, right = weighted.transpose(0, 2, 1) @ terms, weighted.transpose(0, 2, 1) @ values.T[..., None]
        fitted = (terms @ np.linalg.solve(normal, right))[..., 0].T
        residual = values - fitted
        scale = 2 * 1.4826 * np.median(np.abs(residual)) + 1e-6
        weight = 1 / (1 + (residual / scale) ** 2)
    shading: NDArray[np.float32] = (fitted - fitted.mean(axis=0)).reshape(middle.shape).astype(np.float32)
    return shading


@cache
def _terms() -> NDArray[np.float64]:
    """Return the polynomial's terms over the blocks of a tile: shape (blocks², terms)."""
    axis = np.linspace(-1, 1, _BLOCKS)
    down, right = np.meshgrid(axis, axis, indexing="ij")
    powers = [down**i * right**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    return np.stack(powers, axis=-1).reshape(_BLOCKS**2, -1)
