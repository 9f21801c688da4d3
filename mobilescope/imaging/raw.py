"""Development of raw Bayer frames: linear, half-size, a fixed white balance, then the sRGB transfer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import decode_8bit, encode_16bit


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
) -> NDArray[np.float32]:
    """Develop each 2×2 Bayer cell to one RGB pixel, without interpolation.

    Parameters
    ----------
    bayer : ndarray, shape (rows, columns), uint16
        Even numbers of rows and columns.
    white_balance : tuple of float
        Gains of red, green and blue.

    Returns
    -------
    ndarray, shape (rows / 2, columns / 2, 3), float32
        Linear light, 0–1 at the white level before the gains, clipped to 0–1 after them.
    """
    rows, columns = bayer.shape
    if rows % 2 or columns % 2:
        raise InputImageError(f"a Bayer frame of {rows}x{columns}", "rows and columns must be even")
    if not white_level > black_level:
        raise InputImageError(f"white level {white_level} is not above black level {black_level}")
    scale = np.float32(1.0 / (white_level - black_level))
    sites = cfa_sites(cfa)
    developed = np.empty((rows // 2, columns // 2, 3), dtype=np.float32)
    for channel, colour in enumerate("RGB"):
        planes = [bayer[row::2, column::2].astype(np.float32) for row, column in sites[colour]]
        mean = planes[0] if len(planes) == 1 else (planes[0] + planes[1]) * np.float32(0.5)
        developed[..., channel] = (mean - np.float32(black_level)) * scale * np.float32(white_balance[channel])
    return np.clip(developed, 0.0, 1.0, out=developed)


def develop_srgb(
    bayer: NDArray[np.uint16],
    *,
    cfa: str,
    black_level: float,
    white_level: float,
    white_balance: tuple[float, float, float],
) -> NDArray[np.uint16]:
    """Develop a Bayer frame to half-size 16-bit sRGB, shape (rows / 2, columns / 2, 3), uint16."""
    return encode_16bit(
        develop_half_size(
            bayer, cfa=cfa, black_level=black_level, white_level=white_level, white_balance=white_balance
        )
    )


def halve_srgb(picture: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the mean light of each 2×2 pixels of an 8-bit sRGB picture as 16-bit sRGB.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns, 3), uint8
        An odd last row or column is left out.

    Returns
    -------
    ndarray, shape (rows // 2, columns // 2, 3), uint16
    """
    rows, columns = (side // 2 * 2 for side in picture.shape[:2])
    if not rows or not columns:
        raise InputImageError(f"a picture of {picture.shape[0]}x{picture.shape[1]}", "at least 2x2 pixels are needed")
    light = decode_8bit(picture[:rows, :columns])
    return encode_16bit(light.reshape(rows // 2, 2, columns // 2, 2, 3).mean(axis=(1, 3)))
