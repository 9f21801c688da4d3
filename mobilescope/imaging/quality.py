"""How good a registered pair is, measured apart from the registration, and the gate that accepts or refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from mobilescope.core.config import StrictModel
from mobilescope.imaging.block_correlation import BlockGrid, correlate_blocks
from mobilescope.imaging.focus import tenengrad

Grey = NDArray[np.float32]

_RESIDUAL_BLOCK_PX = 44
_RESIDUAL_SEARCH_PX = 4
_SPECTRUM_PX = 64
_MOST_SPECTRA = 400
_COARSE_BAND = (0.02, 0.07)
_FINE_BAND = (0.12, 0.22)
# Fewer pairs do not tell what a phone scope shows as a rule.
_LEAST_PAIRS = 5
_BLANK_WINDOW_PX = 16
_BLANK_CONTRAST = 0.015
# Further from specimen than this (the distance of the displacement field's control points) a map is a guess.
_SUPPORT_REACH_PX = 32


@dataclass(frozen=True)
class PairQuality:
    """What is known about a registered pair. Pixels are the moving image's.

    Attributes
    ----------
    residual_median_px, residual_p95_px, residual_median_um, residual_p95_um : float
        Shifts measured again after the final warp, on blocks with specimen that the registration did not use. They
        show what a map missed, but not by how much it errs: the same noise misleads both.
    expected_median_px, expected_p95_px : float
        Distances from the true place that must be reckoned with where the map rests on specimen, see
        `imaging.expected_error`; not less than what was measured.
    pearson : float
        Correlation of the moving image with the warped fixed one over the whole field, -1 to 1.
    pearson_low : float
        10th percentile of the block-wise correlation, over blocks that show specimen.
    inliers : int
    inlier_ratio, inlier_spread, reprojection_px : float
        The evidence for the homography, see ``FeatureMatch``.
    detail_transfer : float
        How much of the fixed image's fine detail arrives in the moving one, relative to coarse detail: about 1 in
        focus, near 0 when blurred. Noise does not raise it.
    focus_moving, focus_fixed : float
        Squared gradient over variance of either side at the moving pitch.
    saturated_fraction : float
        Share of the moving image's pixels with a channel at its end of range, 0-1.
    blank_fraction : float
        Share of the field without specimen to compare, 0-1.
    """

    residual_median_px: float
    residual_p95_px: float
    residual_median_um: float
    residual_p95_um: float
    expected_median_px: float
    expected_p95_px: float
    pearson: float
    pearson_low: float
    inliers: int
    inlier_ratio: float
    inlier_spread: float
    reprojection_px: float
    detail_transfer: float
    focus_moving: float
    focus_fixed: float
    saturated_fraction: float
    blank_fraction: float


class GateThresholds(StrictModel):
    """What a pair must reach to be trained on; names and units as in ``PairQuality``.

    The values are those at which ``tests/benchmarks/bench_gate.py`` finds pairs told apart. How much detail a phone
    scope shows at its best differs from one to the next, so beside the least that serves at all stands a share of
    what the same one shows elsewhere, see `typical_detail`.
    """

    greatest_residual_median_px: float = 0.5
    greatest_residual_p95_px: float = 1.5
    greatest_expected_median_px: float = 0.5
    greatest_expected_p95_px: float = 1.5
    least_pearson: float = 0.5
    least_pearson_low: float = 0.1
    least_inliers: int = 15
    least_inlier_ratio: float = 0.1
    least_inlier_spread: float = 0.3
    least_detail_transfer: float = 0.35
    least_share_of_typical_detail: float = 0.6
    greatest_saturated_fraction: float = 0.3
    greatest_blank_fraction: float = 0.8


@dataclass(frozen=True)
class Verdict:
    """Whether a pair is accepted; ``reason`` is empty then, and one plain sentence otherwise."""

    accepted: bool
    reason: str


def judge(quality: PairQuality, thresholds: GateThresholds | None = None) -> Verdict:
    """Hold a pair's quality against the thresholds; the first one missed is the reason."""
    limits = thresholds if thresholds is not None else GateThresholds()
    # Each is what must hold, so that a figure that is not a number fails.
    checks = (
        (quality.blank_fraction <= limits.greatest_blank_fraction,
         f"{quality.blank_fraction:.0%} of the field is blank (at most {limits.greatest_blank_fraction:.0%})"),
        (quality.saturated_fraction <= limits.greatest_saturated_fraction,
         f"{quality.saturated_fraction:.0%} of the phone image is saturated"
         f" (at most {limits.greatest_saturated_fraction:.0%})"),
        (quality.inliers >= limits.least_inliers,
         f"only {quality.inliers} features agree (at least {limits.least_inliers})"),
        (quality.inlier_ratio >= limits.least_inlier_ratio,
         f"only {quality.inlier_ratio:.0%} of the features agree (at least {limits.least_inlier_ratio:.0%})"),
        (quality.inlier_spread >= limits.least_inlier_spread,
         f"features agree in {quality.inlier_spread:.0%} of the field only"
         f" (at least {limits.least_inlier_spread:.0%})"),
        (quality.detail_transfer >= limits.least_detail_transfer,
         f"the phone image is blurred: {max(quality.detail_transfer, 0):.0%} of the fine detail arrives"
         f" (at least {limits.least_detail_transfer:.0%})"),
        (quality.pearson >= limits.least_pearson,
         f"the images correlate by {quality.pearson:.2f} only (at least {limits.least_pearson:.2f})"),
        (quality.pearson_low >= limits.least_pearson_low,
         f"a tenth of the field correlates by {quality.pearson_low:.2f} or less"
         f" (at least {limits.least_pearson_low:.2f})"),
        (quality.residual_median_px <= limits.greatest_residual_median_px,
         f"the residual shift is {quality.residual_median_px:.2f} px (at most"
         f" {limits.greatest_residual_median_px:.2f})"),
        (quality.residual_p95_px <= limits.greatest_residual_p95_px,
         f"the residual shift reaches {quality.residual_p95_px:.2f} px in places (at most"
         f" {limits.greatest_residual_p95_px:.2f})"),
        (quality.expected_median_px <= limits.greatest_expected_median_px,
         f"the map may err by {quality.expected_median_px:.2f} px (at most {limits.greatest_expected_median_px:.2f})"),
        (quality.expected_p95_px <= limits.greatest_expected_p95_px,
         f"the map may err by {quality.expected_p95_px:.2f} px in places (at most"
         f" {limits.greatest_expected_p95_px:.2f})"),
    )
    reason = next((text for holds, text in checks if not holds), "")
    return Verdict(not reason, reason)


