"""What a picture of a specimen looks like, block by block: how its detail is spread over sizes, and its colours.

The measures are made to be compared with those of other pictures of the same kind of specimen: they depend little on
which part of a slide is seen, and much on focus, magnification, stain and light.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mobilescope.imaging.colour import luminance

LEAST_SIDE_PX = 64
BLOCK_PX = 128
_WINDOW_PX = 64
_STEP_PX = 32
# Most places along an axis that are looked at, and most blocks that are measured.
_MOST_ALONG = 6
_MOST_BLOCKS = 16
# Cycles per pixel. Above, noise and what interpolation does to it outweigh the specimen.
_BAND_EDGES = np.geomspace(0.03, 0.28, 10)
BANDS = len(_BAND_EDGES) - 1
_SCALES_PX = (0.8, 1.13, 1.6, 2.26, 3.2, 4.5, 6.4)
_BORDER_PX = 6
DETAIL_FEATURES = BANDS + 2 * (len(_SCALES_PX) - 1)
# A window shows specimen where its contrast is beyond what noise of the picture's own level, or rounding, makes.
_NOISE_FACTOR = 2.0
_LEAST_CONTRAST = 0.008
_LEAST_SPECIMEN_WINDOWS = 0.3
_DARK = 0.02
_WHITE = 254.5 / 255
_BLACK = 0.5 / 255

Image = NDArray[np.float32]
Features = NDArray[np.float64]

_HANN = np.outer(np.hanning(_WINDOW_PX), np.hanning(_WINDOW_PX)).astype(np.float32)
_FREQUENCY = np.hypot(np.fft.fftfreq(_WINDOW_PX)[:, None], np.fft.rfftfreq(_WINDOW_PX)[None, :])
_BAND_OF = np.digitize(_FREQUENCY, _BAND_EDGES)
_IN_BANDS = (_BAND_OF >= 1) & (_BAND_OF <= BANDS)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of a picture that show specimen.

    Attributes
    ----------
    pixels : list of ndarray, shape (rows, columns, 3), float32 0–1
        Up to 16, spread over the picture; empty where no specimen was found.
    noise : float
        Standard deviation of the luminance's noise, 0–1.
    specimen_share, white_share, black_share : float
        Of the places looked at: windows with specimen, pixels with a channel at white, pixels with all at black.
    """

    pixels: list[Image]
    noise: float
    specimen_share: float
    white_share: float
    black_share: float


def pick_blocks(read: Callable[[slice, slice], Image], rows: int, columns: int) -> Blocks:
    """Look at a picture in places spread over it, and keep those that show specimen.

    Parameters
    ----------
    read : callable
        Gives the pixels of a slice of rows and one of columns, (rows, columns, 3) float32 0–1, so that a large slide
        is never held whole.
    rows, columns : int
        The picture's size, at least `LEAST_SIDE_PX` each.
    """
    seen = [read(down, across) for down in _places(rows) for across in _places(columns)]
    greys = [luminance(block) for block in seen]
    noise = float(np.median([noise_level(grey) for grey in greys]))
    shares = np.array([_specimen_windows(_spectra(grey), noise).mean() for grey in greys])
    found = np.flatnonzero(shares >= _LEAST_SPECIMEN_WINDOWS)
    if len(found) > _MOST_BLOCKS:
        found = found[np.linspace(0, len(found) - 1, _MOST_BLOCKS).round().astype(int)]
    white = float(np.mean([(block >= _WHITE).any(axis=-1).mean() for block in seen]))
    black = float(np.mean([(block <= _BLACK).all(axis=-1).mean() for block in seen]))
    return Blocks([seen[index] for index in found], noise, float(shares.mean()), white, black)


def _places(length_px: int) -> list[slice]:
    side = min(BLOCK_PX, length_px)
    count = min(max(1, round(length_px / BLOCK_PX)), _MOST_ALONG)
    return [slice(int(start), int(start) + side) for start in np.linspace(0, length_px - side, count)]


