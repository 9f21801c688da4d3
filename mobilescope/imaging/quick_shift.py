"""The translation between two patches at half resolution: quick where the content is plain, silent where it is not.

What is found here is judged here too; a pair that gives any reason for doubt is left to `phase.phase_shift`.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mobilescope.imaging.phase import Grey, Shift, pearson, significance

Complex = NDArray[np.complex64]

_SMOOTHING_PX = 1.0
_BACKGROUND_PX = 21
_TAPER_PX = 4
# Rival shifts closer than this many half-resolution pixels belong to one peak.
_RIVAL_DISTANCE_PX = 2
_PEAKS = (3, 2)
# Three times what unrelated tissue reaches; see `phase.significance`.
_BEYOND_DOUBT = 100.0
# The best of a search through nothing but noise stays below this.
NOISE_SIGNIFICANCE = 20.0
_LEAST_SIDE_PX = 12
_KERNEL_RADIUS = 4
_STEPS = 4
_CONVERGED_PX = 0.03
_FURTHEST_PX = 1.5
_NO_FOOTING_PX = 2.0
# Half-resolution pixels over which smoothed noise is alike: a quarter of the full resolution's.
_NOISE_AREA_PX = 3.2


def _smooth_half(grey: Grey) -> Grey:
    """Return every second pixel of the smoothed patch, shape (ceil(rows/2), ceil(columns/2))."""
    smooth = cv2.GaussianBlur(grey, (7, 7), _SMOOTHING_PX, borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(smooth[::2, ::2])


def _flatten(smooth: Grey) -> Grey:
    """Return the patch minus its local mean."""
    background = cv2.blur(smooth, (_BACKGROUND_PX, _BACKGROUND_PX), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.subtract(smooth, background), dtype=np.float32)


def quick_shift(
    reference: Grey, moving: Grey, *, max_shift_px: int, expected_px: tuple[int, int] = (0, 0)
) -> Shift | None:
    """Measure the translation between two patches of one size; see `phase.phase_shift` for the terms.

    The strongest peaks of phase and normalised correlation are nominated, the one whose overlap agrees least by
    chance is refined by Gauss-Newton steps, all on every second pixel of the smoothed patches.

    Returns
    -------
    Shift or None
        Good to some hundredths of a pixel; with an error of 2 px where the steps find no footing; None where the
        patches are too small.
    """
    smooth = _smooth_half(reference), _smooth_half(moving)
    fixed, other = _flatten(smooth[0]), _flatten(smooth[1])
    search = max_shift_px // 2 + 1
    centre = round(expected_px[0] / 2), round(expected_px[1] / 2)
    spans = []
    for length, middle in zip(fixed.shape, centre, strict=True):
        furthest = length - _LEAST_SIDE_PX
        low, high = max(middle - search, -furthest), min(middle + search, furthest)
        if low >= high:
            return None
        spans.append((low, high))
    candidates, agreements = _nominate(fixed, other, spans)
    best = max(range(len(candidates)), key=lambda k: agreements[k][1])
    rivals = [
        agreements[k][0] for k, (row, column) in enumerate(candidates)
        if max(abs(row - candidates[best][0]), abs(column - candidates[best][1])) >= _RIVAL_DISTANCE_PX
    ]
    (row, column), correlation, error_px = (0.0, 0.0), agreements[best][0], _NO_FOOTING_PX
    if agreements[best][1] > NOISE_SIGNIFICANCE:
        # Flattened after the cut, the local means at its borders are taken over the same content in both.
        mine, theirs = _overlap(*smooth, candidates[best])
        (row, column), correlation, error_px = _refine(_flatten(mine), _flatten(theirs))
    dy_px, dx_px = 2 * (candidates[best][0] - row), 2 * (candidates[best][1] - column)
    rows, columns = reference.shape
    overlap_px = round((rows - abs(dy_px)) * (columns - abs(dx_px)))
    return Shift(dy_px, dx_px, correlation, max(rivals, default=-1.0), error_px, overlap_px)


def _nominate(
    fixed: Grey, other: Grey, spans: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[float, float]]]:
    """Return shifts (row, column) inside the spans where phase or normalised correlation peaks, and their agreement.

    A small thing on an empty field drowns in the whitened noise, but stands out in the normalised correlation, which
    is asked where the phase alone found nothing that is beyond doubt.
    """
    shape = [
        scipy.fft.next_fast_len(length + max(abs(low), abs(high)), real=True)
        for length, (low, high) in zip(fixed.shape, spans, strict=True)
    ]
    window = _window(fixed.shape)
    spectrum: Complex = scipy.fft.rfft2(fixed * window, s=shape)
    spectrum *= np.conj(scipy.fft.rfft2(other * window, s=shape))
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2)
    # Whitening is tempered where there is next to no signal; there it would raise noise to the rank of texture.
    magnitude += np.float32(0.1 * magnitude.mean() + np.finfo(np.float32).tiny)
    rows, columns = (np.arange(low, high + 1) for low, high in spans)
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for form, count in zip((spectrum * np.reciprocal(magnitude), spectrum), _PEAKS, strict=True):
        surface = scipy.fft.irfft2(form, s=shape).take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
        if form is spectrum:
            # A shift that leaves less overlap has less to add up.
            surface /= np.outer(fixed.shape[0] - np.abs(rows), fixed.shape[1] - np.abs(columns)).astype(np.float32)
        peaks = np.flatnonzero(surface == cv2.dilate(surface, _NEIGHBOURHOOD))
        heights = surface.ravel()[peaks]
        for peak in peaks[np.argsort(heights)[::-1][:count]].tolist():
            candidate = int(rows[peak // len(columns)]), int(columns[peak % len(columns)])
            if candidate not in found:
                found[candidate] = _agreement(fixed, other, candidate)
        if max((certainty for _, certainty in found.values()), default=0.0) > _BEYOND_DOUBT:
            break
    return list(found), list(found.values())


_NEIGHBOURHOOD = np.ones((2 * _RIVAL_DISTANCE_PX + 1,) * 2, dtype=np.uint8)


@lru_cache(maxsize=64)
def _window(shape: tuple[int, int]) -> Grey:
    """Return a window that is 1 inside and falls to 0 over the outermost pixels."""
    sides = []
    for length in shape:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        sides.append(np.sin(np.pi / 2 * np.minimum(distance / _TAPER_PX, 1.0)) ** 2)
    window: Grey = np.outer(*sides).astype(np.float32)
    return window


def _overlap(fixed: Grey, other: Grey, shift: tuple[int, int]) -> tuple[Grey, Grey]:
    """Return the parts of both patches that show the same place after an integer shift."""
    (dy, dx), (rows, columns) = shift, fixed.shape
    return (
        fixed[max(dy, 0):rows + min(dy, 0), max(dx, 0):columns + min(dx, 0)],
        other[max(-dy, 0):rows + min(-dy, 0), max(-dx, 0):columns + min(-dx, 0)],
    )


def _agreement(fixed: Grey, other: Grey, shift: tuple[int, int]) -> tuple[float, float]:
    """Return the correlation of the overlaps and its significance."""
    mine, theirs = (np.ascontiguousarray(part) for part in _overlap(fixed, other, shift))
    # Flattened patches have next to no mean.
    energy = float(np.vdot(mine, mine)) * float(np.vdot(theirs, theirs))
    correlation = float(np.vdot(mine, theirs)) / energy**0.5 if energy > 0 else 0.0
    return correlation, significance(correlation, 4 * mine.size)


def _refine(fixed: Grey, other: Grey) -> tuple[tuple[float, float], float, float]:
    """Return how far the overlaps still are apart, their correlation there, and the error in full-resolution px.

    Gauss-Newton along the mean of both gradients, so that noise is independent of the slope. Where the slope is flat
    or the steps run away, the overlaps stay where they are.
    """
    fixed, other = _standardised(fixed), _standardised(other)
    rim = _KERNEL_RADIUS if min(fixed.shape) > 4 * _KERNEL_RADIUS else 1
    inner = fixed[rim:-rim, rim:-rim]
    row = column = 0.0
    for _ in range(_STEPS):
        # Read at the nearest of the table's fractions, which is as good a place as any to step from.
        (row, down_kernel), (column, right_kernel) = _kernel(row), _kernel(column)
        warped = cv2.sepFilter2D(other, cv2.CV_32F, right_kernel, down_kernel, borderType=cv2.BORDER_REFLECT)
        both = cv2.add(fixed, warped)
        down = (both[rim + 1:both.shape[0] - rim + 1, rim:-rim] - both[rim - 1:-rim - 1, rim:-rim]).ravel()
        right = (both[rim:-rim, rim + 1:both.shape[1] - rim + 1] - both[rim:-rim, rim - 1:-rim - 1]).ravel()
        seen = warped[rim:-rim, rim:-rim]
        difference = (inner - seen).ravel()
        # Both gradients together are four times a central difference's mean.
        a, b, c = (float(np.dot(*pair)) / 16 for pair in ((down, down), (down, right), (right, right)))
        p, q = float(np.dot(down, difference)) / 4, float(np.dot(right, difference)) / 4
        determinant = a * c - b * b
        if determinant <= 1e-6 * (a + c) ** 2 or not np.isfinite(determinant):
            return (0.0, 0.0), pearson(fixed, other), _NO_FOOTING_PX
        steps = (c * p - b * q) / determinant, (a * q - b * p) / determinant
        row, column = row + steps[0], column + steps[1]
        if max(abs(row), abs(column)) > _FURTHEST_PX:
            return (0.0, 0.0), pearson(fixed, other), _NO_FOOTING_PX
        if max(abs(steps[0]), abs(steps[1])) < _CONVERGED_PX:
            break
    weakest = (a + c) / 2 - (((a - c) / 2) ** 2 + b * b) ** 0.5
    spread = float(np.dot(difference, difference)) / difference.size
    error_px = 2 * (spread * _NOISE_AREA_PX / max(weakest, 1e-12)) ** 0.5
    return (row, column), pearson(inner, seen), min(error_px, _NO_FOOTING_PX)


def _lanczos_table() -> Grey:
    """Return the weights that read a signal at each multiple of a step, shape (fractions, 9)."""
    fraction = np.arange(-_TABLE_REACH, _TABLE_REACH + 1) / _TABLE_STEPS
    distance = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1) - fraction[:, None]
    weights = np.sinc(distance) * np.sinc(distance / _KERNEL_RADIUS) * (np.abs(distance) < _KERNEL_RADIUS)
    table: Grey = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


_TABLE_STEPS = 256
_TABLE_REACH = 2 * _TABLE_STEPS
_TABLE = _lanczos_table()


def _kernel(fraction: float) -> tuple[float, Grey]:
    """Return the table's fraction next to this one, and its weights."""
    number = round(fraction * _TABLE_STEPS)
    return number / _TABLE_STEPS, _TABLE[number + _TABLE_REACH]


def _standardised(plane: Grey) -> Grey:
    """Return the plane with mean 0 and standard deviation 1; as it is where it is uniform."""
    mean, spread = cv2.meanStdDev(plane)
    scale = 1 / float(spread[0, 0]) if spread[0, 0] > 0 else 1.0
    return np.asarray((plane - np.float32(mean[0, 0])) * np.float32(scale), dtype=np.float32)
