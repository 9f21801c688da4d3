"""Blur, vignetting and sensor noise shared by the twin's two instruments."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def diffraction_sigma_um(wavelength_um: float, numerical_aperture: float) -> float:
    """Return the Gaussian σ that best fits an Airy disc, 0.21 λ / NA (Zhang, Zerubia & Olivo-Marin 2007)."""
    return 0.21 * wavelength_um / numerical_aperture


def defocus_sigma_um(defocus_um: float, numerical_aperture: float) -> float:
    """Return the standard deviation per axis of the geometric blur disc at a defocus: half its radius."""
    radius = abs(defocus_um) * numerical_aperture / np.sqrt(1 - numerical_aperture**2)
    return float(radius / 2)


def blur(plane: Image, sigma_px: float) -> Image:
    """Blur a (rows, columns) plane with a Gaussian; below 0.05 px the plane is returned as it is."""
    if sigma_px < 0.05:
        return plane
    radius = max(1, int(np.ceil(3.5 * sigma_px)))
    size = 2 * radius + 1
    return cv2.GaussianBlur(plane, (size, size), sigma_px, borderType=cv2.BORDER_REFLECT_101).astype(
        np.float32, copy=False
    )


def blur_varying(plane: Image, sigma_px: NDArray[np.floating], levels: int = 3, step_px: float = 0.08) -> Image:
    """Blur a plane with a σ that varies slowly over it, by mixing a few fixed blurs.

    Parameters
    ----------
    plane : ndarray, shape (rows, columns), float32
    sigma_px : ndarray, shape (rows, columns) or coarser
        Enlarged bilinearly to the plane; a spread below ``step_px`` is treated as constant.
    """
    low, high = float(sigma_px.min()), float(sigma_px.max())
    if high - low < step_px:
        return blur(plane, (low + high) / 2)
    rows, columns = plane.shape
    local = cv2.resize(sigma_px.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    place = (local - low) * np.float32((levels - 1) / (high - low))
    mixed = np.zeros(plane.shape, dtype=np.float32)
    for level, sigma in enumerate(np.linspace(low, high, levels)):
        weight = np.clip(np.float32(1) - np.abs(place - np.float32(level)), 0, 1)
        mixed += weight * blur(plane, float(sigma))
    return mixed


def vignette(rows: int, columns: int, loss: float) -> Image:
    """Return the relative illumination, 1 in the centre and ``1 - loss`` in the far corner, shape (rows, columns)."""
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    return np.asarray(1 - loss * (x * x + y * y) / 2, dtype=np.float32)


def photon_noise(
    signal: Image, rng: np.random.Generator, *, full_well_electrons: float, read_noise_electrons: float
) -> Image:
    """Add shot and read noise to a signal in parts of the full well (Gaussian limit of the Poisson law)."""
    read_variance = (read_noise_electrons / full_well_electrons) ** 2
    variance = np.asarray(np.maximum(signal, 0) / full_well_electrons + read_variance, dtype=np.float32)
    deviation = np.sqrt(variance)
    noise: Image = deviation * rng.standard_normal(signal.shape, dtype=np.float32)
    return signal + noise