def typical_detail(transfers: Sequence[float]) -> float | None:
    """Return the ``detail_transfer`` that a phone scope has as a rule, of accepted pairs; None of too few."""
    return float(np.median(transfers)) if len(transfers) >= _LEAST_PAIRS else None


def judge_focus(transfer: float, typical: float, thresholds: GateThresholds | None = None) -> Verdict:
    """Hold a pair's ``detail_transfer`` against what is typical of its phone scope: less tells of a focus missed."""
    limits = thresholds if thresholds is not None else GateThresholds()
    least = limits.least_share_of_typical_detail * typical
    if transfer >= least:
        return Verdict(True, "")
    return Verdict(False, (
        f"the phone image is blurred: {max(transfer, 0):.0%} of the fine detail arrives, {typical:.0%} in other pairs "
        f"of this session (at least {least:.0%})"
    ))


def residual_grid(moving: Grey, drawn: Grey, valid: NDArray[np.bool_]) -> BlockGrid:
    """Measure the shifts left after the final warp, on separate blocks of another size than the registration's."""
    count = max(2, round(min(moving.shape) / _RESIDUAL_BLOCK_PX))
    return correlate_blocks(moving, drawn, valid, count, _RESIDUAL_SEARCH_PX)


@dataclass(frozen=True)
class Residual:
    """Shifts left (median and 95th percentile, px) and the 10th percentile of the correlation, over the specimen."""

    median_px: float
    p95_px: float
    pearson_low: float


