"""What a clear field tells of a phone scope: how unevenly it is lit, and which gains make clear glass neutral."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.raw import cfa_sites

# Noise of the clear field must not go into pictures; what shades them is wider.
_SMOOTHING_PX = 4.0
_BRIGHT_PERCENTILE = 99.0
_LEAST_LIGHT = 0.01
_GREATEST_GAIN = 8.0
_MIDDLE = 0.25


def clear_light(
    clear: NDArray[Any], *, cfa: str, black_level: float, white_level: float, dark: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """Return the smooth light of a clear field, (rows / 2, columns / 2, 3), 0–1 at the white level.

    Parameters
    ----------
    clear, dark : ndarray, shape (rows, columns)
        Means of frames of clear glass and in the dark, counts; without the latter, black is ``black_level``.

    Raises
    ------
    InputImageError
        A colour is all but dark, or at the white level.
    """
    light = np.empty((clear.shape[0] // 2, clear.shape[1] // 2, 3), dtype=np.float32)
    for channel, (colour, sites) in enumerate(cfa_sites(cfa).items()):
        plane = np.zeros(light.shape[:2], dtype=np.float32)
        for row, column in sites:
            plane += clear[row::2, column::2]
            plane -= np.float32(black_level) if dark is None else dark[row::2, column::2]
        plane /= np.float32(len(sites) * (white_level - black_level))
        light[..., channel] = _smooth(plane, colour)
    return light


def smooth_light(clear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smooth light of a clear field in pictures that the phone developed itself; raises as `clear_light`.

    Parameters
    ----------
    clear : ndarray, shape (rows, columns, 3), float32
        Mean linear light, 0–1, as `halved_light` gives it. What is dark in such pictures is not known and not taken
        off, here as in captures.
    """
    light = np.empty_like(clear)
    for channel, colour in enumerate("RGB"):
        light[..., channel] = _smooth(clear[..., channel], colour)
    return light


def _smooth(plane: NDArray[np.float32], colour: str) -> NDArray[np.float32]:
    """Return a colour's light without its noise; InputImageError where it can't serve."""
    light = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(plane), (0, 0), _SMOOTHING_PX), dtype=np.float32)
    bright = _bright(light)
    if bright < _LEAST_LIGHT:
        raise InputImageError(f"the clear field is dark in {colour} ({bright:.1%} of the range)", "more light")
    if bright > 0.98:
        raise InputImageError(f"the clear field is saturated in {colour}", "expose for a shorter time")
    return light


def shading_of(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the gains that bring each place of a clear field, as `clear_light` gives it, to its brightest ones.

    Colours are evened out one by one, so that the white balance in the middle stays; nothing becomes darker.
    """
    bright = np.array([_bright(light[..., channel]) for channel in range(3)], dtype=np.float32)
    shading = np.maximum(light, np.float32(1e-6))
    np.divide(bright, shading, out=shading)
    return np.clip(shading, 1.0, np.float32(_GREATEST_GAIN), out=shading)


def _bright(plane: NDArray[np.float32]) -> float:
    """Return what the brightest places of a smooth plane have; some of its pixels tell it."""
    step = max(1, min(plane.shape) // 512)
    return float(np.percentile(plane[::step, ::step], _BRIGHT_PERCENTILE))


def neutral_gains(light: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the gains of red, green and blue that make the middle of a clear field neutral, green 1."""
    rows, columns = light.shape[:2]
    top, left = (int(side * (1 - _MIDDLE) / 2) for side in (rows, columns))
    red, green, blue = np.median(light[top : rows - top, left : columns - left].reshape(-1, 3), axis=0)
    return float(green / red), 1.0, float(green / blue)
