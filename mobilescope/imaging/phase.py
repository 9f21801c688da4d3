"""Sub-pixel translation between two grey patches: phase correlation nominates, Pearson correlation decides.

Pure functions; the trust figure that comes with each shift can be recomputed from the two patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

Grey = NDArray[np.float32]

MINIMUM_OVERLAP_PX = 8
_SMOOTHING_PX = 1.0
_BACKGROUND_PX = 41
_TAPER_PX = 8
_CANDIDATES = 6
_FINALISTS = 4
_RIVAL_DISTANCE_PX = 4
_CLOSE_RIVAL = 0.5
_NEW_CUTS = 3
_WELL_CUT_PX = 0.7
# Significance of an overlap that no sub-pixel step could lift above chance.
_HOPELESS = 15.0
# Unrelated tissue reaches 33.
_LEAST_SIGNIFICANCE = 45.0
_RIVAL = 0.85
_REFINEMENTS = 8
_CONVERGED_PX = 1e-3
_FURTHEST_REFINEMENT_PX = 2.0
_KERNEL_RADIUS = 5
# Variance left of unit white noise by the smoothing kernel: the sum of its squared weights.
_NOISE_GAIN = float(np.sum(cv2.getGaussianKernel(9, _SMOOTHING_PX) ** 2) ** 2)
# Smoothed noise is alike over as many pixels as the kernel averages.
_NOISE_AREA_PX = 1 / _NOISE_GAIN
# Squared slope of the mean of two smoothed noises, in terms of the variance of their difference.
_NOISE_SLOPE = (1 - np.exp(-1 / _SMOOTHING_PX**2)) / 8


@dataclass(frozen=True)
class Shift:
    """Where the moving patch lies in the reference patch's frame, and how far to believe it.

    Attributes
    ----------
    dy_px, dx_px : float
        Row and column in the reference of the moving patch's pixel (0, 0): what is seen at ``moving[r, c]``
        is seen at ``reference[r + dy_px, c + dx_px]``.
    correlation : float
        Pearson correlation, -1 to 1, of the flattened patches over their overlap after the shift; 0 where the
        overlap is uniform.
    runner_up : float
        Greatest correlation of a rival peak at least 4 px away, -1 to 1; as high as ``correlation`` where the
        content repeats itself.
    error_px : float
        Standard error along the worse direction, from the overlap's gradients and what is left of its difference;
        2 at most, which stands for a shift that could not be refined.
    overlap_px : int
        Number of pixels that both patches share after the shift.
    """

    dy_px: float
    dx_px: float
    correlation: float
    runner_up: float
    error_px: float
    overlap_px: int


def flatten(grey: Grey) -> Grey:
    """Return the patch without shading and pixel noise: smoothed, minus its local mean.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns), float32
        Any linear scale.

    Returns
    -------
    ndarray, shape (rows, columns), float32
        Same scale, mean near zero.
    """
    plane = np.ascontiguousarray(grey, dtype=np.float32)
    smooth = cv2.GaussianBlur(plane, (9, 9), _SMOOTHING_PX, borderType=cv2.BORDER_REFLECT)
    background = cv2.blur(smooth, (_BACKGROUND_PX, _BACKGROUND_PX), borderType=cv2.BORDER_REFLECT)
    flat = np.asarray(smooth - background, dtype=np.float32)
    # What the filters' rounding leaves of a uniform patch is not texture.
    flat[np.abs(flat) <= 8 * np.finfo(np.float32).eps * np.abs(plane).max()] = 0
    return flat


def texture_to_noise(grey: Grey) -> float:
    """Return how much more the flattened patch varies than its pixel noise explains.

    The noise is estimated from the patch's second differences, of which fine texture counts as noise too; so the
    figure is an underestimate in sharp tissue, and near 1 where there is nothing but sensor noise.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns), float32

    Returns
    -------
    float
        Ratio of variances; 0 for a uniform patch.
    """
    plane = np.ascontiguousarray(grey, dtype=np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    second = cv2.filter2D(plane, cv2.CV_32F, kernel)[1:-1, 1:-1]
    noise_variance = float(np.mean(second**2)) / float(np.sum(kernel**2))
    texture_variance = float(flatten(plane).var())
    return texture_variance / max(noise_variance * _NOISE_GAIN, float(np.finfo(np.float32).tiny))


def phase_shift(
    reference: Grey, moving: Grey, *, max_shift_px: int, expected_px: tuple[int, int] = (0, 0)
) -> Shift:
    """Measure the translation between two patches of one size.

    The patches are flattened and zero-padded beyond the search, so that a shift is never mistaken for its
    wrapped twin. The strongest peaks of the phase correlation, and of the normalised one, are nominated; the one
    whose overlap agrees least by chance is refined by Gauss-Newton steps to a few hundredths of a pixel.

    Parameters
    ----------
    reference, moving : ndarray, shape (rows, columns), float32
        Grey patches on any linear scale.
    max_shift_px : int
        Each axis is searched from ``expected_px - max_shift_px`` to ``expected_px + max_shift_px``.
    expected_px : tuple of int
        Shift (row, column) in the middle of the search.

    Returns
    -------
    Shift
        With correlation 0 where a patch is uniform.

    Raises
    ------
    ValueError
        If the shapes differ, or no shift in the search leaves 8 px of overlap along both axes.
    """
    if reference.shape != moving.shape or reference.ndim != 2:
        raise ValueError(f"patches must be grey and of one shape, got {reference.shape} and {moving.shape}")
    flat = flatten(reference), flatten(moving)
    candidates = _nominate(*flat, max_shift_px, expected_px)
    candidates.sort(key=lambda candidate: _agreement(*_cut(*flat, *candidate)), reverse=True)
    # Flattened after the cut, the local means at its borders are taken over the same content in both.
    cuts = [_cut(reference, moving, *candidate) for candidate in candidates[:_FINALISTS]]
    finalists = [(flatten(fixed), flatten(other)) for fixed, other in cuts]
    best = int(np.argmax([_agreement(*overlap) for overlap in finalists]))
    dy_px, dx_px, correlation, error_px = _refine(*finalists[best], *candidates[best])
    cut = candidates[best]
    for _ in range(_NEW_CUTS):
        if max(abs(dy_px - cut[0]), abs(dx_px - cut[1])) < _WELL_CUT_PX:
            break
        # A cut at another pixel pulls towards itself what is smooth.
        cut = round(dy_px), round(dx_px)
        fixed, other = (flatten(part) for part in _cut(reference, moving, *cut))
        dy_px, dx_px, correlation, error_px = _refine(fixed, other, *cut)
    apart = [
        (pearson(*overlap), overlap, candidate) for overlap, candidate in zip(finalists, candidates, strict=False)
        if np.abs(np.subtract(candidate, candidates[best])).max() >= _RIVAL_DISTANCE_PX
    ]
    # Where content repeats itself every few pixels, and not by whole ones, a rival shows its height between them.
    rivals = [
        _refine(*overlap, *candidate)[2] if height > _CLOSE_RIVAL * correlation > 0 else height
        for height, overlap, candidate in apart
    ]
    return Shift(dy_px, dx_px, correlation, max(rivals, default=-1.0), error_px, finalists[best][0].size)


def significance(correlation: float, overlap_px: int) -> float:
    """Return how unlikely a correlation is by chance: Fisher's z in units of one independent pixel's deviation.

    Unrelated tissue stays below about 33, whatever the size of the overlap, since its pixels are not independent.
    """
    return math.atanh(min(max(correlation, -0.9999), 0.9999)) * overlap_px**0.5


def has_rival(shift: Shift) -> bool:
    """Tell whether another shift fits a significant overlap nearly as well: the content repeats itself."""
    return shift.correlation > 0 and shift.runner_up > _RIVAL * shift.correlation and _is_significant(shift)


def is_one_match(shift: Shift) -> bool:
    """Tell whether two pictures show one place, and at this shift alone, known to a pixel."""
    return _is_significant(shift) and not has_rival(shift) and shift.error_px < 1


def _is_significant(shift: Shift) -> bool:
    return significance(shift.correlation, shift.overlap_px) > _LEAST_SIGNIFICANCE


def pearson(first: Grey, second: Grey) -> float:
    """Return the Pearson correlation of two arrays of one shape; 0 where either is uniform."""
    first_centred, second_centred = first - first.mean(), second - second.mean()
    energy = float(np.vdot(first_centred, first_centred)) * float(np.vdot(second_centred, second_centred))
    return float(np.vdot(first_centred, second_centred)) / energy**0.5 if energy > 0 else 0.0


def _nominate(
    reference: Grey, moving: Grey, max_shift_px: int, expected_px: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the shifts (row, column) inside the search where phase or normalised correlation peaks highest."""
    spans = []
    for length, expected in zip(reference.shape, expected_px, strict=True):
        furthest = length - MINIMUM_OVERLAP_PX
        low, high = max(expected - max_shift_px, -furthest), min(expected + max_shift_px, furthest)
        if low > high:
            raise ValueError(f"no shift within {max_shift_px} px of {expected_px} leaves overlap in {reference.shape}")
        spans.append(np.arange(low, high + 1))
    shape = [
        scipy.fft.next_fast_len(length + int(np.abs(span).max()), real=True)
        for length, span in zip(reference.shape, spans, strict=True)
    ]
    taper = _taper(reference.shape[0])[:, None] * _taper(reference.shape[1])[None, :]
    spectrum = scipy.fft.rfft2(reference * taper, s=shape)
    spectrum *= np.conj(scipy.fft.rfft2(moving * taper, s=shape))
    magnitude = np.abs(spectrum)
    # Whitening is tempered where there is next to no signal; there it would raise noise to the rank of texture.
    whitened = spectrum / (magnitude + np.float32(0.1) * magnitude.mean() + np.finfo(np.float32).tiny)
    candidates: dict[tuple[int, int], None] = {}
    # A small thing on an empty field drowns in the whitened noise, but stands out in the normalised correlation.
    for form, energy in ((whitened, np.float32(1)), (spectrum, _overlap_energy(reference, moving, spans))):
        surface = scipy.fft.irfft2(form, s=shape)[np.ix_(spans[0] % shape[0], spans[1] % shape[1])]
        surface = cv2.GaussianBlur(np.ascontiguousarray(surface / energy), (5, 5), _SMOOTHING_PX)
        peaks = surface == cv2.dilate(surface, np.ones((2 * _RIVAL_DISTANCE_PX - 1,) * 2, dtype=np.uint8))
        rows, columns = np.nonzero(peaks)
        for k in np.argsort(surface[rows, columns])[::-1][:_CANDIDATES]:
            candidates[int(spans[0][rows[k]]), int(spans[1][columns[k]])] = None
    return list(candidates)


