"""Follows a stage by its pictures: how far the view went since the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.focus import grey_for_focus
from mobilescope.imaging.phase import is_one_match, phase_shift

# More pixels make the correlation slower, not surer.
_MOST_PX = 512
_SEARCH = 0.7


class ViewTracker:
    """Tells how far the view moved from picture to picture.

    Parameters
    ----------
    look : callable
        Takes a picture, shape (rows, columns, 3), uint8.
    pixel_size_um : float
        Its pixel pitch at the specimen.
    """

    def __init__(self, look: Callable[[], NDArray[np.uint8]], pixel_size_um: float) -> None:
        self._look, self._pixel_um = look, pixel_size_um
        self._last: NDArray[np.float32] | None = None

    def moved_um(self) -> tuple[float, float] | None:
        """Return how far the view went in x (right) and y (down) since the last call that could tell, else None.

        Pictures match whose common part is more alike than unrelated tissue is, at one shift alone.
        """
        picture, scale = self._reduced(self._look())
        if self._last is None or self._last.shape != picture.shape:
            self._last = picture
            return 0.0, 0.0
        shift = phase_shift(self._last, picture, max_shift_px=round(_SEARCH * min(picture.shape)))
        if not is_one_match(shift):
            return None
        self._last = picture
        pixel_um = self._pixel_um * scale
        return shift.dx_px * pixel_um, shift.dy_px * pixel_um

    @staticmethod
    def _reduced(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], int]:
        grey: Any = grey_for_focus(pixels)
        scale = -(-max(grey.shape) // _MOST_PX)
        if scale > 1:
            size = (grey.shape[1] // scale, grey.shape[0] // scale)
            grey = cv2.resize(grey[: size[1] * scale, : size[0] * scale], size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(grey, dtype=np.float32), scale
