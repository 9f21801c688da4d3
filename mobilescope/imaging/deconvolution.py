"""Richardson-Lucy deconvolution with a Gaussian point spread: the classical way to undo a known blur."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import srgb_decode, srgb_encode

FloatArray = NDArray[np.floating]

_EPSILON = np.float32(1e-4)


def richardson_lucy(light: FloatArray, sigma_px: float, iterations: int) -> NDArray[np.float32]:
    """Undo a Gaussian blur of linear light by Richardson's (1972) and Lucy's (1974) iteration.

    Each step multiplies the estimate u by ``blur(d / blur(u))``, d being the picture; a Gaussian is its own mirror
    image. Borders are mirrored, so that nothing darkens there.

    Parameters
    ----------
    light : ndarray, shape (rows, columns[, channels]), float
        Linear light, not negative.
    sigma_px : float
        Standard deviation of the blur, in pixels.
    iterations : int
        At least 1.

    Returns
    -------
    ndarray of the same shape, float32, not negative
    """
    *_, estimate = _steps(light, sigma_px, iterations)
    return estimate


def deblur_srgb(encoded: FloatArray, sigma_px: float, iterations: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Undo the blur of an sRGB-encoded picture, which happened to its light.

    Parameters
    ----------
    encoded : ndarray, shape (rows, columns, 3), float 0-1
    iterations : tuple of int
        Numbers of steps, growing.

    Returns
    -------
    list of ndarray, shape (rows, columns, 3), float32 0-1, encoded
        The result after each number of steps.
    """
    if list(iterations) != sorted(set(iterations)) or not iterations or iterations[0] < 1:
        raise ValueError(f"numbers of steps must be positive and grow, got {iterations}")
    wanted = set(iterations)
    steps = enumerate(_steps(srgb_decode(encoded), sigma_px, iterations[-1]), start=1)
    return [srgb_encode(estimate) for number, estimate in steps if number in wanted]


def _steps(light: FloatArray, sigma_px: float, iterations: int) -> Iterator[NDArray[np.float32]]:
    """Yield the estimate after each step."""
    if not sigma_px > 0:
        raise InputImageError(f"a blur of {sigma_px} px can't be undone", "give a positive width")
    seen = np.maximum(np.asarray(light, dtype=np.float32), _EPSILON)
    estimate = seen
    for _ in range(iterations):
        ratio = np.asarray(seen / np.maximum(_blurred(estimate, sigma_px), _EPSILON), dtype=np.float32)
        estimate = estimate * _blurred(ratio, sigma_px)
        yield estimate


def _blurred(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, dtype=np.float32)
