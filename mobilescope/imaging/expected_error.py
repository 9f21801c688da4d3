"""By how much a found map may err, told beforehand: what the fitted shifts leave open, and how noise was met.

The fit knows how surely each shift was measured, if noise were white. Where what the two images do not share lies in
the same frequencies as what places them (crosstalk of colours, uneven sharpness), shifts err by more; the overlap of
the two spectra says by how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mobilescope.imaging.block_correlation import FloatArray, Grey

# What is left between foretold and true errors; measured by tests/benchmarks/bench_gate.py.
_UNTOLD = 1.15
# Rings of frequencies, to 1 cycle a pixel, in each of which one share of the drawn image is taken to arrive.
_RINGS = 64


@dataclass(frozen=True)
class ExpectedError:
    """Distances from the true place that must be reckoned with, in moving pixels: their median and 95th percentile."""

    median_px: float
    p95_px: float


def expected_error(
    samples_px: FloatArray, centres_yx: FloatArray, overlap: float, supported: NDArray[np.bool_]
) -> ExpectedError:
    """Foretell a map's errors where it rests on specimen; infinite where it does nowhere.

    Parameters
    ----------
    samples_px : ndarray, shape (samples, rows, columns, 2), float64
        Errors as probable as each other, if noise is white, see `RefinedField.error_samples`.
    centres_yx : ndarray, shape (rows, columns, 2), float64
        Where they were drawn.
    overlap : float
        What `noise_overlap` says of both images.
    supported : ndarray, shape (height, width), bool
    """
    centre = np.round(centres_yx).astype(int)
    counted = supported[centre[..., 0], centre[..., 1]]
    if not counted.any():
        return ExpectedError(float("inf"), float("inf"))
    length = np.linalg.norm(samples_px[:, counted], axis=-1) * _UNTOLD * np.sqrt(overlap)
    median, high = np.percentile(length, (50, 95))
    return ExpectedError(float(median), float(high))


def noise_overlap(moving: Grey, drawn: Grey) -> float:
    """Return how much more a shift's variance is than under white noise of the same strength: 1 where noise is white.

    Both images, float32 (rows, columns), are without background, the second drawn through the map.
    It is the mean product of the spectra of noise and of the drawn image's gradient over the product of their means.
    Noise is what the drawn image does not explain at any sharpness: blur alone does not move anything.
    """
    size = tuple(fft.next_fast_len(length, real=True) for length in moving.shape)
    seen, shown = fft.rfft2(moving, size), fft.rfft2(drawn, size)
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :]
    frequency = np.hypot(rows, columns).astype(np.float32)
    ring = np.round(frequency * _RINGS).astype(np.intp)
    power = _power(shown)
    cross = seen.real * shown.real + seen.imag * shown.imag
    together, alone = (np.bincount(ring.ravel(), each.ravel()) for each in (cross, power))
    transfer = (together / np.maximum(alone, 1e-12)).astype(np.float32)
    noise = _power(seen - transfer[ring] * shown)
    gradient = power * frequency**2
    scale = float(noise.mean(dtype=np.float64)) * float(gradient.mean(dtype=np.float64))
    return float(np.vdot(noise, gradient)) / noise.size / scale if scale > 0 else 1.0


def _power(spectrum: NDArray[np.complexfloating]) -> Grey:
    return np.asarray(spectrum.real**2 + spectrum.imag**2)
