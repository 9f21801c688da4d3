"""White balance of a camera for a kind of daylight, from the colour matrices that its DNG files carry.

The white of an illuminant goes through the camera's matrix (Adobe, DNG specification 1.4, chapter 6: matrices of two
illuminants are mixed in proportion to the reciprocal of the colour temperature).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gains = tuple[float, float, float]

# Correlated colour temperature of EXIF's codes of light sources.
_ILLUMINANTS_K = {
    1: 5500.0, 2: 4150.0, 3: 2850.0, 9: 5500.0, 10: 6500.0, 11: 7500.0, 17: 2856.0, 18: 4874.0, 19: 6774.0,
    20: 5503.0, 21: 6504.0, 22: 7504.0, 23: 5003.0, 24: 3200.0,
}
PRESETS_K = {"daylight": 5503.0, "cloudy": 6504.0}


@dataclass(frozen=True, eq=False)
class ColourMatrices:
    """A camera's matrices from XYZ to its own red, green and blue, (3, 3), by their colour temperatures."""

    matrices: tuple[NDArray[np.float64], ...]
    kelvin: tuple[float, ...]

    def at(self, kelvin: float) -> NDArray[np.float64]:
        """Return the matrix at a colour temperature."""
        if len(self.matrices) == 1:
            return self.matrices[0]
        (first, second), (low, high) = self.matrices, self.kelvin
        share = np.clip((1 / kelvin - 1 / high) / (1 / low - 1 / high), 0, 1)
        return share * first + (1 - share) * second

    def gains(self, kelvin: float) -> Gains | None:
        """Return the gains that make daylight of a colour temperature neutral, green 1; None where there are none."""
        red, green, blue = self.at(kelvin) @ _daylight_xyz(kelvin)
        if not min(red, green, blue) > 0:
            return None
        return float(green / red), 1.0, float(green / blue)


def colour_matrices(tags: dict[str, object]) -> ColourMatrices | None:
    """Return the colour matrices among a DNG's tags, None where there is none or it is unusable."""
    balance = _rationals(tags.get("AnalogBalance"), 3)
    found: list[tuple[float, NDArray[np.float64]]] = []
    for number in ("1", "2"):
        matrix = _rationals(tags.get(f"ColorMatrix{number}"), 9)
        if matrix is None:
            continue
        calibration = _rationals(tags.get(f"CameraCalibration{number}"), 9)
        whole = matrix.reshape(3, 3)
        if calibration is not None:
            whole = calibration.reshape(3, 3) @ whole
        if balance is not None:
            whole = np.diag(balance) @ whole
        code = tags.get(f"CalibrationIlluminant{number}")
        found.append((_ILLUMINANTS_K.get(code if isinstance(code, int) else 0, 0.0), whole))
    if not found:
        return None
    known = sorted((pair for pair in found if pair[0] > 0), key=lambda pair: pair[0])
    if len(known) < 2 or known[0][0] == known[1][0]:
        known = known[-1:] or found[-1:]
    return ColourMatrices(tuple(matrix for _, matrix in known), tuple(kelvin for kelvin, _ in known))


def preset_gains(tags: dict[str, object]) -> dict[str, Gains]:
    """Return the gains of the presets that a DNG's colour matrices give, by name."""
    matrices = colour_matrices(tags)
    if matrices is None:
        return {}
    gains = {name: matrices.gains(kelvin) for name, kelvin in PRESETS_K.items()}
    return {name: each for name, each in gains.items() if each is not None}


def _rationals(value: object, count: int) -> NDArray[np.float64] | None:
    """Return a tag's fractions as numbers; None for anything else."""
    if not isinstance(value, tuple | list) or len(value) != 2 * count:
        return None
    over, under = np.array(value[::2], dtype=np.float64), np.array(value[1::2], dtype=np.float64)
    return None if (under == 0).any() else over / under


def _daylight_xyz(kelvin: float) -> NDArray[np.float64]:
    """Return the white of daylight (CIE 015, series D), Y = 1."""
    t = 1000 / kelvin
    if kelvin <= 7000:
        x = 0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
    else:
        x = 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    y = -3.0 * x**2 + 2.870 * x - 0.275
    return np.array([x / y, 1.0, (1 - x - y) / y])