def _overlap_energy(reference: Grey, moving: Grey, spans: list[NDArray[np.int_]]) -> Grey:
    """Return the geometric mean of both patches' energy in their overlap, for each shift: shape of the search."""
    product = np.ones((len(spans[0]), len(spans[1])))
    for patch, sign in ((reference, 1), (moving, -1)):
        total = np.zeros((patch.shape[0] + 1, patch.shape[1] + 1))
        total[1:, 1:] = np.square(patch, dtype=np.float64).cumsum(axis=0).cumsum(axis=1)
        (top, bottom), (left, right) = (
            (np.maximum(sign * span, 0), length + np.minimum(sign * span, 0))
            for span, length in zip(spans, patch.shape, strict=True)
        )
        product *= (
            total[np.ix_(bottom, right)] - total[np.ix_(top, right)]
            - total[np.ix_(bottom, left)] + total[np.ix_(top, left)]
        )
    # Where there is next to nothing in the overlap, nothing is to be found there.
    floor = 1e-3 * max(float(product.max()), float(np.finfo(np.float32).tiny))
    return np.sqrt(np.maximum(product, floor)).astype(np.float32)


def _taper(length: int) -> Grey:
    """Return a window that is 1 inside and falls to 0 over the outermost pixels, shape (length,)."""
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    window: Grey = np.sin(np.pi / 2 * np.minimum(distance / _TAPER_PX, 1.0)).astype(np.float32) ** 2
    return window


