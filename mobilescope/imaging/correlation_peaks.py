"""Local maxima of the correlation of two patches: of the phase correlation, and of the normalised one.

The spectra are OpenCV's packed ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mobilescope.imaging.phase import Grey

# Shifts closer than this many pixels belong to one peak.
RIVAL_DISTANCE_PX = 2
_TAPER_PX = 4
_PHASE_PEAKS = 3
_RIVALS = 6
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Peak:
    """A local maximum of a correlation at (row, column).

    Its lift says how much higher it is between the pixels, its summit where; its shoulder is what is left of it a
    pixel further.
    """

    place: tuple[int, int]
    height: float
    lift: float = 1.0
    shoulder: float = 1.0
    summit: tuple[float, float] = (0.0, 0.0)


def correlation_peaks(fixed: Grey, other: Grey, spans: list[tuple[int, int]]) -> Iterator[list[Peak]]:
    """Yield shifts (row, column) inside the spans with their heights: of the phase correlation, then the normalised.

    The spectra are OpenCV's packed ones: their first and last columns, which hold no pairs, are left out.
    """
    rows, columns = (np.arange(low, high + 1) for low, high in spans)
    shape = [
        cv2.getOptimalDFTSize((length + max(abs(low), abs(high)) + 1) // 2) * 2
        for length, (low, high) in zip(fixed.shape, spans, strict=True)
    ]
    window = _window(fixed.shape)
    spectra = []
    for patch in (fixed, other):
        padded = np.zeros(shape, dtype=np.float32)
        np.multiply(patch, window, out=padded[:patch.shape[0], :patch.shape[1]])
        spectra.append(cv2.dft(padded))
    cross = np.asarray(cv2.mulSpectrums(spectra[0], spectra[1], 0, conjB=True), dtype=np.float32)
    cross[:, 0] = cross[:, -1] = 0
    magnitude = np.abs(cross[:, 1:-1].view(np.complex64))
    # Whitening is tempered where there is next to no signal; there it would raise noise to the rank of texture.
    magnitude += np.float32(0.1 * cv2.mean(magnitude)[0] + _TINY)
    white = cross.copy()
    white[:, 1:-1].view(np.complex64)[...] *= np.reciprocal(magnitude)
    for form, count in ((white, _PHASE_PEAKS), (cross, _RIVALS)):
        surface: Grey = np.asarray(cv2.idft(form, flags=cv2.DFT_REAL_OUTPUT), dtype=np.float32)
        surface = surface.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
        if form is cross:
            # A shift that leaves less overlap has less to add up.
            surface /= np.outer(fixed.shape[0] - np.abs(rows), fixed.shape[1] - np.abs(columns)).astype(np.float32)
        peaks = np.flatnonzero(surface == cv2.dilate(surface, _NEIGHBOURHOOD))
        heights = surface.ravel()[peaks]
        highest = []
        for k in np.argsort(heights)[:-count - 1:-1]:
            row, column = divmod(int(peaks[k]), len(columns))
            place = spans[0][0] + row, spans[1][0] + column
            if form is white:
                highest.append(Peak(place, float(heights[k])))
                continue
            down, right = _form(surface[:, column], row), _form(surface[row], column)
            summit = place[0] + down[2], place[1] + right[2]
            highest.append(Peak(place, float(heights[k]), down[0] * right[0], min(down[1], right[1]), summit))
        yield highest


def _form(line: Grey, middle: int) -> tuple[float, float, float]:
    """Return a peak's lift and shoulder along a line, and how far from its middle the parabola's summit is."""
    if not 0 < middle < len(line) - 1 or line[middle] <= 0:
        return 1.0, 1.0, 0.0
    before, height, after = (float(value) for value in line[middle - 1:middle + 2])
    bend, shoulder = 2 * height - before - after, (before + after) / (2 * height)
    if bend <= 0:
        return 1.0, shoulder, 0.0
    return 1.0 + (after - before) ** 2 / (8 * bend * height), shoulder, (after - before) / (2 * bend)


_NEIGHBOURHOOD = np.ones((2 * RIVAL_DISTANCE_PX + 1,) * 2, dtype=np.uint8)


@lru_cache(maxsize=64)
def _window(shape: tuple[int, int]) -> Grey:
    """Return a window that is 1 inside and falls to 0 over the outermost pixels."""
    sides = []
    for length in shape:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        sides.append(np.sin(np.pi / 2 * np.minimum(distance / _TAPER_PX, 1.0)) ** 2)
    window: Grey = np.outer(*sides).astype(np.float32)
    return window
