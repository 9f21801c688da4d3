"""A picture, or a part of it, at the size at which it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QSize, Qt
from PyQt5.QtGui import QImage

from mobilescope.imaging.shrinking import shrink
from mobilescope_gui.zoom import Zoom

Picture = NDArray[np.uint8]

# Pixels around a part that bicubic enlargement looks at.
_REACH_PX = 2


class FittedPicture:
    """A picture (rows, columns, 3) uint8 RGB as a Qt image of a size; enlarged bicubically, or averaged down."""

    def __init__(self, picture: Picture, size: QSize, zoom: Zoom) -> None:
        self.picture, self.size, self.zoom = picture, size, zoom
        columns, rows = size.width(), size.height()
        fitted = _resized(picture, columns, rows) if zoom.factor == 1 else _part(picture, columns, rows, zoom)
        # The format that Qt draws without converting it: blue, green, red, unused.
        pixels = cv2.cvtColor(fitted, cv2.COLOR_RGB2BGRA).tobytes()
        self.image = QImage(pixels, columns, rows, 4 * columns, QImage.Format.Format_RGB32).copy()


def size_within(picture: Picture, room: QSize) -> QSize:
    """Return the largest size of a picture's shape that fits, at least one pixel."""
    size = QSize(picture.shape[1], picture.shape[0])
    size.scale(room, Qt.AspectRatioMode.KeepAspectRatio)
    return size.expandedTo(QSize(1, 1))


def _resized(picture: Picture, columns: int, rows: int) -> Picture:
    if columns < picture.shape[1]:
        return shrink(picture, columns, rows)
    return np.asarray(cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@dataclass(frozen=True)
class _Span:
    """Along one axis: the pixels to take, how many they become, and where the view starts among those."""

    taken: slice
    size: int
    start: int


def _part(picture: Picture, columns: int, rows: int, zoom: Zoom) -> Picture:
    """Return the part that a zoom shows: whole pixels around it, resized and then cut to the pixel of the view."""
    part = zoom.part_of(picture.shape[1], picture.shape[0])
    # The same along both axes, though a view's shape is the picture's only to a pixel.
    scale = columns / part.width
    across = _span(part.left + part.width / 2, scale, picture.shape[1], columns)
    down = _span(part.top + part.height / 2, scale, picture.shape[0], rows)
    resized = _resized(picture[down.taken, across.taken], across.size, down.size)
    return np.ascontiguousarray(resized[down.start : down.start + rows, across.start : across.start + columns])


def _span(middle: float, scale: float, pixels: int, view: int) -> _Span:
    start, end = middle - view / scale / 2, middle + view / scale / 2
    first, last = max(math.floor(start) - _REACH_PX, 0), min(math.ceil(end) + _REACH_PX, pixels)
    size = max(round((last - first) * scale), view)
    return _Span(slice(first, last), size, min(max(round((start - first) * scale), 0), size - view))