def _cut(reference: Grey, moving: Grey, dy: int, dx: int) -> tuple[Grey, Grey]:
    """Return the parts of both patches that show the same place after an integer shift."""
    rows, columns = reference.shape
    return (
        reference[max(dy, 0):rows + min(dy, 0), max(dx, 0):columns + min(dx, 0)],
        moving[max(-dy, 0):rows + min(-dy, 0), max(-dx, 0):columns + min(-dx, 0)],
    )


def _agreement(first: Grey, second: Grey) -> float:
    """Return the significance of the correlation of two overlaps."""
    return significance(pearson(first, second), first.size)


def _shift_kernel(fraction: float) -> Grey:
    """Return the Lanczos weights that read a signal ``fraction`` px later, shape (11,)."""
    distance = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1) - fraction
    weights = np.sinc(distance) * np.sinc(distance / _KERNEL_RADIUS) * (np.abs(distance) < _KERNEL_RADIUS)
    kernel: Grey = (weights / weights.sum()).astype(np.float32)
    return kernel


def _refine(fixed: Grey, other: Grey, dy: int, dx: int) -> tuple[float, float, float, float]:
    """Return the sub-pixel shift (dy, dx) next to an integer one, the correlation there, and the shift's error in px.

    ``fixed`` and ``other`` are the flattened parts that overlap after the integer shift.
    Gauss-Newton on the difference of the standardised overlaps, along the mean of both gradients: noise is then
    independent of the slope, and a uniform shift is a separable filter, so that nothing is quantised. Where there is
    nothing to refine, or the steps run away, the integer shift stands, with an error to match.
    """
    if _agreement(fixed, other) < _HOPELESS:
        return float(dy), float(dx), pearson(fixed, other), _FURTHEST_REFINEMENT_PX
    fixed, other = _standardised(fixed), _standardised(other)
    # The rim is where the filters reach past the overlap, unless it is too narrow to lose one.
    rim = _KERNEL_RADIUS if min(fixed.shape) > 4 * _KERNEL_RADIUS else 1
    inner = (slice(rim, -rim), slice(rim, -rim))
    fixed_gradient = _gradients(fixed)
    fraction, step = np.zeros(2), np.full(2, np.inf)
    for _ in range(_REFINEMENTS):
        warped = _read_at(other, *fraction)
        gradient = np.stack([
            (mine[inner] + theirs[inner]).ravel() / 2
            for mine, theirs in zip(fixed_gradient, _gradients(warped), strict=True)
        ])
        difference = (fixed - warped)[inner].ravel()
        difference -= difference.mean()
        curvature = (gradient @ gradient.T).astype(np.float64)
        # Straight lines give no slope along themselves: no step that way, rather than a wild one.
        weakest = max(float(np.linalg.eigvalsh(curvature)[0]), 0.0)
        step = np.linalg.solve(curvature + (1e-6 * curvature.trace() + 1e-12) * np.eye(2), gradient @ difference)
        fraction = fraction + step
        if np.abs(fraction).max() > _FURTHEST_REFINEMENT_PX or np.abs(step).max() < _CONVERGED_PX:
            break
    if weakest <= 0 or np.abs(fraction).max() > _FURTHEST_REFINEMENT_PX:
        return float(dy), float(dx), pearson(fixed, other), _FURTHEST_REFINEMENT_PX
    # Noise has slopes, too: along a straight line, or around a faint thing, there are no others.
    spread = float(difference.std())
    footing = max(weakest - _NOISE_SLOPE * spread**2 * difference.size, 1e-3 * weakest)
    error_px = spread * (_NOISE_AREA_PX / footing) ** 0.5
    correlation = pearson(fixed[inner], _read_at(other, *fraction)[inner])
    return float(dy - fraction[0]), float(dx - fraction[1]), correlation, min(error_px, _FURTHEST_REFINEMENT_PX)


