"""The eight flips and quarter turns of a picture, and where what is made of them disagrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import luminance

Image = NDArray[np.float32]
TURNS = 8
_QUARTERS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def turned(image: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Return one of the eight flips and quarter turns (0 leaves the image) of (rows, columns, ...)."""
    rotated = np.rot90(image, turn % 4)
    return rotated[:, ::-1] if turn >= 4 else rotated


def turned_copy(image: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return `turned` as an array of its own, of what OpenCV can turn: several times as fast as copying the view."""
    if turn == 0:
        return image.copy()
    if turn % 4:
        image = np.asarray(cv2.rotate(image, _QUARTERS[turn % 4]))
    return np.asarray(cv2.flip(image, 1)) if turn >= 4 else image


def turned_back(image: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Undo `turned`."""
    return np.rot90(image[:, ::-1] if turn >= 4 else image, -(turn % 4))


def spread_over_turns(
    enhancers: Sequence[Callable[[Image], NDArray[np.generic]]], image: Image, multiple: int
) -> NDArray[np.float32]:
    """Return where the results of turned inputs, turned back, disagree; and those of several enhancers.

    Parameters
    ----------
    enhancers : sequence of callable
        Each maps a picture (rows, columns, 3) float32 0–1 to a larger one.
    multiple : int
        Sides are padded to this before: strided stages shift others by a part of a pixel when they are turned.

    Returns
    -------
    ndarray, shape (rows, columns), float32
        Standard deviation of the results' luminance, averaged over each input pixel.
    """
    rows, columns = image.shape[:2]
    padding = (-rows % multiple, -columns % multiple)
    padded = np.pad(image, ((0, padding[0]), (0, padding[1]), (0, 0)), mode="edge")
    total = np.zeros(padded.shape[:2], dtype=np.float64)
    squares = np.zeros_like(total)
    for enhance in enhancers:
        for turn in range(TURNS):
            given = np.ascontiguousarray(turned(padded, turn), dtype=np.float32)
            result = luminance(np.ascontiguousarray(turned_back(enhance(given), turn), dtype=np.float32))
            level = cv2.resize(result, (padded.shape[1], padded.shape[0]), interpolation=cv2.INTER_AREA)
            total += level
            squares += np.asarray(level, dtype=np.float64) ** 2
    count = TURNS * len(enhancers)
    variance = squares / count - (total / count) ** 2
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32)[:rows, :columns]
