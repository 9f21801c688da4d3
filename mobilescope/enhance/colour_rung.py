"""The lowest rung: bicubic enlargement in the colours that the network gives, learnt from the network itself."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.enhance.live_values import Picture

# Pixels of this many frames decide; pixels of one frame are alike, and more of them teach nothing.
_MOST_PIXELS = 4096
# How many pixels the wish to leave colours alone weighs against those seen: it decides for colours not seen yet.
_PRIOR_PIXELS = 16.0


class ColourFit:
    """A 3×4 affine map of encoded RGB fitted to pixels as they come, least squares with a pull to the identity.

    A first frame may hold one colour only. Without the pull, any map that is right there would do.
    """

    def __init__(self) -> None:
        # Around mid-grey, so that the pull weighs offset and slopes alike.
        self._squares = np.eye(4) * _PRIOR_PIXELS
        self._products = np.vstack([np.eye(3), np.full((1, 3), 0.0)]) * _PRIOR_PIXELS
        self._squares[:3, :3] /= 12  # the variance of values spread evenly over 0-1
        self._products[:3] /= 12

    def add(self, source: NDArray[np.floating], target: NDArray[np.floating]) -> None:
        """Take in pixels (..., 3) and what they are to become, both 0-1."""
        pixels = np.asarray(source, dtype=np.float64).reshape(-1, 3) - 0.5
        wanted = np.asarray(target, dtype=np.float64).reshape(-1, 3) - 0.5
        design = np.column_stack([pixels, np.ones(len(pixels))])
        self._squares += design.T @ design
        self._products += design.T @ wanted

    def matrix(self) -> NDArray[np.float64]:
        """Return the map ``rgb' = M[:, :3] rgb + M[:, 3]`` for values 0-1, shape (3, 4)."""
        solution = np.linalg.solve(self._squares, self._products).T
        slopes, offset = solution[:, :3], solution[:, 3]
        return np.column_stack([slopes, offset + 0.5 - slopes @ np.full(3, 0.5)])


class BicubicColour:
    """Enlarges pictures bicubically and gives them the network's colours, once it has seen some of its work."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._fit = ColourFit()
        self._matrix = self._fit.matrix()
        self.lessons = 0

    def learn(self, picture: Picture, enhanced: Picture) -> None:
        """Look at a picture and at what the network made of it."""
        rows, columns = enhanced.shape[:2]
        bicubic = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC)
        step = max(1, int((rows * columns / _MOST_PIXELS) ** 0.5))
        self._fit.add(bicubic[::step, ::step] / 255, enhanced[::step, ::step] / 255)
        self._matrix = self._fit.matrix()
        self.lessons += 1

    def __call__(self, picture: Picture) -> Picture:
        """Return the picture enlarged, uint8."""
        # The map is affine and bicubic weights sum to one, so the order is free: before enlarging it is cheaper.
        matrix = self._matrix.copy()
        matrix[:, 3] *= 255
        coloured = cv2.transform(picture, matrix)
        rows, columns = (int(np.ceil(size * self._factor)) for size in picture.shape[:2])
        return np.asarray(cv2.resize(coloured, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
