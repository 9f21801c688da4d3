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


@dataclass(frozen=True)
class ExpectedError:
    """Distances from the true place that must be reckoned with, in moving pixels: their median and 95th percentile."""

    median_px: float
    p95_px: float


def expected_error(
    samples_px: FloatArray, centres_yx: FloatArray, moving: Grey, drawn: Grey, supported: NDArray[np.bool_]
) -> ExpectedError:
    """Foretell a map's errors where it rests on specimen; infinite where it does nowhere.

    Parameters
    ----------
    samples_px : ndarray, shape (samples, rows, columns, 2), float64
        Errors as probable as each other, if noise is white, see `RefinedField`.
    centres_yx : ndarray, shape (rows, columns, 2), float64
        Where they were drawn.
    moving, drawn : ndarray, shape (height, width), float32
        Both images without background, the second drawn through the map.
    supported : ndarray, shape (height, width), bool
    """
    centre = np.round(centres_yx).astype(int)
    counted = supported[centre[..., 0], centre[..., 1]]
    if not counted.any():
        return ExpectedError(float("inf"), float("inf"))
    length = np.linalg.norm(samples_px[:, counted], axis=-1) * _UNTOLD * np.sqrt(noise_overlap(moving, drawn))
    median, high = np.percentile(length, (50, 95))
    return ExpectedError(float(median), float(high))


def noise_overlap(moving: Grey, drawn: Grey) -> float:
    """Return how much more a shift's variance is than under white noise of the same strength: 1 where noise is white.

    It is the mean product of the spectra of noise and of the drawn image's gradient over the product of their means.
    """
    size = tuple(fft.next_fast_len(length, real=True) for length in moving.shape)
    gain = float(np.vdot(moving, drawn)) / max(float(np.vdot(drawn, drawn)), 1e-12)
    noise, signal = (_power(image, size) for image in (moving - np.float32(gain) * drawn, drawn))
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :]
    signal *= (rows**2 + columns**2).astype(np.float32)
    scale = float(noise.mean(dtype=np.float64)) * float(signal.mean(dtype=np.float64))
    return float(np.vdot(noise, signal)) / noise.size / scale if scale > 0 else 1.0


def _power(image: Grey, size: tuple[int, ...]) -> Grey:
    spectrum = fft.rfft2(image, size)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)