def residual_over_specimen(grid: BlockGrid, specimen: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Residual:
    """Sum a residual grid up over the blocks that show specimen in their centre and were compared whole.

    Infinite and 0 where there is none.
    """
    centre = np.round(grid.centres_yx).astype(int)
    side = (_RESIDUAL_BLOCK_PX + 2, _RESIDUAL_BLOCK_PX + 2)
    whole = cv2.erode(valid.astype(np.uint8), np.ones(side, np.uint8), borderValue=1) > 0
    counted = (specimen & whole)[centre[..., 0], centre[..., 1]]
    if not counted.any():
        return Residual(float("inf"), float("inf"), 0.0)
    length = np.linalg.norm(grid.shift_px, axis=-1)[counted]
    low = float(np.percentile(grid.similarity[counted], 10))
    return Residual(float(np.median(length)), float(np.percentile(length, 95)), low)


def pearson(first: Grey, second: Grey, where: NDArray[np.bool_]) -> float:
    """Return the correlation coefficient of two images over the pixels ``where``; 0 if either is constant there."""
    if where.sum() < 2:
        return 0.0
    a = first[where].astype(np.float64)
    b = second[where].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def detail_transfer(moving: Grey, drawn: Grey) -> float:
    """Return how much of the drawn image's fine detail the moving one carries, relative to coarse detail.

    The ratio of cross- to auto-spectrum is the transfer from one to the other, and noise averages out of it.
    """
    size = min(_SPECTRUM_PX, *moving.shape)
    step = max(size // 2, round(np.sqrt(moving.size / _MOST_SPECTRA)))
    window = np.outer(np.hanning(size), np.hanning(size)).astype(np.float32)

    def spectra(image: Grey) -> NDArray[np.complexfloating]:
        blocks = np.lib.stride_tricks.sliding_window_view(image, (size, size))[::step, ::step]
        return fft.rfft2((blocks - blocks.mean(axis=(-2, -1), keepdims=True)) * window)

    reference = spectra(drawn)
    cross = (spectra(moving) * np.conj(reference)).real.sum(axis=(0, 1))
    power = (np.abs(reference) ** 2).sum(axis=(0, 1))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])

    def gain(band: tuple[float, float]) -> float:
        inside = (frequency >= band[0]) & (frequency <= band[1])
        return float(cross[inside].sum() / max(power[inside].sum(), 1e-12))

    coarse = gain(_COARSE_BAND)
    return gain(_FINE_BAND) / coarse if coarse > 0 else 0.0


def focus_score(grey: Grey) -> float:
    """Return the mean squared gradient over the variance of a lightly smoothed grey image."""
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), dtype=np.float32)
    return tenengrad(smooth) / max(float(smooth.var()), 1e-9)


def saturated_fraction(image: NDArray[Any]) -> float:
    """Return the share of pixels with a channel within half a count of 8 bits of black or white.

    Parameters
    ----------
    image : ndarray, shape (rows, columns[, 3]), uint8, uint16 or float 0-1
    """
    white = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    ended = (image <= image.dtype.type(0.5 / 255 * white)) | (image >= 254.5 / 255 * white)
    if image.ndim == 3:
        ended = ended[..., 0] | ended[..., 1] | ended[..., 2]
    return float(ended.mean())


def specimen_mask(grey: Grey) -> NDArray[np.bool_]:
    """Return where small windows show more contrast, smoothed against noise, than an empty slide; grey 0-1."""
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.5))
    side = (_BLANK_WINDOW_PX, _BLANK_WINDOW_PX)
    mean = cv2.blur(smooth, side)
    variance = np.asarray(cv2.blur(smooth**2, side) - mean**2)
    return np.asarray(variance > _BLANK_CONTRAST**2)


def supported_mask(specimen: NDArray[np.bool_], reach_px: int = _SUPPORT_REACH_PX) -> NDArray[np.bool_]:
    """Return where a map rests on specimen: within ``reach_px`` of some, or bare but with specimen all around.

    Between specimen a smooth map is interpolated; outside it is extrapolated, and on bare glass nothing shows by how
    much it errs.
    """
    far = cv2.distanceTransform((~specimen).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    near = (far <= reach_px) & specimen.any()
    return np.asarray(ndimage.binary_fill_holes(near), dtype=np.bool_)
