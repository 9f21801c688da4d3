"""Made-up phone images of real tissue with a known warp, for the registration tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mobilescope.imaging.pixel_sources import open_pixels

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class PhoneModel:
    """What separates the phone image from the fixed one; lengths in moving pixels."""

    factor: float = 2.5
    blur_px: float = 0.7
    noise: float = 0.02
    rotation_deg: float = 4.0
    scale: float = 1.015
    barrel_px: float = 3.0
    wobble_px: float = 1.0
    wobble_scale_px: float = 40.0
    lateral_colour_px: float = 0.5
    gamma: float = 1.1
    colour_mix: float = 0.12


@dataclass(frozen=True, eq=False)
class Pair:
    moving: NDArray[np.uint8]
    fixed: NDArray[np.uint8]
    truth_yx: NDArray[np.float64]
    factor: float


def smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a smooth random field that peaks at 1."""
    field = ndimage.gaussian_filter(rng.standard_normal((shape[0] + 200, shape[1] + 200)), sigma)[100:-100, 100:-100]
    return field / np.abs(field).max()


def true_map(
    shape: tuple[int, int], fixed_shape: tuple[int, ...], model: PhoneModel, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (row, column) in the fixed image of every moving pixel."""
    row, column = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    y, x = row - (shape[0] - 1) / 2, column - (shape[1] - 1) / 2
    corner = np.hypot(shape[0] / 2, shape[1] / 2)
    stretch = 1 + model.barrel_px / corner * (np.hypot(x, y) / corner) ** 2
    y, x = y * stretch, x * stretch
    if model.wobble_px:
        y = y + model.wobble_px * smooth_noise(shape, model.wobble_scale_px, rng)
        x = x + model.wobble_px * smooth_noise(shape, model.wobble_scale_px, rng)
    angle = np.deg2rad(model.rotation_deg)
    size = model.factor * model.scale
    fixed_y = size * (np.sin(angle) * x + np.cos(angle) * y) + (fixed_shape[0] - 1) / 2 + rng.uniform(-4, 4)
    fixed_x = size * (np.cos(angle) * x - np.sin(angle) * y) + (fixed_shape[1] - 1) / 2 + rng.uniform(-4, 4)
    return np.stack([fixed_y, fixed_x], axis=-1)


def phone_pair(fixed: NDArray[np.uint8], shape: tuple[int, int], model: PhoneModel, seed: int) -> Pair:
    """Return a phone image of the fixed one's middle; the green channel defines the true map."""
    rng = np.random.default_rng(seed)
    truth = true_map(shape, fixed.shape, model, rng)
    size = model.factor * model.scale
    light = fixed.astype(np.float32) / 255
    # The optics' blur and the integration over a pixel's square, whose variance is a twelfth of its side's square.
    soft = cv2.GaussianBlur(light, (0, 0), size * float(np.sqrt(model.blur_px**2 + 1 / 12)))
    direction = rng.uniform(0, 2 * np.pi)
    planes = []
    for channel, amount in enumerate((1, 0, -1)):
        y = truth[..., 0] + amount * model.lateral_colour_px * size * np.sin(direction)
        x = truth[..., 1] + amount * model.lateral_colour_px * size * np.cos(direction)
        planes.append(ndimage.map_coordinates(soft[..., channel], [y, x], order=3, mode="nearest"))
    image = np.stack(planes, axis=-1)
    mix = np.eye(3) * (1 - 3 * model.colour_mix) + model.colour_mix
    image = np.clip(image, 0, 1) ** model.gamma @ mix.T * [0.97, 1.0, 0.92]
    image = image + model.noise * rng.standard_normal(image.shape)
    return Pair(np.clip(np.round(image * 255), 0, 255).astype(np.uint8), fixed, truth, model.factor)


def read_rgb(name: str) -> NDArray[np.uint8]:
    """Read one of the shared test images as RGB bytes."""
    source, _ = open_pixels(DATA / name)
    return np.ascontiguousarray(source.read(0, 0, *source.shape), dtype=np.uint8)
