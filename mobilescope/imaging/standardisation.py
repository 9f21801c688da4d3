"""How far apart two instruments' colours lie, and how much one of them wanders from picture to picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ColourDistance:
    """Mean colours of the same fields on two instruments, compared in CIELAB (ΔE*ab).

    Attributes
    ----------
    offset : float
        Distance between the means over all fields: what one setting for all could mend.
    spread : float
        Root mean square distance of each field's difference from the mean difference: what it could not.
    """

    offset: float
    spread: float


def mean_lab(image: FloatArray) -> tuple[float, float, float]:
    """Return the mean L*, a*, b* (D65) of an encoded RGB picture, (rows, columns, 3) float 0-1."""
    lab = rgb2lab(np.clip(np.asarray(image, dtype=np.float32), 0, 1)).reshape(-1, 3).mean(axis=0, dtype=np.float64)
    return float(lab[0]), float(lab[1]), float(lab[2])


def colour_distance(first: FloatArray, second: FloatArray) -> ColourDistance:
    """Compare the mean colours of the same fields on two instruments, both (fields, 3) as L*, a*, b*."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if difference.ndim != 2 or difference.shape[1] != 3 or not len(difference):
        raise ValueError(f"mean colours must be (fields, 3) and at least one, got {difference.shape}")
    mean = difference.mean(axis=0)
    spread = float(np.sqrt(np.mean(np.sum((difference - mean) ** 2, axis=1))))
    return ColourDistance(float(np.linalg.norm(mean)), spread)
