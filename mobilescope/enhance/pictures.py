"""What counts as a picture to enhance, and how its type is carried to the engine and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import to_float

# Resampled floats overshoot by rounding; anything further out is another scale.
_OVERSHOOT = 1e-3
_REMEDIES = {
    1: "repeat its channel three times if it is to be treated as grey",
    4: "drop its alpha channel",
}


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse anything but (rows, columns, 3) with at least one pixel."""
    if len(shape) == 3 and shape[-1] == 3 and 0 not in shape:
        return
    remedy = "give an RGB image (rows, columns, 3)"
    if 0 not in shape:
        channels = 1 if len(shape) == 2 else shape[-1]
        remedy += f"; {_REMEDIES[channels]}" if channels in _REMEDIES else ""
    raise InputImageError(f"an image of shape {shape} can't be enhanced", remedy)


def to_engine(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a picture as the engines take it: uint8 as it is, uint16 and floats as float32 0–1.

    Raises
    ------
    InputImageError
        For other types, and for floats that are not finite or not within 0–1.
    """
    if image.dtype == np.uint8:
        return image if image.flags.writeable else image.copy()  # torch wraps no memory that it may not write
    floats = to_float(image)
    if image.dtype == np.uint16:
        return floats
    low, high = float(floats.min()), float(floats.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputImageError("the image holds NaN or infinite values", "replace them before enhancing")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise InputImageError(
            f"the image's values go from {low:g} to {high:g}", "scale a floating-point image to 0–1"
        )
    if low < 0 or high > 1:
        return np.clip(floats, 0, 1)
    return floats if floats.flags.writeable else floats.copy()


def from_engine(enhanced: NDArray[np.generic], kind: DTypeLike) -> NDArray[np.generic]:
    """Return an engine's output in the type of the picture it was made from."""
    if kind == np.uint16:
        return np.round(to_float(enhanced) * 65535).astype(np.uint16)
    return enhanced
