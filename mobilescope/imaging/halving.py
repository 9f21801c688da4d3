"""Pictures that a phone developed itself, brought to the lattice of developed raw frames: half size, in linear light.

Pictures are worked through in bands of rows that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import decode_8bit, encode_16bit
from mobilescope.imaging.defects import Places

_BAND_ROWS = 64
# What takes a defect's place: the sound pixels within two steps, the nearer the more.
_AROUND = np.array([(row, column) for row in range(-2, 3) for column in range(-2, 3) if row or column])
_WEIGHTS = np.exp(-(_AROUND**2).sum(axis=1) / 1.28).astype(np.float32)
_DEFECTS_AT_ONCE = 4096


def halved_light(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean light of each 2×2 pixels of an 8-bit sRGB picture.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns, 3), uint8
        An odd last row or column is left out.

    Returns
    -------
    ndarray, shape (rows // 2, columns // 2, 3), float32
        Linear light, 0–1.
    """
    light = np.empty((*_halved_shape(picture), 3), np.float32)
    for band, part in _bands(picture):
        light[band] = part
    return light


def halve_srgb(
    picture: NDArray[np.uint8],
    white_balance: tuple[float, float, float] = (1, 1, 1),
    *,
    defects: Places | None = None,
    shading: NDArray[np.float32] | None = None,
) -> NDArray[np.uint16]:
    """Return the mean light of each 2×2 pixels of an 8-bit sRGB picture as 16-bit sRGB, rounded once at the end.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns, 3), uint8
        An odd last row or column is left out.
    white_balance : tuple of float
        Gains of red, green and blue beyond those that the picture was made with.
    defects : ndarray, shape (n, 2), optional
        Pixels (row, column) of the halved picture that become the mean of sound ones around them. One that has none
        stays as it is.
    shading : ndarray, shape (rows // 2, columns // 2, 3), float32, optional
        What the light of each halved pixel is multiplied by to even out the field.

    Returns
    -------
    ndarray, shape (rows // 2, columns // 2, 3), uint16
    """
    shape = _halved_shape(picture)
    if shading is not None and shading.shape != (*shape, 3):
        raise InputImageError(
            f"a flat field of {shading.shape[0]}x{shading.shape[1]} pixels for a picture of {shape[0]}x{shape[1]}",
            "take it with the same camera at the same resolution",
        )
    halved = np.empty((*shape, 3), np.uint16)
    gains = np.asarray(white_balance, dtype=np.float32)
    for band, light in _bands(picture):
        light *= gains
        if shading is not None:
            light *= shading[band]
        halved[band] = encode_16bit(light)
    for at, light in _replaced(picture, shape, defects):
        light *= gains
        if shading is not None:
            light *= shading[at]
        halved[at] = encode_16bit(light)
    return halved


def _halved_shape(picture: NDArray[np.uint8]) -> tuple[int, int]:
    rows, columns = (side // 2 for side in picture.shape[:2])
    if not rows or not columns:
        raise InputImageError(f"a picture of {picture.shape[0]}x{picture.shape[1]}", "at least 2x2 pixels are needed")
    return rows, columns


def _bands(picture: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield rows of the halved picture, and their light."""
    rows, columns = _halved_shape(picture)
    for first in range(0, rows, _BAND_ROWS):
        last = min(first + _BAND_ROWS, rows)
        light = decode_8bit(picture[2 * first : 2 * last, : 2 * columns])
        yield slice(first, last), light.reshape(last - first, 2, columns, 2, 3).mean(axis=(1, 3))


def _replaced(
    picture: NDArray[np.uint8], shape: tuple[int, int], defects: Places | None
) -> Iterator[tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]]]:
    """Yield places of defects, (rows, columns), and the light that the sound pixels around them have."""
    if defects is None or not len(defects):
        return
    unsound = np.zeros(shape, dtype=np.bool_)
    unsound[defects[:, 0], defects[:, 1]] = True
    for first in range(0, len(defects), _DEFECTS_AT_ONCE):
        places = defects[first : first + _DEFECTS_AT_ONCE]
        near = places[:, None, :] + _AROUND
        inside = (near >= 0).all(axis=-1) & (near < shape).all(axis=-1)
        row, column = (np.where(inside, near[..., axis], 0) for axis in (0, 1))
        weights = np.where(inside & ~unsound[row, column], _WEIGHTS, np.float32(0))
        total = weights.sum(axis=1)
        cells = [picture[2 * row + down, 2 * column + right] for down in (0, 1) for right in (0, 1)]
        light = np.mean([decode_8bit(cell) for cell in cells], axis=0)
        mended = total > 0
        mean = (light * weights[..., None])[mended].sum(axis=1) / total[mended, None]
        yield (places[mended, 0], places[mended, 1]), mean
