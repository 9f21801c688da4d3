"""The height of a specimen over its slide: a tilt and a slow wavy surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobilescope.twin.parameters import SurfaceParameters

_WAVES = 5


@dataclass(frozen=True, eq=False)
class Surface:
    """Height as a function of position, the same for every call with the same seed."""

    slope: NDArray[np.floating]
    wave_vectors: NDArray[np.floating]
    phases: NDArray[np.floating]
    amplitude_um: float
    offset_um: float

    @classmethod
    def drawn(cls, parameters: SurfaceParameters, seed: int) -> Surface:
        """Draw one slide's surface."""
        rng = np.random.default_rng([seed, 0x5F])
        direction = rng.uniform(0, 2 * np.pi)
        slope = parameters.tilt_um_per_mm / 1000 * np.array([np.cos(direction), np.sin(direction)])
        angles = rng.uniform(0, 2 * np.pi, _WAVES)
        wave_numbers = 2 * np.pi / (1000 * parameters.wavelength_mm * rng.uniform(0.7, 1.5, _WAVES))
        return cls(
            slope=slope,
            wave_vectors=wave_numbers[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]),
            phases=rng.uniform(0, 2 * np.pi, _WAVES),
            amplitude_um=parameters.waviness_um / np.sqrt(_WAVES / 2),
            offset_um=float(rng.uniform(-4, 4)),
        )

    def height_um(self, x_um: ArrayLike, y_um: ArrayLike) -> NDArray[np.floating]:
        """Return the height at broadcast positions, in the stage's z."""
        points = np.stack(np.broadcast_arrays(np.asarray(x_um, float), np.asarray(y_um, float)), axis=-1)
        waves = np.sin(points @ self.wave_vectors.T + self.phases).sum(axis=-1) * self.amplitude_um
        return points @ self.slope + waves + self.offset_um
