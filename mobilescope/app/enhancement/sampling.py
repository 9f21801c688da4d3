"""A few windows that stand for a whole slide, which is too large to look at everywhere."""

from __future__ import annotations

import math

import numpy as np

from mobilescope.app.pictures.images import Picture
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.pixel_sources import Pixels

# Glass without specimen varies by noise alone, some thousandths.
_LEAST_CONTRAST = 0.02


def sample_windows(picture: Picture, side_px: int, most: int) -> list[Pixels]:
    """Return up to so many windows, spread evenly, that show specimen; those of bare glass only where all are.

    Parameters
    ----------
    side_px : int
        Side of a window; a picture that is smaller along an axis gives all of it.
    """
    rows, columns, _ = picture.shape
    high, wide = min(rows, side_px), min(columns, side_px)
    down = max(1, min(-(-rows // side_px), round(math.sqrt(2 * most * rows / columns))))
    across = max(1, min(-(-columns // side_px), -(-2 * most // down)))
    # Twice as many places as are asked for, since some show nothing.
    windows = [
        picture.source.read(int(row), int(column), high, wide)
        for row in np.linspace(0, rows - high, down)
        for column in np.linspace(0, columns - wide, across)
    ]
    shown = [window for window in windows if np.std(luminance(to_float(window))) >= _LEAST_CONTRAST] or windows
    picked = np.unique(np.linspace(0, len(shown) - 1, min(most, len(shown))).round().astype(int))
    return [shown[index] for index in picked]
