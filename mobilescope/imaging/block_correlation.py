"""Shifts between two images by correlation, in blocks or in overlapping windows, each with its certainty.

Each block's correlation peak says how far the second image is off there, the Pearson coefficient at the peak how far
to believe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatArray = NDArray[np.float64]
Grey = NDArray[np.float32]

# Of the Fourier transforms.
_THREADS = 2


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
    # Functions of a symmetric 2×2 matrix need its eigenvalues alone.
    mean, lean = (bend_yy + bend_xx) / 2, (bend_yy - bend_xx) / 2
    apart = np.hypot(lean, bend_xy)
    values = np.maximum(np.stack([mean + apart, mean - apart]), 0.0)
    # Along a direction without curvature the peak stays where it is instead of running away.
    inverse = np.where(values > 1e-4, 1.0 / np.maximum(values, 1e-4), 0.0)

    def matrix(of_values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        middle_value = (of_values[0] + of_values[1]) / 2
        tilt = (of_values[0] - of_values[1]) / 2 / np.maximum(apart, 1e-30)
        return middle_value + tilt * lean, middle_value - tilt * lean, tilt * bend_xy

    yy, xx, xy = matrix(inverse)
    offset_y = (yy * slope_y + xy * slope_x).clip(-1.0, 1.0)
    offset_x = (xy * slope_y + xx * slope_x).clip(-1.0, 1.0)
    value = middle + 0.5 * (slope_y * offset_y + slope_x * offset_x)
    yy, xx, xy = matrix(values)
    bend = np.stack([yy, xy, xy, xx], axis=-1).reshape(*value.shape, 2, 2)
    return np.stack([offset_y, offset_x], axis=-1), value, bend


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
    spectrum = fft.rfft2(areas, size, workers=_THREADS) * np.conj(fft.rfft2(blocks, size, workers=_THREADS))
    lags = 2 * reach + 1
    product = fft.irfft2(spectrum, size, workers=_THREADS)[..., :lags, :lags].astype(np.float64)
    offset = np.arange(lags)
    firsts = (tops[:, None] + offset, lefts[:, None] + offset)
    pixels = height * width
    mean = _window_sums(padded, (height, width), firsts) / pixels
    variance = np.maximum(_window_sums(padded**2, (height, width), firsts) / pixels - mean**2, 1e-10)
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


def _window_sums(
    image: Grey, window: tuple[int, int], firsts: tuple[NDArray[np.int_], NDArray[np.int_]]
) -> FloatArray:
    """Return the sums of the image over windows.

    ``firsts`` are their first rows (block rows, lags) and first columns (block columns, lags); the sums are of shape
    (block rows, block columns, lags, lags).
    """
    (height, width), (tops, lefts) = window, firsts
    table = np.asarray(cv2.integral(image, sdepth=cv2.CV_64F), dtype=np.float64)

    def corners(down: int, across: int) -> FloatArray:
        return table[np.ix_(tops.ravel() + down, lefts.ravel() + across)]

    sums = corners(height, width) - corners(0, width) - corners(height, 0) + corners(0, 0)
    return sums.reshape(*tops.shape, *lefts.shape).swapaxes(1, 2)


def _window_centres(length: int, pitch_px: float) -> FloatArray:
    """Return the centres of about ``length / pitch_px`` equal pieces of ``length`` pixels."""
    count = max(2, round(length / pitch_px))
    return np.linspace(0.5, count - 0.5, count, dtype=np.float64) * (length / count) - 0.5


class _Windows:
    """Overlapping Gaussian windows over images of one shape; means over them by way of small cells.

    A Gaussian is smooth over a third of its width: pixels are summed into square cells first, which spares most of
    the work, and the cells are weighted.
    """

    def __init__(self, shape: tuple[int, int], pitch_px: float, sigma_px: float) -> None:
        self._cell = max(1, int(sigma_px / 3))
        # Whole cells: what is left over at the end is filled with pixels that do not count.
        self.padding = tuple(-length % self._cell for length in shape)
        self._cells = tuple(-(-length // self._cell) for length in shape)
        self.centres_y, self.centres_x = (_window_centres(length, pitch_px) for length in shape)
        self._down = self._weights(self.centres_y, self._cells[0], sigma_px)
        self._across = self._weights(self.centres_x, self._cells[1], sigma_px).T.copy()

    def _weights(self, centres: FloatArray, cells: int, sigma_px: float) -> NDArray[np.float32]:
        middle = (np.arange(cells) + 0.5) * self._cell - 0.5
        window = np.exp(-0.5 * ((middle - centres[:, None]) / sigma_px) ** 2)
        return np.asarray(window / window.sum(axis=1, keepdims=True), dtype=np.float32)

    def mean(self, image: NDArray[Any]) -> FloatArray:
        """Return the mean over each window, shape (window rows, window columns)."""
        size = (self._cells[1], self._cells[0])
        cells = image if self._cell == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return np.asarray((self._down @ cells) @ self._across, dtype=np.float64)


def correlate_windows(
    moving: Grey, drawn: Grey, valid: NDArray[np.bool_], *, pitch_px: float, sigma_px: float
) -> BlockGrid:
    """Correlate overlapping Gaussian windows at shifts of -1, 0 and 1 pixel, for maps that are nearly right.

    Arrays are as for ``correlate_blocks``.
    """
    windows = _Windows((moving.shape[0], moving.shape[1]), pitch_px, sigma_px)
    below, beside = windows.padding
    usable = cv2.copyMakeBorder(valid.astype(np.float32), 0, below, 0, beside, cv2.BORDER_CONSTANT, value=0)
    masked = cv2.copyMakeBorder(moving, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=0) * usable
    rows, columns = usable.shape
    share = np.maximum(windows.mean(usable), 1e-6)
    mean_moving = windows.mean(masked) / share
    variance_moving = np.maximum(windows.mean(masked * masked) / share - mean_moving**2, 1e-10)
    # Shifted by a pixel, a window covers the same share of the image but for its rim.
    padded = cv2.copyMakeBorder(drawn * valid, 1, 1 + below, 1, 1 + beside, cv2.BORDER_REFLECT_101)
    squares = padded * padded
    surface = np.empty((*share.shape, 3, 3))
    for row in range(3):
        for column in range(3):
            part = np.s_[row : row + rows, column : column + columns]
            mean = windows.mean(padded[part]) / share
            variance = np.maximum(windows.mean(squares[part]) / share - mean**2, 1e-10)
            covariance = windows.mean(cv2.multiply(masked, padded[part])) / share - mean * mean_moving
            surface[..., row, column] = covariance / np.sqrt(variance * variance_moving)
    offset, similarity, bend = _peak(surface)
    similarity = np.where(share > 0.5, np.clip(similarity, 0.0, 1.0), 0.0)
    centres = np.stack(np.meshgrid(windows.centres_y, windows.centres_x, indexing="ij"), axis=-1)
    return BlockGrid(centres, offset, similarity, _certainty(similarity, bend, pitch_px**2))
