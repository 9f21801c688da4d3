"""Windows of a grid around objects, and profiles that stay true to area when pixels are coarse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid

Float = NDArray[np.float32]

# Values held at once in a batch: small enough for the processor's cache.
_BATCH_VALUES = 60_000


@dataclass(frozen=True, eq=False)
class Stamps:
    """Square windows of S×S pixels around N objects; a window may reach over the grid's edge.

    Attributes
    ----------
    chosen : slice
        Which of the objects these are.
    dx_um, dy_um : ndarray, shapes (N, 1, S) and (N, S, 1), float32
        Pixel centres relative to each object's centre.
    """

    chosen: slice
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    dx_um: Float
    dy_um: Float

    def add(self, canvas: Float, patches: Float, factor: Float | None = None) -> None:
        """Add patches (N, S, S) to a canvas (rows, columns), multiplied by a field of the canvas's shape."""
        height, width = canvas.shape
        size = patches.shape[1]
        for patch, row, column in zip(patches, self.rows.tolist(), self.columns.tolist(), strict=True):
            top, left = max(row, 0), max(column, 0)
            bottom, right = min(row + size, height), min(column + size, width)
            if top < bottom and left < right:
                inside = patch[top - row : bottom - row, left - column : right - column]
                if factor is not None:
                    inside = inside * factor[top:bottom, left:right]
                canvas[top:bottom, left:right] += inside


def stamps(grid: PixelGrid, x_um: NDArray[np.float64], y_um: NDArray[np.float64], half_um: float) -> Iterator[Stamps]:
    """Yield windows that hold ``half_um`` around each object, a cache-sized batch at a time."""
    pitch = grid.pixel_size_um
    size = 2 * int(np.ceil(half_um / pitch)) + 2
    batch = max(1, _BATCH_VALUES // size**2)
    steps = np.arange(size)
    for start in range(0, len(x_um), batch):
        chosen = slice(start, start + batch)
        x, y = x_um[chosen], y_um[chosen]
        columns = np.floor((x - grid.x_um) / pitch).astype(np.int64) - size // 2 + 1
        rows = np.floor((y - grid.y_um) / pitch).astype(np.int64) - size // 2 + 1
        dx = grid.x_um + (columns[:, None] + steps) * pitch - x[:, None]
        dy = grid.y_um + (rows[:, None] + steps) * pitch - y[:, None]
        yield Stamps(chosen, rows, columns, dx[:, None, :].astype(np.float32), dy[:, :, None].astype(np.float32))


@dataclass(frozen=True, eq=False)
class Window:
    """The part of a grid inside a rectangle: ``canvas[window.part]`` has R rows and C columns.

    Attributes
    ----------
    dx_um, dy_um : ndarray, shapes (1, C) and (R, 1), float32
        Pixel centres relative to the point asked for.
    """

    part: tuple[slice, slice]
    dx_um: Float
    dy_um: Float


def window(
    grid: PixelGrid, x_um: float, y_um: float, left_um: float, right_um: float, top_um: float, bottom_um: float
) -> Window | None:
    """Return the pixels between the given offsets from a point, or None where none lie on the grid."""
    pitch = grid.pixel_size_um
    first_column = max(int(np.floor((x_um + left_um - grid.x_um) / pitch)), 0)
    last_column = min(int(np.ceil((x_um + right_um - grid.x_um) / pitch)) + 1, grid.columns)
    first_row = max(int(np.floor((y_um + top_um - grid.y_um) / pitch)), 0)
    last_row = min(int(np.ceil((y_um + bottom_um - grid.y_um) / pitch)) + 1, grid.rows)
    if first_column >= last_column or first_row >= last_row:
        return None
    dx = grid.x_um + np.arange(first_column, last_column) * pitch - x_um
    dy = grid.y_um + np.arange(first_row, last_row) * pitch - y_um
    return Window(
        (slice(first_row, last_row), slice(first_column, last_column)),
        dx[None, :].astype(np.float32), dy[:, None].astype(np.float32),
    )


def inside(distance_um: Float, pixel_size_um: float, softness_um: float = 0.2) -> Float:
    """Return the share of each pixel inside an outline, from the signed distance to it (negative inside)."""
    width = np.float32(np.hypot(pixel_size_um, softness_um))
    return np.clip(np.float32(0.5) - distance_um / width, 0, 1)


def line(distance_um: Float, sigma_um: float, pixel_size_um: float) -> Float:
    """Return a Gaussian line profile of height 1, averaged over the pixel across the line."""
    width = np.sqrt(sigma_um**2 + pixel_size_um**2 / 12)
    return np.float32(sigma_um / width) * np.exp(np.float32(-0.5 / width**2) * distance_um**2)


def blob(squared_um2: Float, sigma_um: float | Float, pixel_size_um: float) -> Float:
    """Return a round Gaussian spot of height 1, averaged over the pixel, from squared distances."""
    width = sigma_um**2 + np.float32(pixel_size_um**2 / 12)
    return np.float32(sigma_um**2 / width) * np.exp(np.float32(-0.5) * squared_um2 / width)


def harmonics(dx_um: Float, dy_um: Float) -> tuple[Float, Float, Float, Float, Float]:
    """Return radius, cos 2θ, sin 2θ, cos 3θ and sin 3θ; the angular parts fade to 0 at the centre."""
    radius = np.sqrt(dx_um**2 + dy_um**2)
    inverse = 1 / (radius + np.float32(0.3))
    c1, s1 = dx_um * inverse, dy_um * inverse
    c2, s2 = c1 * c1 - s1 * s1, 2 * c1 * s1
    return radius, c2, s2, c2 * c1 - s2 * s1, s2 * c1 + c2 * s1