def _read_at(plane: Grey, row_fraction: float, column_fraction: float) -> Grey:
    """Return the plane read at (row + row_fraction, column + column_fraction) for each pixel."""
    return _filtered(plane, _shift_kernel(row_fraction), _shift_kernel(column_fraction))


def _gradients(plane: Grey) -> list[Grey]:
    """Return the central differences along rows and columns, each of the plane's shape."""
    taps = np.array([-0.5, 0.0, 0.5], dtype=np.float32)
    one = np.ones(1, dtype=np.float32)
    return [_filtered(plane, taps, one), _filtered(plane, one, taps)]


def _filtered(plane: Grey, row_kernel: Grey, column_kernel: Grey) -> Grey:
    """Return the plane correlated with one kernel along the rows' axis and one along the columns' axis."""
    filtered = cv2.sepFilter2D(
        np.ascontiguousarray(plane), cv2.CV_32F, column_kernel, row_kernel, borderType=cv2.BORDER_REFLECT
    )
    return np.asarray(filtered, dtype=np.float32)


def _standardised(plane: Grey) -> Grey:
    """Return the plane with mean 0 and standard deviation 1; all zeros where it is uniform."""
    centred = plane - plane.mean()
    spread = float(centred.std())
    return np.asarray(centred / spread if spread > 0 else np.zeros_like(centred), dtype=np.float32)
