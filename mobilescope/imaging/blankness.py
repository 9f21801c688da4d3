"""Whether a tile shows anything at all, told from its coarse structure in a fraction of a millisecond."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK_PX = 8
_BACKGROUND_BLOCKS = 9
# Coarse structure in terms of what averaged pixel noise leaves; the noise alone stays below 1.3.
_MOST_STRUCTURE = 2.0
_PLAIN_STRUCTURE = 8.0
_SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


def is_blank(grey: NDArray[np.generic]) -> bool:
    """Tell whether a tile shows nothing but noise and smooth shading.

    Means over blocks of 8 x 8 px hardly vary where there is only noise; a speck of a few pixels shows in them.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns)
        Real numbers on any linear scale; noise independent from pixel to pixel.
    """
    rows, columns = (length // _BLOCK_PX * _BLOCK_PX for length in grey.shape)
    if min(rows, columns) < 2 * _BLOCK_PX:
        return False
    plane: NDArray[Any] = np.asarray(grey)[:rows, :columns]
    if plane.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        plane = plane.astype(np.float32, copy=False)
    middle = max(rows // 8, min(rows, 16))
    band = np.ascontiguousarray(plane[(rows - middle) // 2:(rows + middle) // 2], dtype=np.float32)
    second = cv2.filter2D(band, cv2.CV_32F, _SECOND_DIFFERENCE)[1:-1, 1:-1]
    noise = float(np.vdot(second, second)) / second.size / float(np.sum(_SECOND_DIFFERENCE**2))
    # Where pixels a block apart differ by so much more than neighbours do, there is no need to look closer.
    coarse = plane[::_BLOCK_PX, ::_BLOCK_PX].astype(np.float32)
    bend = coarse[2:] - 2 * coarse[1:-1] + coarse[:-2]
    if float(np.vdot(bend, bend)) / bend.size / 6 > _PLAIN_STRUCTURE * (noise + 1):
        return False
    size = columns // _BLOCK_PX, rows // _BLOCK_PX
    blocks = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Means of integers are rounded to integers, after the camera rounded them.
    rounding = 1 / 6 if plane.dtype.kind == "u" else (8 * np.finfo(np.float32).eps * float(np.abs(blocks).max())) ** 2
    # Slopes and bends would leave their mark at the borders, where the local mean is one-sided.
    down, right = (np.linspace(-1, 1, length, dtype=np.float32) for length in blocks.shape)
    down_bend, right_bend = (axis**2 - (axis**2).mean() for axis in (down, right))
    ones = [np.ones_like(axis) for axis in (down, right)]
    blocks -= blocks.mean()
    for along, across in (
        (down, ones[1]), (ones[0], right), (down_bend, ones[1]), (ones[0], right_bend), (down, right),
    ):
        # These are at right angles to each other, so that one can be taken out after the other.
        blocks -= np.outer(along, across) * ((along @ blocks @ across) / ((along @ along) * (across @ across)))
    structure = blocks - cv2.blur(blocks, (_BACKGROUND_BLOCKS,) * 2, borderType=cv2.BORDER_REFLECT)
    return bool(structure.var() <= _MOST_STRUCTURE * (noise / _BLOCK_PX**2 + rounding))
