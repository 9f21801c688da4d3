"""Pyramid elastic registration: block-wise cross-correlation, coarse to fine, into one smooth displacement field.

``moving`` is compared with the fixed image as drawn through the present map; each block's correlation peak says how
far the map is off there, the Pearson coefficient at the peak how far to believe it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mobilescope.imaging.spline_field import FieldFitter, FloatArray, SplineField

Grey = NDArray[np.float32]
Draw = Callable[[NDArray[np.float32]], tuple[Grey, NDArray[np.bool_]]]

_LEVEL_FITS = 3
# Fine iterations that choose the stiffness: among all, and more finely once outliers are known.
_STIFFNESS_CHOICES = (0, 2)
_STIFFNESS_STEPS = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class ElasticOptions:
    """How the elastic stage works; lengths in moving pixels.

    Attributes
    ----------
    first_blocks : int
        Blocks along the shorter side at the first level; two more at each further level.
    least_block_px : int
        The last level's blocks are at least this long.
    search_px : tuple of int
        Greatest shift looked for at the first level and at the others.
    fine_pitch_px, fine_window_px : float
        Distance and Gaussian sigma of the overlapping windows of the final iterations.
    knot_px : float
        Distance of the displacement field's control points.
    stiffness : tuple of float
        Prices of curvature to choose from, by what the measured shifts make probable; the first levels use the middle.
    fine_iterations : int
        At most this many; they end when the map moves by less than ``settled_px``.
    least_similarity : float
        Blocks that correlate less have no say.
    """

    first_blocks: int = 5
    least_block_px: int = 50
    search_px: tuple[int, int] = (12, 4)
    fine_pitch_px: float = 16.0
    fine_window_px: float = 12.0
    knot_px: float = 32.0
    stiffness: tuple[float, ...] = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7)
    fine_iterations: int = 8
    settled_px: float = 0.005
    least_similarity: float = 0.3


@dataclass(frozen=True, eq=False)
class BlockGrid:
    """What correlation found in each block of a grid.

    Attributes
    ----------
    centres_yx : ndarray, shape (block rows, block columns, 2), float64
        Block centres in the moving image.
    shift_px : ndarray, shape (block rows, block columns, 2), float64
        (row, column) by which the drawn fixed image has to be read further on to match.
    similarity : ndarray, shape (block rows, block columns), float64
        Pearson coefficient at the peak; 0 where nothing could be compared.
    certainty : ndarray, shape (block rows, block columns, 2, 2), float64
        Inverse covariance of the shift, 1/px².
    """

    centres_yx: FloatArray
    shift_px: FloatArray
    similarity: FloatArray
    certainty: FloatArray


def flatten_background(grey: Grey, window_px: int = 41) -> Grey:
    """Subtract the local mean (a box filter run twice), so that uneven light does not correlate."""
    window = (window_px, window_px)
    mean = cv2.blur(grey, window, borderType=cv2.BORDER_REFLECT_101)
    return grey - np.asarray(cv2.blur(mean, window, borderType=cv2.BORDER_REFLECT_101))


def _peak(surface: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit a paraboloid to 3×3 neighbourhoods of correlation maxima.

    Parameters
    ----------
    surface : ndarray, shape (..., 3, 3)

    Returns
    -------
    offset : ndarray, shape (..., 2)
        (row, column) of the top relative to the middle, within ±1.
    value : ndarray, shape (...)
    bend : ndarray, shape (..., 2, 2)
        Minus the second derivative, forced positive semi-definite.
    """
    middle = surface[..., 1, 1]
    slope_y = (surface[..., 2, 1] - surface[..., 0, 1]) / 2
    slope_x = (surface[..., 1, 2] - surface[..., 1, 0]) / 2
    bend_yy = 2 * middle - surface[..., 2, 1] - surface[..., 0, 1]
    bend_xx = 2 * middle - surface[..., 1, 2] - surface[..., 1, 0]
    bend_xy = -(surface[..., 2, 2] - surface[..., 2, 0] - surface[..., 0, 2] + surface[..., 0, 0]) / 4
    slope = np.stack([slope_y, slope_x], axis=-1)
    bend = np.stack([np.stack([bend_yy, bend_xy], -1), np.stack([bend_xy, bend_xx], -1)], -2)
    values, vectors = np.linalg.eigh(bend)
    values = np.maximum(values, 0.0)
    bend = np.einsum("...ik,...k,...jk->...ij", vectors, values, vectors)
    # Along a direction without curvature the peak stays where it is instead of running away.
    inverse = np.where(values > 1e-4, 1.0 / np.maximum(values, 1e-4), 0.0)
    offset = np.einsum("...ik,...k,...jk,...j->...i", vectors, inverse, vectors, slope).clip(-1.0, 1.0)
    value = middle + 0.5 * np.einsum("...i,...i->...", slope, offset)
    return offset, value, bend