def noise_level(grey: Image) -> float:
    """Return the standard deviation of white noise (Immerkær 1996, with a median against structure)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, -1, kernel)))) / 0.6745 / 6


def _spectra(grey: Image) -> NDArray[np.float32]:
    """Return power spectra (windows, 64, 33) of overlapping windows; white noise has its variance at each frequency."""
    windows = np.lib.stride_tricks.sliding_window_view(grey, (_WINDOW_PX, _WINDOW_PX))[::_STEP_PX, ::_STEP_PX]
    windows = windows.reshape(-1, _WINDOW_PX, _WINDOW_PX)
    level = windows.mean(axis=(1, 2), keepdims=True)
    return np.abs(fft.rfft2((windows - level) * _HANN)) ** 2 / np.float32((_HANN**2).sum())


def _specimen_windows(power: NDArray[np.float32], noise: float) -> NDArray[np.bool_]:
    contrast = np.sqrt(power[:, _IN_BANDS].mean(axis=1))
    return np.asarray(contrast > max(_NOISE_FACTOR * noise, _LEAST_CONTRAST))


def detail_features(block: Image, noise: float, blur_px: float = 0.0) -> Features:
    """Return how a block's detail is spread over sizes, shape (DETAIL_FEATURES,).

    First the logarithmic power in bands of spatial frequency, less their mean, so that contrast drops out. Then, of the
    differences of Gaussians (Marr & Hildreth 1980) of growing width, how sparse they are (logarithm of mean over root
    mean square) and how skewed (inverse hyperbolic sine): objects of one size stand out in one of them.

    Parameters
    ----------
    noise : float
        The picture's noise level.
    blur_px : float
        Gaussian blur to apply first, after which noise of the same level is added again, as in a camera out of focus.
    """
    grey = luminance(block)
    if blur_px > 0:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur_px), dtype=np.float32)
        grey = grey + np.float32(noise) * np.random.default_rng(0).standard_normal(grey.shape, dtype=np.float32)
    power = _spectra(grey)
    shows = _specimen_windows(power, noise)
    power = power[shows] if shows.any() else power
    spectrum = power.mean(axis=0, dtype=np.float64)  # before the logarithm, so that windows of bare glass count little
    profile = np.log([spectrum[band == _BAND_OF].mean() + 1e-9 for band in range(1, BANDS + 1)])
    layers = [cv2.GaussianBlur(grey, (0, 0), scale) for scale in _SCALES_PX]
    sparse, skewed = [], []
    for finer, coarser in itertools.pairwise(layers):
        layer = (finer - coarser)[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX]
        squared = layer * layer
        spread = float(squared.mean()) + 1e-12
        sparse.append(np.log(float(np.abs(layer).mean()) / np.sqrt(spread) + 1e-6))
        skewed.append(np.arcsinh(float((squared * layer).mean()) / spread**1.5))
    return np.concatenate([profile - profile.mean(), sparse, skewed])


def richest_window(block: Image) -> Image:
    """Return the part of a block, 64 pixels a side, that shows most specimen."""
    power = _spectra(luminance(block))[:, _IN_BANDS].mean(axis=1)
    across = (block.shape[1] - _WINDOW_PX) // _STEP_PX + 1
    row, column = divmod(int(power.argmax()), across)
    top, left = row * _STEP_PX, column * _STEP_PX
    return block[top : top + _WINDOW_PX, left : left + _WINDOW_PX]


def colour_features(block: Image) -> Features:
    """Return the logarithms of three quantiles (5, 50, 95 %) of red, green and blue, shape (9,)."""
    pixels = block[::2, ::2].reshape(-1, 3)
    return np.log(np.quantile(pixels, [0.05, 0.5, 0.95], axis=0) + _DARK).ravel().astype(np.float64)


def resized(image: Image, factor: float) -> Image:
    """Return a picture sampled ``factor`` times finer: what a camera of smaller pixels would see."""
    if factor == 1:
        return image
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.float32), 0, 1)
