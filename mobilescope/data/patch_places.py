"""Where square patches lie in a field, so that they cover it and their labels need no resampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patch_starts(length_px: int, size_px: int, stride_px: int) -> list[int]:
    """Return even patch starts that cover an axis, the last one flush with its end where that is even."""
    last = (length_px - size_px) // 2 * 2
    if last < 0:
        return []
    return sorted({*range(0, last + 1, stride_px), last})


def patch_places(shape: tuple[int, int], size_px: int, stride_px: int) -> NDArray[np.int64]:
    """Return the (row, column) of every patch that covers a field of (rows, columns), shape (patches, 2)."""
    rows, columns = (patch_starts(length, size_px, stride_px) for length in shape)
    return np.array([(row, column) for row in rows for column in columns], dtype=np.int64).reshape(-1, 2)


def stride_of(patch_px: int, overlap: float) -> int:
    """Return the distance between patches that overlap by a share, rounded down to an even number of pixels."""
    return max(2, int(patch_px * (1 - overlap)) // 2 * 2)
