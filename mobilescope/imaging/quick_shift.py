"""The translation between two patches at a half and a quarter of the resolution: quick, and silent where in doubt.

What is found here is judged here too; a pair that gives any reason for doubt is left to `phase.phase_shift`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mobilescope.imaging.correlation_peaks import RIVAL_DISTANCE_PX, Peak, correlation_peaks
from mobilescope.imaging.phase import Grey, Shift, significance

_BACKGROUND_PX = 21
_RIVAL_HEIGHT = 0.5
_NORMALISED_PEAKS = 2
_LEAST_SHOULDER = 0.15
_LEAST_CORRELATION = 0.1
# Three times what unrelated tissue reaches; see `phase.significance`.
_BEYOND_DOUBT = 100.0
# The best of a search through nothing but noise stays below this.
NOISE_SIGNIFICANCE = 20.0
# Texture in terms of noise, below which a patch holds nothing that the normalised correlation could find.
NOTHING_BUT_NOISE = 1.1
_SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
# Variance left of unit white noise by the 5-tap binomial.
_NOISE_GAIN = (70 / 256) ** 2
_LEAST_SIDE_PX = 12
_KERNEL_RADIUS = 4
_STEPS = 4
_CUTS = 3
_WELL_CUT_PX = 0.7
_CONVERGED_PX = 0.03
# Central differences see slopes too flat by about a fifth in tissue, and make steps too long by as much.
_STRIDE = 0.8
_FURTHEST_PX = 1.5
_NO_FOOTING_PX = 2.0
# Half-resolution pixels over which smoothed noise is alike: a quarter of the full resolution's.
_NOISE_AREA_PX = 3.2
# Squared slope of the mean of two noisy patches in terms of the variance of their difference.
_NOISE_SLOPE = 1 / 8


def _smooth_half(grey: Grey) -> Grey:
    """Return every second pixel of the smoothed patch; the 5-tap binomial is a Gaussian of 1 px."""
    return np.asarray(cv2.pyrDown(grey), dtype=np.float32)


def _flatten(smooth: Grey, background_px: int = _BACKGROUND_PX) -> Grey:
    """Return the patch minus its local mean."""
    background = cv2.blur(smooth, (background_px, background_px), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.subtract(smooth, background), dtype=np.float32)


# Correlation and significance by shift (row, column).
Found = dict[tuple[int, int], tuple[float, float]]


@dataclass(frozen=True)
class QuickShift:
    """What the half resolution says of two patches.

    Attributes
    ----------
    shift : Shift
        As from `phase.phase_shift`, good to some hundredths of a pixel; with an error of 2 px where the steps found
        no footing.
    texture : float
        How much more the patch with less in it varies than its noise explains, as from `phase.texture_to_noise`;
        infinite where the shift left no reason to ask.
    """

    shift: Shift
    texture: float


def quick_shift(
    reference: Grey, moving: Grey, *, max_shift_px: int, expected_px: tuple[int, int] = (0, 0)
) -> QuickShift | None:
    """Measure the translation between two patches of one size; see `phase.phase_shift` for the terms.

    The strongest peaks of the phase correlation are nominated, the one whose overlap agrees least by chance is
    refined by Gauss-Newton steps on every second pixel of the smoothed patches. The peaks are looked for on every
    fourth pixel first and, where what that leads to is not beyond doubt, on every second one. If doubt is left, and
    there is more than noise, the normalised correlation is asked too: a small thing on an empty field drowns in
    whitened noise.

    Returns
    -------
    QuickShift or None
        None where the patches are too small, or share too little where they are expected.
    """
    smooth = _smooth_half(reference), _smooth_half(moving)
    search = max_shift_px // 2 + 1
    centre = round(expected_px[0] / 2), round(expected_px[1] / 2)
    spans = []
    for length, middle in zip(smooth[0].shape, centre, strict=True):
        furthest = length - _LEAST_SIDE_PX
        low, high = max(middle - search, -furthest), min(middle + search, furthest)
        if low >= high or not low <= middle <= high:
            return None
        spans.append((low, high))
    glimpse = _glimpse(smooth, spans)
    if glimpse.certainty > _BEYOND_DOUBT:
        shift = _settle(smooth, reference.shape, glimpse.near, glimpse.rivalry)
        if significance(shift.correlation, shift.overlap_px) > _BEYOND_DOUBT and shift.error_px < _NO_FOOTING_PX:
            return QuickShift(shift, math.inf)
    fixed, other = _flatten(smooth[0]), _flatten(smooth[1])
    if glimpse.certainty < NOISE_SIGNIFICANCE:
        texture = min(patch_texture(reference, fixed), patch_texture(moving, other))
        if texture < NOTHING_BUT_NOISE:
            # Neither alone nor together do the patches show anything.
            return QuickShift(Shift(*expected_px, 0.0, -1.0, _NO_FOOTING_PX, reference.size), texture)
    found: Found = {}
    forms = correlation_peaks(fixed, other, spans)
    _judge(found, next(forms), fixed, other, 4)
    texture, normalised = math.inf, next(forms)
    if _surest(found) <= _BEYOND_DOUBT:
        texture = min(patch_texture(reference, fixed), patch_texture(moving, other))
        if texture >= NOTHING_BUT_NOISE:
            _judge(found, normalised[:_NORMALISED_PEAKS], fixed, other, 4)
    best, rivalry = _best(found, normalised, fixed, other)
    if found[best][1] > NOISE_SIGNIFICANCE:
        return QuickShift(_settle(smooth, reference.shape, best, rivalry), texture)
    return QuickShift(
        _shift(reference.shape, best, (0.0, 0.0), found[best][0], _NO_FOOTING_PX, rivalry), texture
    )


@dataclass(frozen=True)
class _Glimpse:
    """What a quarter of the resolution shows: its significance, where in half-resolution pixels, and the best rival."""

    certainty: float
    near: tuple[float, float] = (0.0, 0.0)
    rivalry: float = 1.0


def _glimpse(smooth: tuple[Grey, Grey], spans: list[tuple[int, int]]) -> _Glimpse:
    """Return what a quarter of the resolution shows; small patches leave a doubt in any case."""
    if min(smooth[0].shape) < 2 * _LEAST_SIDE_PX:
        return _Glimpse((NOISE_SIGNIFICANCE + _BEYOND_DOUBT) / 2)
    fixed, other = (_flatten(_smooth_half(half), _BACKGROUND_PX // 2) for half in smooth)
    found: Found = {}
    forms = correlation_peaks(fixed, other, [(low // 2, -(-high // 2)) for low, high in spans])
    _judge(found, next(forms), fixed, other, 16)
    certainty = _surest(found)
    if certainty < _BEYOND_DOUBT:
        return _Glimpse(certainty)
    normalised = next(forms)
    best, rivalry = _best(found, normalised, fixed, other)
    row, column = next((peak.summit for peak in normalised if _distance(peak.place, best) <= 1), best)
    return _Glimpse(certainty, (2 * row, 2 * column), rivalry)


def _distance(one: tuple[int, int], other: tuple[int, int]) -> int:
    """Return the greater of two shifts' differences along the axes."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def _judge(found: Found, peaks: list[Peak], fixed: Grey, other: Grey, pixel_area: int) -> None:
    """Add the agreement that each of the peaks leads to."""
    for peak in peaks:
        # A rival peak this low can't be as good, if the first one is beyond doubt.
        plain = found and peak.height < _RIVAL_HEIGHT * peaks[0].height and _surest(found) > _BEYOND_DOUBT
        if peak.place not in found and not plain:
            found[peak.place] = _agreement(fixed, other, peak.place, pixel_area)


