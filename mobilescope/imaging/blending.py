"""One picture from placed tiles, streamed from top to bottom in bands so that the mosaic is never held whole.

Tiles are put on whole pixels: no value is interpolated, so that what a network learns from is what was measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mobilescope.core.errors import InputImageError, StitchingError
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.imaging.seams import Shares

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# Tiles that are loaded before they are needed.
_AHEAD = 2


@dataclass(frozen=True, eq=False)
class Band:
    """Some whole rows of the mosaic.

    Attributes
    ----------
    first_row : int
        Row of the mosaic that the band starts with.
    pixels : ndarray, shape (rows, mosaic columns, channels), the tiles' type
        0 where no tile lies.
    covered : ndarray, shape (rows, mosaic columns), bool
        Where a tile lies.
    """

    first_row: int
    pixels: Pixels
    covered: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Placement:
    """Tiles on the mosaic's pixel lattice.

    Attributes
    ----------
    first_px : ndarray, shape (tiles, 2), int64
        (row, column) of the mosaic where each tile's pixel (0, 0) is put; the least row and column are 0.
    remainder_px : ndarray, shape (tiles, 2), float64
        What rounding took away, -0.5 to 0.5: a tile truly lies at ``origin_px + first_px + remainder_px``.
    origin_px : tuple of float
        (row, column) in the layout's frame of the mosaic's pixel (0, 0).
    """

    first_px: NDArray[np.int64]
    remainder_px: NDArray[np.float64]
    origin_px: tuple[float, float]


def place(positions_px: ArrayLike) -> Placement:
    """Round tile positions to whole pixels.

    Parameters
    ----------
    positions_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0), in any frame.

    Raises
    ------
    StitchingError
        If there is no tile, or a position is not finite.
    """
    positions = np.asarray(positions_px, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0 or not np.isfinite(positions).all():
        raise StitchingError(f"a mosaic needs finite (row, column) positions, got shape {positions.shape}")
    origin = positions.min(axis=0)
    first = np.rint(positions - origin).astype(np.int64)
    return Placement(first, positions - origin - first, (float(origin[0]), float(origin[1])))


def mosaic_shape(positions_px: ArrayLike, tile_shape: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the mosaic of tiles of shape ``tile_shape`` at (row, column), shape (tiles, 2)."""
    last = place(positions_px).first_px.max(axis=0)
    return int(last[0]) + tile_shape[0], int(last[1]) + tile_shape[1]


def mosaic_bands(
    layout_positions_px: ArrayLike,
    tile_shape: tuple[int, int],
    load_tile: Callable[[int], Pixels],
    band_rows: int = 256,
    on_progress: ProgressListener = ignore_progress,
    *,
    channels: int = 3,
    dtype: DTypeLike = np.uint8,
    gains: NDArray[np.float32] | None = None,
    seams: bool = False,
) -> Iterator[Band]:
    """Yield the mosaic from top to bottom, overlaps blended.

    A tile's weight falls linearly from its middle to its edges, so that in the overlap of two tiles the picture
    passes linearly from one to the other. Each tile is loaded once, a little ahead in a thread, and let go once
    the bands have passed it.

    Parameters
    ----------
    layout_positions_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0); rounded by `place`.
    tile_shape : tuple of int
        Rows and columns of a tile.
    load_tile : callable
        Returns tile ``index``, shape ``tile_shape + (channels,)``, of type ``dtype``.
    band_rows : int
        Rows of each band but the last, which may be shorter.
    on_progress : callable
        Told after each band; an exception raised there stops the work.
    channels, dtype : int, data type
        What the tiles have: uint8 or uint16.
    gains : ndarray, shape (tiles, channels), float32, optional
        Factor on each tile's values.
    seams : bool
        Show one tile on each side of a seam where the two differ least, and mix them along it only.

    Yields
    ------
    Band

    Raises
    ------
    StitchingError
        If there is no tile or a position is not finite.
    InputImageError
        If a tile has another shape or type than announced.
    """
    if band_rows < 1:
        raise ValueError(f"a band needs at least one row, got {band_rows}")
    first_px = place(layout_positions_px).first_px
    rows, columns = mosaic_shape(layout_positions_px, tile_shape)
    ramps = [_ramp(length) for length in tile_shape]
    greatest = np.iinfo(np.dtype(dtype).type).max

    def load(index: int) -> Pixels:
        return _checked_tile(load_tile(index), index, (*tile_shape, channels), dtype)

    order = [int(index) for index in np.argsort(first_px[:, 0], kind="stable")]
    upcoming = 0
    held: dict[int, Pixels] = {}
    shares = Shares(first_px, tile_shape, gains) if seams else None
    with ThreadPoolExecutor(1) as pool:
        coming: deque[Future[Pixels]] = deque()
        for first_row in range(0, rows, band_rows):
            end_row = min(first_row + band_rows, rows)
            while upcoming < len(order) and first_px[order[upcoming], 0] < end_row:
                while len(coming) < _AHEAD and upcoming + len(coming) < len(order):
                    coming.append(pool.submit(load, order[upcoming + len(coming)]))
                held[order[upcoming]] = coming.popleft().result()
                if shares is not None:
                    shares.add(order[upcoming], held)
                upcoming += 1
            total = np.zeros((end_row - first_row, columns, channels), dtype=np.float32)
            weights = np.zeros((end_row - first_row, columns), dtype=np.float32)
            for index, tile in held.items():
                top, left = (int(value) for value in first_px[index])
                start, stop = max(first_row, top), min(end_row, top + tile_shape[0])
                weight = ramps[0][start - top:stop - top, None] * ramps[1]
                if shares is not None:
                    weight *= shares.of(index, start - top, stop - top)
                where = slice(start - first_row, stop - first_row), slice(left, left + tile_shape[1])
                weights[where] += weight
                part = tile[start - top:stop - top].astype(np.float32)
                part *= weight[..., None]
                if gains is not None:
                    part *= gains[index]
                total[where] += part
            covered = weights > 0
            np.maximum(weights, np.finfo(np.float32).tiny, out=weights)
            total /= weights[..., None]
            np.rint(total, out=total)
            yield Band(first_row, np.minimum(total, greatest, out=total).astype(dtype), covered)
            for index in [k for k in held if first_px[k, 0] + tile_shape[0] <= end_row]:
                del held[index]
                if shares is not None:
                    shares.drop(index)
            on_progress(Progress("blending", end_row, rows))


def _ramp(length: int) -> NDArray[np.float32]:
    """Return weights that rise linearly from both ends to the middle, above 0 everywhere, shape (length,)."""
    steps = np.arange(1, length + 1, dtype=np.float32)
    return np.asarray(np.minimum(steps, steps[::-1]) / length, dtype=np.float32)


def _checked_tile(tile: Pixels, index: int, shape: tuple[int, ...], dtype: DTypeLike) -> Pixels:
    """Return the tile if it is what was announced."""
    if tile.shape != shape or tile.dtype != dtype:
        raise InputImageError(
            f"tile {index} is {tile.dtype} of shape {tile.shape}", f"{np.dtype(dtype)} of shape {shape} is needed"
        )
    return tile