def _certainty(similarity: FloatArray, bend: FloatArray, pixels: float) -> FloatArray:
    """Return the inverse covariance of a correlation peak.

    For an image with additive noise the Pearson coefficient r gives the signal-to-noise ratio r² / (1 - r²), and the
    peak's relative curvature the signal's mean squared gradient over its variance.
    """
    clipped = np.clip(similarity, 1e-3, 0.999)
    return (pixels * clipped / (1 - clipped**2))[..., None, None] * bend


def _block_edges(length: int, count: int) -> tuple[NDArray[np.int_], int]:
    size = length // count
    return np.round(np.linspace(0, length - size, count)).astype(int), size


def correlate_blocks(moving: Grey, drawn: Grey, valid: NDArray[np.bool_], count: int, search_px: int) -> BlockGrid:
    """Cross-correlate N×N blocks by batched FFT.

    Parameters
    ----------
    moving, drawn : ndarray, shape (rows, columns), float32
        Images with the local mean removed.
    valid : ndarray, shape (rows, columns), bool
        Where ``drawn`` has data.
    count : int
        Blocks along the shorter side; the longer side gets blocks of about the same length.
    search_px : int
        Greatest shift looked for.
    """
    rows, columns = moving.shape
    shorter = min(rows, columns)
    tops, height = _block_edges(rows, max(1, round(count * rows / shorter)))
    lefts, width = _block_edges(columns, max(1, round(count * columns / shorter)))
    reach = search_px + 1
    padded = np.pad(drawn, reach, mode="reflect")
    blocks = np.lib.stride_tricks.sliding_window_view(moving, (height, width))[np.ix_(tops, lefts)]
    areas = np.lib.stride_tricks.sliding_window_view(
        padded, (height + 2 * reach, width + 2 * reach)
    )[np.ix_(tops, lefts)]
    blocks = blocks - blocks.mean(axis=(-2, -1), keepdims=True)
    size = [fft.next_fast_len(length, real=True) for length in areas.shape[-2:]]
    spectrum = fft.rfft2(areas, size) * np.conj(fft.rfft2(blocks, size))
    lags = 2 * reach + 1
    product = fft.irfft2(spectrum, size)[..., :lags, :lags].astype(np.float64)
    total, squares = _window_sums(padded, (height, width)), _window_sums(padded**2, (height, width))
    offset = np.arange(lags)
    row_index = tops[:, None, None, None] + offset[None, None, :, None]
    column_index = lefts[None, :, None, None] + offset[None, None, None, :]
    pixels = height * width
    mean = total[row_index, column_index] / pixels
    variance = np.maximum(squares[row_index, column_index] / pixels - mean**2, 1e-10)
    spread = np.sqrt(np.maximum(np.mean(blocks.astype(np.float64) ** 2, axis=(-2, -1)), 1e-10))
    pearson = product / pixels / (spread[..., None, None] * np.sqrt(variance))

    inner = pearson[..., 1:-1, 1:-1]
    flat = inner.reshape(*inner.shape[:2], -1).argmax(axis=-1)
    peak_row, peak_column = np.unravel_index(flat, inner.shape[2:])
    near = np.arange(3)
    block_row, block_column = np.ogrid[: len(tops), : len(lefts)]
    surface = pearson[
        block_row[..., None, None], block_column[..., None, None],
        peak_row[..., None, None] + near[:, None], peak_column[..., None, None] + near[None, :],
    ]
    offset_px, similarity, bend = _peak(surface)
    shift = np.stack([peak_row, peak_column], axis=-1) + 1.0 - reach + offset_px
    covered = np.lib.stride_tricks.sliding_window_view(valid, (height, width))[np.ix_(tops, lefts)].mean(axis=(-2, -1))
    similarity = np.where(covered > 0.9, np.clip(similarity, 0.0, 1.0), 0.0)
    centres = np.stack(np.meshgrid(tops + (height - 1) / 2, lefts + (width - 1) / 2, indexing="ij"), axis=-1)
    return BlockGrid(centres, shift, similarity, _certainty(similarity, bend, pixels))


def _window_sums(image: Grey, window: tuple[int, int]) -> FloatArray:
    """Return the sum of the image over every window, indexed by the window's first pixel."""
    height, width = window
    table = cv2.integral(image, sdepth=cv2.CV_64F)
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    return np.asarray(sums, dtype=np.float64)


def _window_centres(length: int, pitch_px: float) -> FloatArray:
    """Return the centres of about ``length / pitch_px`` equal pieces of ``length`` pixels."""
    count = max(2, round(length / pitch_px))
    return np.linspace(0.5, count - 0.5, count, dtype=np.float64) * (length / count) - 0.5


