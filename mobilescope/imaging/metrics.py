"""Image quality against a label: SSIM, PSNR, fine detail, and intervals over fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student
from skimage.metrics import structural_similarity

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import cie94, luminance
from mobilescope.imaging.noise import flat_mask, noise_sigma

FloatArray = NDArray[np.floating]

_SSIM_WINDOW_PX = 11


@dataclass(frozen=True)
class ImageScores:
    """One image against its label.

    ``ssim`` is on luminance, ``ssim_rgb`` the mean over channels, ``cie94`` the mean colour difference,
    ``psnr_db`` over all channels, ``detail`` the correlation of luminance above the phone's cut-off frequency,
    ``noise`` the standard deviation of luminance where the label is flat, NaN where it is flat nowhere.
    """

    ssim: float
    ssim_rgb: float
    cie94: float
    psnr_db: float
    detail: float
    noise: float


def ssim(first: FloatArray, second: FloatArray) -> float:
    """Return Wang 2004's structural similarity (Gaussian 11×11, σ 1.5, data range 1) of two (rows, columns) images."""
    if min(first.shape) < _SSIM_WINDOW_PX:
        raise InputImageError(f"SSIM needs at least {_SSIM_WINDOW_PX} px a side, got {first.shape}")
    return float(
        structural_similarity(
            first, second, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def psnr_db(image: FloatArray, label: FloatArray) -> float:
    """Return the peak signal-to-noise ratio in dB for data range 1."""
    error = float(np.mean((np.asarray(image, dtype=np.float64) - label) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def detail_correlation(image: FloatArray, label: FloatArray, pixel_size_um: float, cutoff_um: float) -> float:
    """Return how well an image reproduces its label's detail that is finer than a period.

    The Pearson correlation of the two luminance images after a high-pass at ``1 / cutoff_um`` cycles/µm
    (sharp in frequency, Hann-windowed against edges): 0 where the detail is absent or wrong, 1 where it is right.

    Parameters
    ----------
    image, label : ndarray, shape (rows, columns), float
    cutoff_um : float
        Finest period that the phone resolves (twice its half-pitch resolution).
    """
    rows, columns = label.shape
    window = np.outer(np.hanning(rows), np.hanning(columns))
    frequency = np.hypot(
        np.fft.fftfreq(rows, pixel_size_um)[:, None], np.fft.fftfreq(columns, pixel_size_um)[None, :]
    )
    fine = frequency > 1 / cutoff_um
    spectra = [np.fft.fft2((plane - plane.mean()) * window) * fine for plane in (image, label)]
    cross = float(np.sum(spectra[0] * spectra[1].conj()).real)
    power = float(np.sqrt(np.prod([np.sum(np.abs(spectrum) ** 2) for spectrum in spectra])))
    return cross / power if power > 0 else 0.0


def score_image(image: FloatArray, label: FloatArray, pixel_size_um: float, cutoff_um: float) -> ImageScores:
    """Score one encoded RGB image against its label, both (rows, columns, 3) float 0–1 on the same grid."""
    image_luma, label_luma = luminance(image), luminance(label)
    return ImageScores(
        ssim=ssim(image_luma, label_luma),
        ssim_rgb=float(np.mean([ssim(image[..., c], label[..., c]) for c in range(3)])),
        cie94=float(cie94(label, image).mean()),
        psnr_db=psnr_db(image, label),
        detail=detail_correlation(image_luma, label_luma, pixel_size_um, cutoff_um),
        noise=noise_sigma(image_luma, flat_mask(label_luma, pixel_size_um), pixel_size_um),
    )


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval and the number of fields behind it; NaN where there are none."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_interval(values: FloatArray, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Return the mean over fields with its 95 % bootstrap interval (fields are the resampling unit).

    Plain percentiles are too narrow for few fields; these are taken further out, by Student's quantile and the factor
    n / (n - 1) of the variance ("expanded percentile interval", Hesterberg 2015, Am. Stat. 69:371). One field alone has
    no interval: both ends are NaN.

    Parameters
    ----------
    values : ndarray
        One for each field; those that are NaN could not be measured and do not count.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("no values to average")
    sample = sample[~np.isnan(sample)]
    count = int(sample.size)
    if count < 2:
        return Interval(float(sample.mean()) if count else math.nan, math.nan, math.nan, count)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, count, (resamples, count))].mean(axis=1)
    tail = float(norm.cdf(np.sqrt(count / (count - 1)) * student.ppf(0.025, count - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(sample.mean()), float(low), float(high), count)
