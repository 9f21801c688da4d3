"""Noise of a picture where its specimen is flat: what varies there faster than any specimen does."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError

FloatArray = NDArray[np.floating]

# The flattest part of the label, and how much structure it may still show, as a standard deviation on 0-1.
_FLAT_SHARE = 0.02
_FLAT_LIMIT = 0.015
_LEAST_FLAT_PX = 400
# Noise is what varies within this distance, which keeps 95 % of it also where it was enlarged from 0.925 µm pixels;
# the specimen's shading and thickness vary more slowly.
_SCALE_UM = 1.5
_STRUCTURE_UM = 3.0
# Detail of the label is looked for after a blur that takes most of the label's own noise away.
_STRUCTURE_BLUR_UM = 0.75


def flat_mask(label: FloatArray, pixel_size_um: float) -> NDArray[np.bool_]:
    """Return where a label shows no specimen detail, so that what varies there is noise.

    The flattest 2 % of the picture by the local standard deviation of detail between 0.75 µm and 3 µm, and nowhere
    where that exceeds 0.015. Empty where the picture has no such place.

    Parameters
    ----------
    label : ndarray, shape (rows, columns), float 0-1
        The label's luminance.

    Returns
    -------
    ndarray, shape (rows, columns), bool
    """
    grey = np.ascontiguousarray(label, dtype=np.float32)
    soft = _blurred(grey, _STRUCTURE_BLUR_UM / pixel_size_um)
    detail = soft - _blurred(grey, _STRUCTURE_UM / pixel_size_um)
    structure = np.sqrt(_local_variance(detail, pixel_size_um))
    limit = min(float(np.quantile(structure, _FLAT_SHARE)), _FLAT_LIMIT)
    return np.asarray(structure <= limit)


def noise_sigma(image: FloatArray, flat: NDArray[np.bool_], pixel_size_um: float) -> float:
    """Return the standard deviation of the noise in a picture's flat part, NaN where that is too small to tell.

    What varies within 1.5 µm is kept, and its local variance taken as the median over the flat part, so that a few
    specks of specimen in it do not count. Noise that an enlargement has smeared over several pixels is counted whole.

    Parameters
    ----------
    image : ndarray, shape (rows, columns), float 0-1
        Luminance.
    flat : ndarray, shape (rows, columns), bool
        See `flat_mask`.
    """
    if image.shape != flat.shape:
        raise InputImageError(f"a picture of {image.shape} and a mask of {flat.shape}", "give both on one grid")
    if int(flat.sum()) < _LEAST_FLAT_PX:
        return float("nan")
    grey = np.ascontiguousarray(image, dtype=np.float32)
    sigma_px = _SCALE_UM / pixel_size_um
    residue = grey - _blurred(grey, sigma_px)
    # White noise loses the part that the blur keeps of it: 1 - 2 g(0) + sum g^2, with g(0) = 1 / (2 pi s^2).
    kept = 1 - 1 / (np.pi * sigma_px**2) + 1 / (4 * np.pi * sigma_px**2)
    return float(np.sqrt(np.median(_local_variance(residue, pixel_size_um)[flat]) / kept))


def _blurred(plane: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _local_variance(residue: NDArray[np.float32], pixel_size_um: float) -> NDArray[np.float32]:
    """Return the variance of a residue around each pixel, over a Gaussian neighbourhood."""
    return np.maximum(_blurred(residue * residue, _STRUCTURE_UM / pixel_size_um), 0)