def correlate_windows(
    moving: Grey, drawn: Grey, valid: NDArray[np.bool_], *, pitch_px: float, sigma_px: float
) -> BlockGrid:
    """Correlate overlapping Gaussian windows at shifts of -1, 0 and 1 pixel, for maps that are nearly right.

    Every sum over windows is a product with two narrow matrices, so the cost hardly depends on their number.
    Arrays are as for ``correlate_blocks``.
    """
    rows, columns = moving.shape
    centres_y, centres_x = _window_centres(rows, pitch_px), _window_centres(columns, pitch_px)
    down = _gaussians(centres_y, rows, sigma_px)
    across = _gaussians(centres_x, columns, sigma_px).T.copy()

    def window_mean(image: NDArray[np.float32]) -> FloatArray:
        return np.asarray(((down @ image) @ across), dtype=np.float64)

    # A pixel counts where all nine neighbours have data, so that every shift compares the same pixels.
    usable = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(np.float32)
    share = np.maximum(window_mean(usable), 1e-6)
    masked = moving * usable
    mean_moving = window_mean(masked) / share
    variance_moving = np.maximum(window_mean(masked * moving) / share - mean_moving**2, 1e-10)
    padded = np.pad(drawn, 1, mode="reflect")
    surface = np.empty((*share.shape, 3, 3))
    for row in range(3):
        for column in range(3):
            shifted = padded[row : row + rows, column : column + columns]
            weighted = shifted * usable
            mean = window_mean(weighted) / share
            variance = np.maximum(window_mean(weighted * shifted) / share - mean**2, 1e-10)
            covariance = window_mean(masked * shifted) / share - mean * mean_moving
            surface[..., row, column] = covariance / np.sqrt(variance * variance_moving)
    offset, similarity, bend = _peak(surface)
    similarity = np.where(share > 0.5, np.clip(similarity, 0.0, 1.0), 0.0)
    centres = np.stack(np.meshgrid(centres_y, centres_x, indexing="ij"), axis=-1)
    return BlockGrid(centres, offset, similarity, _certainty(similarity, bend, pitch_px**2))


def _gaussians(centres: FloatArray, length: int, sigma_px: float) -> NDArray[np.float32]:
    """Return unit-sum Gaussian windows, shape (centres, length), float32."""
    window = np.exp(-0.5 * ((np.arange(length) - centres[:, None]) / sigma_px) ** 2)
    unit: NDArray[np.float32] = (window / window.sum(axis=1, keepdims=True)).astype(np.float32)
    return unit


def pyramid_field(moving: Grey, draw: Draw, options: ElasticOptions) -> SplineField:
    """Find the displacement d that makes ``fixed(H(x + d(x)))`` match the moving image, in ever smaller blocks.

    Parameters
    ----------
    moving : ndarray, shape (rows, columns), float32
        Background-free grey.
    draw : callable
        Draws the fixed image, background-free, through H after a dense displacement (rows, columns, 2), always from
        the original pixels; also returns where there are data.
    """
    shape = (moving.shape[0], moving.shape[1])
    field = SplineField.zero(shape, options.knot_px)
    stiffness = options.stiffness[len(options.stiffness) // 2]
    blocks, search = options.first_blocks, options.search_px[0]
    while blocks == options.first_blocks or min(shape) / blocks >= options.least_block_px:
        grid = correlate_blocks(moving, *draw(field.dense()), blocks, search)
        fitter, target, certainty = _evidence(field, grid, options)
        trust = np.ones_like(grid.similarity)
        for _ in range(_LEVEL_FITS):
            fit = fitter.fit(target, certainty, trust, stiffness=stiffness)
            trust = fit.trust
        field = fit.field
        blocks, search = blocks + 2, options.search_px[1]
    return field


def refined_field(moving: Grey, draw: Draw, field: SplineField, options: ElasticOptions) -> SplineField:
    """Take a displacement that is right to about a pixel to its end with overlapping windows, measured again and again.

    The parameters are those of ``pyramid_field`` and the field that it found.
    """
    trust = np.ones(0)
    stiffness = 1.0
    for iteration in range(options.fine_iterations):
        grid = correlate_windows(
            moving, *draw(field.dense()), pitch_px=options.fine_pitch_px, sigma_px=options.fine_window_px
        )
        fitter, target, certainty = _evidence(field, grid, options)
        trust = trust if iteration else np.ones_like(grid.similarity)
        if iteration in _STIFFNESS_CHOICES:
            near = [stiffness * step for step in _STIFFNESS_STEPS] if iteration else options.stiffness
            stiffness = fitter.stiffness(target, certainty, trust, near)
        fit = fitter.fit(target, certainty, trust, stiffness=stiffness)
        change = float(np.abs(fit.field.coefficients - field.coefficients).max())
        field, trust = fit.field, fit.trust
        if change < options.settled_px and iteration >= max(_STIFFNESS_CHOICES):
            break
    return field


def _evidence(
    field: SplineField, grid: BlockGrid, options: ElasticOptions
) -> tuple[FieldFitter, FloatArray, FloatArray]:
    """Return what a grid's shifts say the displacement itself should be, and how surely, with the fitter for them."""
    fitter = FieldFitter(field.shape, field.spacing_px, grid.centres_yx[:, 0, 0], grid.centres_yx[0, :, 1])
    certainty = grid.certainty * (grid.similarity > options.least_similarity)[..., None, None]
    # moving(p) looks like drawn(p + s), and drawn(q) = fixed(H(q + d(q))): the new d at p is s + d(p + s).
    return fitter, grid.shift_px + field.at(grid.centres_yx + grid.shift_px), certainty