def _best(found: Found, normalised: list[Peak], fixed: Grey, other: Grey) -> tuple[tuple[int, int], float]:
    """Return the candidate that is least by chance, and how well a shift that lies apart from it does, of 1.

    What repeats itself shows in the normalised correlation alone; between pixels, since a period is hardly a whole
    number of them.
    """
    best = max(found, key=lambda candidate: found[candidate][1])
    if normalised and normalised[0].shoulder < _LEAST_SHOULDER:
        # Stripes hardly wider than a pixel: what repeats itself so quickly can't be judged here.
        return best, 1.0
    heights = {place: correlation for place, (correlation, _) in found.items()}
    for peak in normalised:
        if peak.height > _RIVAL_HEIGHT * normalised[0].height:
            correlation = heights.get(peak.place) or _agreement(fixed, other, peak.place, 1)[0]
            heights[peak.place] = min(1.0, correlation * peak.lift)
    rival = max((
        correlation for place, correlation in heights.items() if _distance(place, best) >= RIVAL_DISTANCE_PX
    ), default=-1.0)
    return best, min(1.0, rival / max(heights[best], _LEAST_CORRELATION))


def _settle(
    smooth: tuple[Grey, Grey], shape: tuple[int, ...], near: tuple[float, float], rivalry: float
) -> Shift:
    """Return the refined shift near one in half-resolution pixels."""
    for _ in range(_CUTS):
        whole = round(near[0]), round(near[1])
        # Flattened after the cut, the local means at its borders are taken over the same content in both.
        mine, theirs = _overlap(*smooth, whole)
        start = whole[0] - near[0], whole[1] - near[1]
        moved, correlation, error_px = _refine(_flatten(mine), _flatten(theirs), start)
        near = whole[0] - moved[0], whole[1] - moved[1]
        # A cut at another pixel would pull towards itself what is smooth.
        if max(abs(moved[0]), abs(moved[1])) < _WELL_CUT_PX:
            break
    return _shift(shape, whole, moved, correlation, error_px, rivalry)


