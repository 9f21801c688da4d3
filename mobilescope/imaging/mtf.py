"""Contrast of three-bar targets such as USAF 1951, and the finest bars that an instrument still shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

CUT_OFF_CONTRAST = 0.1
_SAMPLES_PER_BAR = 16
_MIDDLE_OF_LENGTH = 0.6
_FAR_FROM_MIDDLE = 0.3


@dataclass(frozen=True)
class Triplet:
    """Three dark parallel bars in a picture, whose gaps are as wide as the bars.

    Attributes
    ----------
    centre_yx : tuple of float
        (row, column) of the middle bar's centre.
    across_yx : tuple of float
        The unit vector from bar to bar.
    width_px : float
        Width of a bar and of a gap.
    length_px : float
        Length of a bar.
    """

    centre_yx: tuple[float, float]
    across_yx: tuple[float, float]
    width_px: float
    length_px: float


def bar_profile(plane: FloatArray, triplet: Triplet) -> NDArray[np.float64]:
    """Return the mean profile across three bars, along their middle parts.

    Parameters
    ----------
    plane : ndarray, shape (rows, columns), float
        Linear light.

    Returns
    -------
    ndarray, shape (samples,), float64
        From a gap's width before the first bar to a gap's width after the last: 7 widths, 16 samples to each.
    """
    across = (np.arange(7 * _SAMPLES_PER_BAR) + 0.5) / _SAMPLES_PER_BAR - 3.5
    half = _MIDDLE_OF_LENGTH * triplet.length_px / 2
    along = np.linspace(-half, half, max(3, int(np.ceil(2 * half)) + 1))
    (down, right), width = triplet.across_yx, triplet.width_px
    row = triplet.centre_yx[0] + across[:, None] * width * down - along[None, :] * right
    column = triplet.centre_yx[1] + across[:, None] * width * right + along[None, :] * down
    sampled = cv2.remap(
        np.ascontiguousarray(plane, dtype=np.float32), column.astype(np.float32), row.astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
    )
    # The cubic's overshoot beside a sharp black bar would be light below nothing.
    return np.maximum(sampled, 0).astype(np.float64).mean(axis=1)


def profile_contrast(profile: FloatArray) -> float:
    """Return (max - min) / (max + min) of a profile across three bars; 0 where they stand in the wrong places (R17).

    Each bar's minimum and each gap's maximum is looked for over its own width, in the profile smoothed over half a
    width; it must lie within 0.3 widths of the middle, so that a slope or noise is no bar, and each gap must be
    brighter than the bars on both sides of it. Maxima and minima are then averaged over gaps and bars.

    Parameters
    ----------
    profile : ndarray, shape (samples,), float
        As `bar_profile` gives it: 7 widths, bars at the second, fourth and sixth. Not negative.
    """
    width = profile.size / 7
    taps = max(1, round(width / 2))
    smooth = np.convolve(np.pad(profile, taps, mode="edge"), np.full(taps, 1 / taps), mode="same")[taps:-taps]
    bars = [_extreme(profile, smooth, k * width, width, np.argmin) for k in (1, 3, 5)]
    gaps = [_extreme(profile, smooth, k * width, width, np.argmax) for k in (2, 4)]
    if any(value is None for value in (*bars, *gaps)):
        return 0.0
    first, middle, last, left, right = (float(value) for value in (*bars, *gaps) if value is not None)
    if left <= max(first, middle) or right <= max(middle, last):
        return 0.0
    bright, dark = (left + right) / 2, (first + middle + last) / 3
    return (bright - dark) / (bright + dark)


def _extreme(
    profile: FloatArray, smooth: FloatArray, start: float, width: float, place: Callable[[FloatArray], np.intp]
) -> float | None:
    """Return the profile's value at an extreme of a stretch one width long; None where that lies near its end."""
    low, high = round(start), round(start + width)
    found = int(place(smooth[low:high]))
    if abs(found + 0.5 - (high - low) / 2) > _FAR_FROM_MIDDLE * (high - low):
        return None
    return float(profile[low + found])


def finest_resolved_um(widths_um: FloatArray, contrasts: FloatArray) -> float:
    """Return the width of the finest bars that keep a contrast of 10 %.

    Going from wide bars to narrow ones, the first fall below 10 % ends it; the place of the fall is interpolated over
    the logarithm of the width. NaN where even the widest bars are below; the narrowest width where none is.

    Parameters
    ----------
    widths_um, contrasts : ndarray, shape (elements,)
        In any order.
    """
    order = np.argsort(np.asarray(widths_um, dtype=np.float64))[::-1]
    widths, seen = np.log(np.asarray(widths_um, dtype=np.float64)[order]), np.asarray(contrasts)[order]
    below = np.flatnonzero(~(seen >= CUT_OFF_CONTRAST))
    if below.size == 0:
        return float(np.exp(widths[-1]))
    fall = int(below[0])
    if fall == 0:
        return float("nan")
    share = (seen[fall - 1] - CUT_OFF_CONTRAST) / (seen[fall - 1] - seen[fall])
    return float(np.exp(widths[fall - 1] + share * (widths[fall] - widths[fall - 1])))
