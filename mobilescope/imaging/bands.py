"""Pictures that pass from top to bottom in parts: pieces, bands as wide as the picture, square tiles of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Piece:
    """A finished part of the output: where its first pixel lies, and the pixels (rows, columns, channels)."""

    row: int
    column: int
    pixels: NDArray[np.generic]


def bands(pieces: Iterator[Piece], columns: int) -> Iterator[Piece]:
    """Join pieces that come row by row into bands as wide as the output, for writers that go from top to bottom.

    Parameters
    ----------
    columns : int
        The output's columns.
    """
    band: NDArray[np.generic] | None = None
    for piece in pieces:
        high, wide = piece.pixels.shape[:2]
        if band is None:
            band = np.empty((high, columns, *piece.pixels.shape[2:]), piece.pixels.dtype)
        band[:, piece.column : piece.column + wide] = piece.pixels
        if piece.column + wide == columns:
            yield Piece(piece.row, 0, band)
            band = None  # let go before the next one is made


def grid_tiles(wide: Iterator[Piece], grid_px: int) -> Iterator[NDArray[np.generic]]:
    """Cut bands into the square tiles of a TIFF, row by row; the last ones of a row or column may be smaller."""
    held: NDArray[np.generic] | None = None
    for band in wide:
        held = band.pixels if held is None else np.concatenate([held, band.pixels])
        while len(held) >= grid_px:
            yield from _cut(held[:grid_px], grid_px)
            held = held[grid_px:]
    if held is not None and len(held):
        yield from _cut(held, grid_px)


def _cut(band: NDArray[np.generic], grid_px: int) -> Iterator[NDArray[np.generic]]:
    for column in range(0, band.shape[1], grid_px):
        yield band[:, column : column + grid_px]