def _shift(
    shape: tuple[int, ...], near: tuple[int, int], moved: tuple[float, float], correlation: float, error_px: float,
    rivalry: float,
) -> Shift:
    """Return what was found, in pixels of the full resolution, at which the patches have the given shape."""
    dy_px, dx_px = 2 * (near[0] - moved[0]), 2 * (near[1] - moved[1])
    overlap_px = round((shape[0] - abs(dy_px)) * (shape[1] - abs(dx_px)))
    return Shift(dy_px, dx_px, correlation, rivalry * correlation, error_px, overlap_px)


def _surest(found: Found) -> float:
    """Return the greatest significance among candidates."""
    return max((certainty for _, certainty in found.values()), default=0.0)


def patch_texture(grey: Grey, flat_half: Grey | None = None) -> float:
    """Return how much more a flattened patch varies than the noise of the patch explains: ratio of variances."""
    flat_half = _flatten(_smooth_half(grey)) if flat_half is None else flat_half
    third = grey.shape[0] // 3
    second = cv2.filter2D(grey[third:2 * third + 3], cv2.CV_32F, _SECOND_DIFFERENCE)[1:-1, 1:-1]
    noise_variance = float(np.vdot(second, second)) / max(second.size, 1) / float(np.sum(_SECOND_DIFFERENCE**2))
    return float(flat_half.var()) / max(noise_variance * _NOISE_GAIN, float(np.finfo(np.float32).tiny))


def _overlap(fixed: Grey, other: Grey, shift: tuple[int, int]) -> tuple[Grey, Grey]:
    """Return the parts of both patches that show the same place after an integer shift."""
    (dy, dx), (rows, columns) = shift, fixed.shape
    return (
        fixed[max(dy, 0):rows + min(dy, 0), max(dx, 0):columns + min(dx, 0)],
        other[max(-dy, 0):rows + min(-dy, 0), max(-dx, 0):columns + min(-dx, 0)],
    )


