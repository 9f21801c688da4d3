"""Colour: the sRGB transfer, luminance, the CIE-94 difference and a fitted colour matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede94, rgb2lab

from mobilescope.core.errors import InputImageError

FloatArray = NDArray[np.floating]

# ITU-R BT.601 luma weights, the ones that MATLAB's rgb2gray and Wang et al.'s SSIM code use.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

_TABLE_STEPS = 1 << 14
# Green darker than this part of the brightest channel is not what lights the picture.
_LEAST_GREEN = 0.2


def lit_channel(rgb: NDArray[np.uint8]) -> int:
    """Return which channel of a picture, (rows, columns, 3), shows the specimen: green, unless it is all but dark."""
    means = rgb[::4, ::4].reshape(-1, 3).mean(axis=0)
    return 1 if means[1] >= _LEAST_GREEN * means.max() else int(means.argmax())


def srgb_encode(linear: FloatArray) -> NDArray[np.float32]:
    """Apply the sRGB transfer (IEC 61966-2-1) to linear light.

    Parameters
    ----------
    linear : ndarray, any shape, float
        Linear light; clipped to 0–1.

    Returns
    -------
    ndarray of the same shape, float32, 0–1
    """
    light = np.clip(np.asarray(linear, dtype=np.float32), 0.0, 1.0)
    encoded: NDArray[np.float32] = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.power(np.maximum(light, 1e-8), 1 / 2.4) - 0.055
    ).astype(np.float32)
    return encoded


def srgb_decode(encoded: FloatArray) -> NDArray[np.float32]:
    """Invert the sRGB transfer: 0–1 encoded values to 0–1 linear light, float32."""
    value = np.clip(np.asarray(encoded, dtype=np.float32), 0.0, 1.0)
    linear: NDArray[np.float32] = np.where(
        value <= 0.04045, value / 12.92, np.power((value + 0.055) / 1.055, 2.4)
    ).astype(np.float32)
    return linear


_ENCODE_8BIT = np.round(255 * srgb_encode(np.linspace(0, 1, _TABLE_STEPS))).astype(np.uint8)
_ENCODE_16BIT = np.round(65535 * srgb_encode(np.linspace(0, 1, 1 << 16))).astype(np.uint16)
_DECODE_8BIT = srgb_decode(np.arange(256, dtype=np.float32) / 255)


def encode_8bit(linear: FloatArray) -> NDArray[np.uint8]:
    """Encode linear light 0–1 as sRGB bytes (table look-up, within one count of the formula)."""
    index = np.clip(np.asarray(linear) * (_TABLE_STEPS - 1) + 0.5, 0, _TABLE_STEPS - 1).astype(np.uint16)
    return _ENCODE_8BIT[index]


def encode_16bit(linear: FloatArray) -> NDArray[np.uint16]:
    """Encode linear light 0–1 as 16-bit sRGB (table look-up)."""
    index = np.clip(np.asarray(linear) * 65535 + 0.5, 0, 65535).astype(np.uint16)
    return _ENCODE_16BIT[index]


def decode_8bit(encoded: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode sRGB bytes to linear light 0–1 (table look-up, exact)."""
    return _DECODE_8BIT[encoded]


def to_float(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return an image as float32 0–1: uint8 and uint16 are scaled, floats are kept.

    Raises
    ------
    InputImageError
        For any other type.
    """
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.float32) / np.float32(255)
    if image.dtype == np.uint16:
        return np.asarray(image, dtype=np.float32) / np.float32(65535)
    if np.issubdtype(image.dtype, np.floating):
        return np.asarray(image, dtype=np.float32)
    raise InputImageError(f"an image of type {image.dtype}", "give uint8, uint16 or float from 0 to 1")


def to_uint8(image: FloatArray) -> NDArray[np.uint8]:
    """Quantise an encoded 0–1 image to bytes."""
    return np.clip(np.round(np.asarray(image) * 255), 0, 255).astype(np.uint8)


def luminance(rgb: FloatArray) -> NDArray[np.float32]:
    """Return the luma of an encoded RGB image, (..., 3) to (...), float32."""
    weighted: NDArray[np.float32] = np.asarray(rgb, dtype=np.float32) @ LUMA_WEIGHTS
    return weighted


def cie94(first: FloatArray, second: FloatArray) -> NDArray[np.float32]:
    """Return the CIE-94 difference per pixel (graphic arts constants, D65).

    Parameters
    ----------
    first, second : ndarray, shape (rows, columns, 3), float 0–1, sRGB-encoded
        ``first`` is the reference: CIE-94 is not symmetric.
    """
    difference: NDArray[np.float32] = deltaE_ciede94(
        rgb2lab(np.clip(first, 0, 1)), rgb2lab(np.clip(second, 0, 1)), kC=1, kH=1, kL=1, k1=0.045, k2=0.015
    ).astype(np.float32)
    return difference


@dataclass(frozen=True, eq=False)
class ColourMatrix:
    """A 3×4 affine map of encoded RGB, ``rgb' = M[:, :3] rgb + M[:, 3]``."""

    matrix: FloatArray

    @classmethod
    def fit(cls, source: FloatArray, target: FloatArray) -> ColourMatrix:
        """Return the least-squares map from ``source`` to ``target`` pixels, both (N, 3) or (..., 3) float."""
        pixels = np.asarray(source, dtype=np.float64).reshape(-1, 3)
        design = np.column_stack([pixels, np.ones(len(pixels))])
        solution, *_ = np.linalg.lstsq(design, np.asarray(target, dtype=np.float64).reshape(-1, 3), rcond=None)
        return cls(solution.T)

    def apply(self, image: FloatArray) -> NDArray[np.float32]:
        """Map an image (..., 3) float 0–1 and clip it to 0–1."""
        matrix = np.asarray(self.matrix, dtype=np.float32)
        mapped = np.asarray(image, dtype=np.float32) @ matrix[:, :3].T + matrix[:, 3]
        return np.clip(mapped, 0.0, 1.0)
