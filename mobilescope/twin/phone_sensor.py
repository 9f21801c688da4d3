"""From light to counts in the twin's phone: what its single captures and its live stream have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.protocols import LightState
from mobilescope.twin.optics import photon_noise
from mobilescope.twin.parameters import PhoneParameters

Plane = NDArray[np.float32]


def lamp_of(state: LightState) -> NDArray[np.float64]:
    """Return the ring's red, green and blue light, 0-1; nothing where it is off, less where few pixels are lit."""
    level = state.brightness * state.lit_share if state.on else 0.0
    return np.array([state.red, state.green, state.blue]) / 255 * level


def seen_by(phone: PhoneParameters, channel: int, lamp: NDArray[np.float64]) -> Plane:
    """Return what a colour channel weighs the specimen's red, green and blue transmittance with, shape (3,)."""
    return (np.asarray(phone.crosstalk[channel]) * lamp).astype(np.float32)


def flooded(phone: PhoneParameters, channel: int, lamp: NDArray[np.float64], plane: NDArray[Any]) -> NDArray[Any]:
    """Return a channel's picture under the veil of stray light."""
    veil = np.float32(phone.stray_light)
    clear = np.float32(np.dot(phone.crosstalk[channel], lamp))
    return (1 - veil) * plane + veil * clear


def digitise(phone: PhoneParameters, signal: Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the raw counts of a signal in parts of the full well, with the sensor's noise."""
    noisy = photon_noise(
        signal, rng, full_well_electrons=phone.full_well_electrons, read_noise_electrons=phone.read_noise_electrons
    )
    counts = phone.black_level + noisy * (phone.white_level - phone.black_level)
    return np.clip(np.round(counts), 0, phone.white_level).astype(np.uint16)


def axis_sigma_um(phone: PhoneParameters, radius: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the σ of the lens's blur at a relative distance from the axis, 1 in the corner."""
    contrast_sigma = 2 * phone.half_pitch_um * np.sqrt(-np.log(phone.half_pitch_contrast) / (2 * np.pi**2))
    return contrast_sigma * (1 + (phone.corner_blur - 1) * radius**2)