def _agreement(fixed: Grey, other: Grey, shift: tuple[int, int], pixel_area: int) -> tuple[float, float]:
    """Return the correlation of the overlaps and its significance; a pixel stands for so many of full resolution."""
    mine, theirs = (np.ascontiguousarray(part) for part in _overlap(fixed, other, shift))
    correlation = _correlation(mine, theirs)
    return correlation, significance(correlation, pixel_area * mine.size)


def _correlation(mine: Grey, theirs: Grey) -> float:
    """Return the correlation of two patches that have next to no mean; 0 where either is uniform."""
    energy = float(np.vdot(mine, mine)) * float(np.vdot(theirs, theirs))
    return float(np.vdot(mine, theirs)) / energy**0.5 if energy > 0 else 0.0


def _refine(fixed: Grey, other: Grey, start: tuple[float, float]) -> tuple[tuple[float, float], float, float]:
    """Return how far the overlaps still are apart, their correlation there, and the error in full-resolution px.

    Gauss-Newton along the mean of both gradients, so that noise is independent of the slope. Where the slope is flat
    or the steps run away, the overlaps stay where they are.
    """
    energy = float(np.vdot(other, other))
    if energy <= 0:
        return (0.0, 0.0), 0.0, _NO_FOOTING_PX
    # Flattened patches have next to no mean; only their contrasts may differ.
    other = other * np.float32((float(np.vdot(fixed, fixed)) / energy) ** 0.5)
    rim = _KERNEL_RADIUS if min(fixed.shape) > 4 * _KERNEL_RADIUS else 1
    inner = np.ascontiguousarray(fixed[rim:-rim, rim:-rim]).ravel()
    row, column = start
    for _ in range(_STEPS):
        # Read at the nearest of the table's fractions, which is as good a place as any to step from.
        (row, down_kernel), (column, right_kernel) = _kernel(row), _kernel(column)
        warped = other if row == column == 0 else cv2.sepFilter2D(
            other, cv2.CV_32F, right_kernel, down_kernel, borderType=cv2.BORDER_REFLECT
        )
        both = cv2.add(fixed, warped)
        down = (both[rim + 1:both.shape[0] - rim + 1, rim:-rim] - both[rim - 1:-rim - 1, rim:-rim]).ravel()
        right = (both[rim:-rim, rim + 1:both.shape[1] - rim + 1] - both[rim:-rim, rim - 1:-rim - 1]).ravel()
        seen = np.asarray(warped[rim:-rim, rim:-rim], dtype=np.float32).ravel()
        difference = inner - seen
        # Both gradients together are four times a central difference's mean.
        a, b, c = (float(np.dot(*pair)) / 16 for pair in ((down, down), (down, right), (right, right)))
        p, q = float(np.dot(down, difference)) / 4 * _STRIDE, float(np.dot(right, difference)) / 4 * _STRIDE
        determinant = a * c - b * b
        if determinant <= 1e-6 * (a + c) ** 2 or not np.isfinite(determinant):
            return (0.0, 0.0), _correlation(fixed, other), _NO_FOOTING_PX
        steps = (c * p - b * q) / determinant, (a * q - b * p) / determinant
        row, column = row + steps[0], column + steps[1]
        if max(abs(row), abs(column)) > _FURTHEST_PX:
            return (0.0, 0.0), _correlation(fixed, other), _NO_FOOTING_PX
        if max(abs(steps[0]), abs(steps[1])) < _CONVERGED_PX:
            break
    spread = float(np.dot(difference, difference)) / difference.size
    # Noise has slopes, too; along a straight line there are no others.
    weakest = (a + c) / 2 - (((a - c) / 2) ** 2 + b * b) ** 0.5 - _NOISE_SLOPE * spread * difference.size
    error_px = 2 * (spread * _NOISE_AREA_PX / max(weakest, 1e-12)) ** 0.5
    return (row, column), _correlation(inner, seen), min(error_px, _NO_FOOTING_PX)


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
