"""What a tile shows at a glance: whether there is specimen, and how much of it is saturated."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import lit_channel
from mobilescope.imaging.quality import specimen_mask

# Structure below this share of the field is dust.
_LEAST_SPECIMEN = 0.002
_REDUCTION = 4
_ROW_STEP = 4


def shows_specimen(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a frame shows more than clear glass.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns, 3), uint8
        Judged at a quarter of its size, in green or what the light has instead, where noise is averaged and defocus by
        some ten micrometres does not hide tissue.
    """
    rows, columns = pixels.shape[:2]
    size = max(1, columns // _REDUCTION), max(1, rows // _REDUCTION)
    small = cv2.resize(np.ascontiguousarray(pixels[..., lit_channel(pixels)]), size, interpolation=cv2.INTER_AREA)
    return float(specimen_mask(small.astype(np.float32) / np.float32(255)).mean()) > _LEAST_SPECIMEN


def white_share(pixels: NDArray[np.uint8]) -> float:
    """Return the share of pixels, of every fourth row, with a channel at 255; (rows, columns, 3) uint8."""
    rows = np.ascontiguousarray(pixels[::_ROW_STEP])
    # Channel by channel: `any` over an axis of three takes ten times as long.
    white = (rows[..., 0] == 255) | (rows[..., 1] == 255) | (rows[..., 2] == 255)
    return float(white.mean())


def sharpest(planes: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return, pixel by pixel, the plane that is sharpest around it: the simplest fusion of a z stack.

    Parameters
    ----------
    planes : list of ndarray, each of shape (rows, columns, 3), uint8
        The stack, from the lowest plane to the highest.
    """
    best, lit = np.zeros(planes[0].shape[:2], dtype=np.float32), lit_channel(planes[len(planes) // 2])
    fused = planes[len(planes) // 2].copy()
    for plane in planes:
        detail = np.abs(cv2.Laplacian(np.ascontiguousarray(plane[..., lit]), cv2.CV_32F, ksize=3))
        energy = np.asarray(cv2.GaussianBlur(detail, (0, 0), 4), dtype=np.float32)
        sharper = energy > best
        fused[sharper] = plane[sharper]
        best = np.maximum(best, energy)
    return fused
