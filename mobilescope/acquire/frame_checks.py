"""Every frame is looked at before it is kept: size, type, freshness, wholeness, time and place."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.protocols import BenchtopImage

# A row in so many is compared; a camera's noise makes no row twice.
_ROW_STEP = 8
# How far the system's clock may stray from its steady one between a move and its picture.
_CLOCK_TOLERANCE_S = 0.25
_WHITE = 255


@dataclass(frozen=True)
class Moment:
    """When the stage stood still, on the clock that images carry and on the one that never jumps."""

    wall_s: float
    steady_s: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment."""
        return cls(time.time(), time.monotonic())

    def clock_jump_s(self) -> float:
        """Return by how much the system's clock was set since then."""
        return (time.time() - self.wall_s) - (time.monotonic() - self.steady_s)


class FrameCheck:
    """Judges full frames one after the other.

    Parameters
    ----------
    shape : (rows, columns)
        What every frame must have.
    greatest_miss_um : float
        How far from the place asked for a frame may have been taken in x and y.
    """

    def __init__(self, shape: tuple[int, int], greatest_miss_um: float) -> None:
        self._shape = (*shape, 3)
        self._greatest_miss_um = greatest_miss_um
        self._last_rows: NDArray[np.uint8] | None = None

    def problem(self, image: BenchtopImage, target_um: tuple[float, float], settled: Moment) -> str:
        """Return what is wrong with a frame taken after a move, empty where nothing is; a good one is remembered."""
        pixels = image.pixels
        if pixels.shape != self._shape:
            return f"a frame of shape {_shape(pixels)} instead of {_shape_text(self._shape)}"
        if pixels.dtype != np.uint8:
            return f"a frame of type {pixels.dtype} instead of uint8"
        rows = pixels[::_ROW_STEP]
        problem = self._content_problem(rows)
        if problem:
            return problem
        miss_um = math.hypot(image.position.x_um - target_um[0], image.position.y_um - target_um[1])
        if not miss_um <= self._greatest_miss_um:
            return (
                f"a frame taken at ({image.position.x_um:.1f}, {image.position.y_um:.1f}) µm, "
                f"{miss_um:.1f} µm from where the stage was sent"
            )
        jumped = abs(settled.clock_jump_s()) > _CLOCK_TOLERANCE_S
        if not jumped and image.time_s < settled.wall_s - _CLOCK_TOLERANCE_S:
            return f"a frame taken {settled.wall_s - image.time_s:.2f} s before the stage had arrived"
        self._last_rows = rows.copy()
        return ""

    def _content_problem(self, rows: NDArray[np.uint8]) -> str:
        """Look for rows that repeat the last frame, and for rows without a picture."""
        flat = rows.reshape(len(rows), -1)
        constant = flat.min(axis=1) == flat.max(axis=1)
        empty = constant & (flat[:, 0] != _WHITE)
        if empty.all():
            return "a frame without a picture (every row has one value); is the light on?"
        if empty[-1] and empty.mean() >= 1 / 16:
            return f"half a frame (the last {empty.mean():.0%} of its rows are empty)"
        if self._last_rows is None:
            return ""
        repeated = (flat == self._last_rows.reshape(len(rows), -1)).all(axis=1) & ~constant
        if repeated.sum() >= max(1, (~constant).sum() // 16):
            whole = repeated.sum() == (~constant).sum()
            return "the same frame as before the move" if whole else "half a frame (part of it shows the last one)"
        return ""


def _shape(pixels: NDArray[np.generic]) -> str:
    return _shape_text(pixels.shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
