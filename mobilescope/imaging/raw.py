"""Development of raw Bayer frames: linear, half-size, a fixed white balance, then the sRGB transfer.

Frames are worked through in bands of rows that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import encode_16bit

_BAND_ROWS = 64
_COUNTS = 1 << 16


def cfa_sites(cfa: str) -> dict[str, list[tuple[int, int]]]:
    """Return the (row, column) offsets of each colour in the 2×2 mosaic named row by row, like ``"RGGB"``."""
    if sorted(cfa) != sorted("RGGB"):
        raise InputImageError(f"unknown colour filter array {cfa!r}", "expected an order of R, G, G, B")
    sites: dict[str, list[tuple[int, int]]] = {"R": [], "G": [], "B": []}
    for position, colour in enumerate(cfa):
        sites[colour].append(divmod(position, 2))
    return sites


def develop_half_size(
    bayer: NDArray[np.uint16],
    *,
    cfa: str,
    black_level: float,
    white_level: float,
    white_balance: tuple[float, float, float],
    shading: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Develop each 2×2 Bayer cell to one RGB pixel, without interpolation.

    Parameters
    ----------
    bayer : ndarray, shape (rows, columns), uint16
        Even numbers of rows and columns.
    white_balance : tuple of float
        Gains of red, green and blue.
    shading : ndarray, shape (rows / 2, columns / 2, 3), float32, optional
        What the light of each cell is multiplied by to even out the field.

    Returns
    -------
    ndarray, shape (rows / 2, columns / 2, 3), float32
        Linear light, 0–1 at the white level before the gains, clipped to 0–1 after them.
    """
    sites = _checked(bayer, cfa, black_level, white_level, shading)
    scale = np.float32(1.0 / (white_level - black_level))
    developed = np.empty((bayer.shape[0] // 2, bayer.shape[1] // 2, 3), dtype=np.float32)
    for band, cells in _bands(bayer):
        for channel, colour in enumerate("RGB"):
            planes = [cells[row::2, column::2].astype(np.float32) for row, column in sites[colour]]
            mean = planes[0] if len(planes) == 1 else (planes[0] + planes[1]) * np.float32(0.5)
            light = (mean - np.float32(black_level)) * scale * np.float32(white_balance[channel])
            developed[band, :, channel] = light if shading is None else light * shading[band, :, channel]
        np.clip(developed[band], 0.0, 1.0, out=developed[band])
    return developed


def develop_srgb(
    bayer: NDArray[np.uint16],
    *,
    cfa: str,
    black_level: float,
    white_level: float,
    white_balance: tuple[float, float, float],
    shading: NDArray[np.float32] | None = None,
) -> NDArray[np.uint16]:
    """Develop a Bayer frame to half-size 16-bit sRGB, shape (rows / 2, columns / 2, 3), uint16.

    Parameters are those of `develop_half_size`; tables of all counts do the work.
    """
    sites = _checked(bayer, cfa, black_level, white_level, shading)
    developed = np.empty((bayer.shape[0] // 2, bayer.shape[1] // 2, 3), dtype=np.uint16)
    tables = [
        _table(len(sites[colour]), black_level, white_level, white_balance[channel], coded=shading is None)
        for channel, colour in enumerate("RGB")
    ]
    for band, cells in _bands(bayer):
        planes = []
        for channel, (table, colour) in enumerate(zip(tables, "RGB", strict=True)):
            (row, column), *other = sites[colour]
            counts = cells[row::2, column::2]
            for other_row, other_column in other:
                counts = np.add(counts, cells[other_row::2, other_column::2], dtype=np.intp)
            plane = np.take(table, counts, mode="clip")
            planes.append(plane if shading is None else encode_16bit(plane * shading[band, :, channel]))
        cv2.merge(planes, developed[band])
    return developed


def _table(sites: int, black_level: float, white_level: float, gain: float, *, coded: bool) -> NDArray[Any]:
    """Return the light for each sum of counts over so many sites, sRGB-coded on 16 bit or linear."""
    counts = np.arange(sites * (_COUNTS - 1) + 1, dtype=np.float32) / np.float32(sites)
    light = (counts - np.float32(black_level)) * np.float32(gain / (white_level - black_level))
    return encode_16bit(light) if coded else light


def _bands(bayer: NDArray[np.uint16]) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
    """Yield the rows of the developed picture, and the Bayer rows that they come from."""
    for first in range(0, bayer.shape[0] // 2, _BAND_ROWS):
        band = slice(first, min(first + _BAND_ROWS, bayer.shape[0] // 2))
        yield band, bayer[2 * band.start : 2 * band.stop]


def _checked(
    bayer: NDArray[np.uint16], cfa: str, black_level: float, white_level: float, shading: NDArray[np.float32] | None
) -> dict[str, list[tuple[int, int]]]:
    """Return the sites of the colours; InputImageError for a frame that can't be developed."""
    rows, columns = bayer.shape
    if rows % 2 or columns % 2:
        raise InputImageError(f"a Bayer frame of {rows}x{columns}", "rows and columns must be even")
    if not white_level > black_level:
        raise InputImageError(f"white level {white_level} is not above black level {black_level}")
    if shading is not None and shading.shape != (rows // 2, columns // 2, 3):
        raise InputImageError(
            f"a flat field of {shading.shape[0]}x{shading.shape[1]} cells for a frame of {rows // 2}x{columns // 2}",
            "take it with the same camera at the same resolution",
        )
    return cfa_sites(cfa)
