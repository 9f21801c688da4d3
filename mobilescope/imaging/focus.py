"""Focus measures: one number for how sharp a grey image is, larger is sharper."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import lit_channel

Grey = NDArray[np.float32]
FocusMeasure = Callable[[Grey], float]


def normalised_variance(grey: Grey) -> float:
    """Return variance over mean (Groen 1985) of a (rows, columns) image; grows with brightness as the mean does."""
    mean = float(grey.mean())
    return float(grey.var()) / mean if mean > 0 else 0.0


def brenner(grey: Grey) -> float:
    """Return the mean squared difference of pixels two apart, along both axes (Brenner 1976)."""
    across = grey[:, 2:] - grey[:, :-2]
    down = grey[2:, :] - grey[:-2, :]
    return float(np.mean(across**2) + np.mean(down**2)) / 2


def tenengrad(grey: Grey) -> float:
    """Return the mean squared Sobel gradient (Tenenbaum 1970)."""
    plane = np.ascontiguousarray(grey, dtype=np.float32)
    gradient_x = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3)
    gradient_y = cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3)
    return float(np.mean(gradient_x**2 + gradient_y**2))


def vollath_f5(grey: Grey) -> float:
    """Return the autocorrelation at one pixel less the squared mean (Vollath 1988, F5), along both axes."""
    mean = float(grey.mean())
    across = float(np.mean(grey[:, 1:] * grey[:, :-1]))
    down = float(np.mean(grey[1:, :] * grey[:-1, :]))
    return max((across + down) / 2 - mean * mean, 0.0)


def jpeg_size(grey: Grey) -> float:
    """Return the length in bytes of the picture as a JPEG of quality 90: detail does not compress."""
    levels = np.clip(grey * 255, 0, 255).astype(np.uint8)
    return float(len(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]))


def grey_for_focus(rgb: NDArray[np.uint8]) -> Grey:
    """Return the green channel, 0–1: the sharpest of a Bayer camera and the centre of the visible band.

    Under a coloured light without green it is the brightest channel.
    """
    return np.asarray(rgb[..., lit_channel(rgb)], dtype=np.float32) / np.float32(255)
