"""Is there structure in a picture, at which scale, and where does its strength peak over z.

White noise differs from row to row, structure hardly does. So the product of the same difference in two neighbouring
rows is zero on average for noise of any strength, and the squared gradient for structure: a Brenner measure without
its floor of noise, with a standard error. The same over pictures reduced 4 and 16 times finds its way back from a
defocus at which nothing fine is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from mobilescope.imaging.focus import Grey

REDUCTIONS = (1, 4, 16)
# A change over z of so many standard errors, and by so much of the greatest, is no noise and no change of the lamp.
_SIGNIFICANT = 8.0
_LEAST_CHANGE = 0.12
_LEAST_SIDE = 12
# A fit that takes more steps creeps along a valley, and its centre is as good as it gets.
_MOST_STEPS = 60


@dataclass(frozen=True)
class Structure:
    """Gradient energy at each of `REDUCTIONS`, relative to the squared mean, and its error by noise alone."""

    energy: tuple[float, ...]
    error: tuple[float, ...]


def structure(grey: Grey) -> Structure:
    """Measure a (rows, columns) picture; scales at which it has fewer than 12 pixels on a side are left at 0."""
    mean = max(float(grey.mean()), 1e-6)
    energies, errors = [], []
    for reduction in REDUCTIONS:
        size = grey.shape[1] // reduction, grey.shape[0] // reduction
        if min(size) < _LEAST_SIDE:
            energies.append(0.0)
            errors.append(np.inf)
            continue
        small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float32) / np.float32(mean)
        pairs = [_paired(small), _paired(np.ascontiguousarray(small.T))]
        energies.append(sum(float(energy) for energy, _ in pairs) / 2)
        errors.append(float(np.hypot(pairs[0][1], pairs[1][1])) / 2)
    return Structure(tuple(energies), tuple(errors))


def finest_significant(curve: list[Structure]) -> int | None:
    """Return the number of the finest scale whose energy changes over z by more than noise does, None without one."""
    for scale in range(len(REDUCTIONS)):
        energy = np.array([sample.energy[scale] for sample in curve])
        error = max(sample.error[scale] for sample in curve)
        at_peak = curve[int(energy.argmax())].error[scale]
        change = float(energy.max() - energy.min())
        if np.isfinite(error) and change > _SIGNIFICANT * at_peak and change > _LEAST_CHANGE * float(energy.max()):
            return scale
    return None


def vertex(z_um: NDArray[np.floating], score: NDArray[np.floating]) -> tuple[float, float] | None:
    """Return place and height of the parabola through the logarithm of three scores, None where it opens upwards."""
    least = max(float(score.max()) * 1e-6, 1e-30)
    middle = float(z_um[1])
    bend, slope, level = np.polyfit(z_um - middle, np.log(np.maximum(score, least)), 2)
    if bend >= 0:
        return None
    shift = float(np.clip(-slope / (2 * bend), z_um[0] - middle, z_um[2] - middle))
    return middle + shift, float(np.exp(level + slope * shift + bend * shift * shift))


def _paired(plane: Grey) -> tuple[float, float]:
    """Return the mean product of differences in neighbouring rows, and its standard error were they all noise."""
    difference = plane[:, 2:] - plane[:, :-2]
    # The slope of a vignette is the same in all rows.
    difference = difference - difference.mean(axis=0)
    product = difference[1:] * difference[:-1]
    # Of noise alone, from the part that neighbouring rows do not share.
    unlike = difference[1:] - difference[:-1]
    variance = float(np.mean(unlike**2)) / 2
    return float(product.mean()), 1.7 * variance / float(np.sqrt(product.size))


def flank_peak(z_um: NDArray[np.floating], energy: NDArray[np.floating], half_um: float) -> float:
    """Return the centre of a curve whose flanks fall as a power of the defocus; it may lie beyond the samples.

    ``energy`` is fitted as ``a / (1 + ((z - centre) / width)²)^power`` in the square root, from several starts;
    ``half_um`` bounds the centre to within one and a half of it around the middle of the samples.
    """
    middle, root = float(z_um.min() + z_um.max()) / 2, np.sqrt(np.maximum(energy, 0) / max(float(energy.max()), 1e-30))

    def off(parameters: NDArray[np.floating]) -> NDArray[np.floating]:
        centre, width, power, height = parameters
        return np.asarray(np.exp(height) * (1 + ((z_um - centre) / np.exp(width)) ** 2) ** (-power) - root)

    best, cost, top = float(z_um[energy.argmax()]), np.inf, float(z_um[energy.argmax()])
    reach = 1.5 * half_um
    for shift in (-0.3, 0.0, 0.3):
        first = np.clip(top + shift * half_um / 2, middle - 0.99 * reach, middle + 0.99 * reach)
        start = [first, np.log(3.0), 0.7, 0.1]
        found = least_squares(
            off, start, bounds=([middle - reach, np.log(0.5), 0.3, -1], [middle + reach, np.log(30), 2.0, 4]),
            max_nfev=_MOST_STEPS,
        )
        if found.cost < cost:
            best, cost = float(found.x[0]), float(found.cost)
    return best
