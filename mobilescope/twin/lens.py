"""The geometry of the twin's phone lens: barrel, lateral colour, a smooth random warp, rotation and scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import Affine
from mobilescope.twin.parameters import PhoneParameters

_MODES = 24


@dataclass(frozen=True, eq=False)
class PhoneLens:
    """One phone's lens, drawn once: maps ideal sensor positions to what they see of the specimen.

    Positions are micrometres at the specimen from the centre of the field, as (x, y).
    """

    corner_um: float
    barrel: float
    lateral_colour_um: tuple[float, float, float]
    magnification: float
    wave_vectors: NDArray[np.floating]
    amplitudes: NDArray[np.floating]
    phases: NDArray[np.floating]

    @classmethod
    def drawn(cls, parameters: PhoneParameters, seed: int) -> PhoneLens:
        """Draw an instrument's lens."""
        rng = np.random.default_rng([seed, 0x1E])
        angles = rng.uniform(0, 2 * np.pi, _MODES)
        lengths = parameters.warp_wavelength_um * rng.uniform(0.8, 2.5, _MODES)
        return cls(
            corner_um=float(np.hypot(parameters.bayer_rows, parameters.bayer_columns) / 2 * parameters.bayer_pixel_um),
            barrel=parameters.barrel,
            lateral_colour_um=parameters.lateral_colour_um,
            magnification=float(1 + rng.normal(0, parameters.magnification_error)),
            wave_vectors=2 * np.pi / lengths[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]),
            amplitudes=rng.normal(0, parameters.warp_um * np.sqrt(2 / _MODES), (_MODES, 2)),
            phases=rng.uniform(0, 2 * np.pi, _MODES),
        )

    def to_specimen(self, points_um: NDArray[np.floating], channel: int, mounting: Affine) -> NDArray[np.floating]:
        """Map ideal positions, shape (..., 2), of one colour channel to the specimen frame through the mounting."""
        radius = np.linalg.norm(points_um, axis=-1, keepdims=True) / self.corner_um
        outwards = self.lateral_colour_um[channel] / self.corner_um
        bent = points_um * (1 + self.barrel * radius**2 + outwards)
        waves = np.sin(points_um @ self.wave_vectors.T + self.phases) @ self.amplitudes
        return mounting.apply(self.magnification * (bent + waves))
