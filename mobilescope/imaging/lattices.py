"""The lattices on which a registered pair is drawn: their largest windows, and the maps that bring either image there.

The phone image goes onto a lattice over the benchtop's (``warp="phone"``), or the benchtop's onto a refinement of the
phone's (``warp="benchtop"``). Each map composes homography and displacement, so that pixels are resampled once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.core.factor import GridFactor
from mobilescope.imaging.crops import Crop
from mobilescope.imaging.registration import Registration
from mobilescope.imaging.warp import MapYX, displacement_of, evaluate_map, invert_map, lattice_points, pixel_grid


@dataclass(frozen=True)
class LatticeWindow:
    """A rectangle of the coarse lattice over the fixed image.

    Attributes
    ----------
    fixed_origin_px : tuple of int
        (row, column) of the fixed pixel at the window's upper-left corner.
    shape : tuple of int
        Rows and columns of the lattice; both even and whole on the fixed image.
    factor : float
        Fixed pixels per lattice pixel.
    """

    fixed_origin_px: tuple[int, int]
    shape: tuple[int, int]
    factor: float

    @property
    def fixed_shape(self) -> tuple[int, int]:
        """Rows and columns of the fixed window that the lattice covers."""
        return round(self.shape[0] * self.factor), round(self.shape[1] * self.factor)


def lattice_map(
    registration: Registration, fixed_origin_px: tuple[int, int], lattice_shape: tuple[int, int], factor: float = 2.5
) -> MapYX:
    """Return where in the original moving image each pixel of a lattice over the fixed image lies (``warp="phone"``).

    Lattice pixel x and fixed pixel u, counted from ``fixed_origin_px``, agree when x + 0.5 = (u + 0.5) / factor.

    Returns
    -------
    ndarray, shape (rows, columns, 2), float32
        (row, column) in the moving image, to resample it once.
    """
    points = lattice_points(lattice_shape, factor, origin_yx=fixed_origin_px)
    return invert_map(registration.map_yx, registration.homography, points)


def label_map(registration: Registration, factor: float = 2.5, *, crop: Crop | None = None) -> MapYX:
    """Return where in the fixed image each pixel of the moving grid, refined by ``factor``, lies (``warp="benchtop"``).

    The registration says where each moving pixel lies, so nothing is inverted here.

    Parameters
    ----------
    crop : Crop, optional
        The part of the moving image to cover, whose upper-left corner is the map's; without it, all of it.

    Returns
    -------
    ndarray, shape (ceil(factor * rows), ceil(factor * columns), 2), float32
    """
    (top, left), (rows, columns) = ((0, 0), registration.moving_shape) if crop is None else (crop.origin_px, crop.shape)
    grid = GridFactor.of(factor)
    fine_rows, fine_columns = (-(-side * grid.p // grid.q) for side in (rows, columns))
    points = lattice_points((fine_rows, fine_columns), 1 / factor, origin_yx=(top, left))
    displacement = displacement_of(registration.map_yx, registration.homography)
    return evaluate_map(displacement, registration.homography, points)


def corner_map(registration: Registration, crop: Crop) -> MapYX:
    """Return where in the fixed image the pixel corners of a part of the moving one lie.

    Returns
    -------
    ndarray, shape (rows + 1, columns + 1, 2), float32
        (row, column); pixel (i, j) of the crop has its corners at i, i + 1 and j, j + 1.
    """
    (top, left), (rows, columns) = crop.origin_px, crop.shape
    corners = pixel_grid((rows + 1, columns + 1), origin_yx=(top - 0.5, left - 0.5))
    displacement = displacement_of(registration.map_yx, registration.homography)
    return evaluate_map(displacement, registration.homography, corners)


def largest_valid_window(registration: Registration, factor: float = 2.5, margin_px: float = 4.0) -> LatticeWindow:
    """Return the largest lattice rectangle inside the moving image's supported part and the fixed image.

    Parameters
    ----------
    margin_px : float
        Distance kept from the moving image's edge, in moving pixels.

    Raises
    ------
    InputImageError
        Where the two images have no such rectangle in common.
    """
    rows, columns = registration.moving_shape
    low = np.maximum(np.ceil(registration.map_yx.min(axis=(0, 1))), 0).astype(int)
    high = np.minimum(registration.map_yx.max(axis=(0, 1)), np.array(registration.fixed_shape) - 1)
    shape = np.floor((high - low + 1) / factor).astype(int)
    origin = (int(low[0]), int(low[1]))
    if shape.min() >= 2:
        source = lattice_map(registration, origin, (int(shape[0]), int(shape[1])), factor)
        inside = (
            (source[..., 0] >= margin_px) & (source[..., 0] <= rows - 1 - margin_px)
            & (source[..., 1] >= margin_px) & (source[..., 1] <= columns - 1 - margin_px)
        )
        nearest = np.round(np.nan_to_num(source)).astype(int)
        inside &= registration.supported[nearest[..., 0].clip(0, rows - 1), nearest[..., 1].clip(0, columns - 1)]
        top, bottom, left, right = largest_window(inside, GridFactor.of(factor).even_step_px)
        if bottom > top:
            start = (origin[0] + round(top * factor), origin[1] + round(left * factor))
            return LatticeWindow(start, (bottom - top, right - left), factor)
    raise _nothing_in_common()


def largest_valid_crop(registration: Registration, factor: float = 2.5, margin_px: float = 4.0) -> Crop:
    """Return the largest supported rectangle of the moving image that lies inside the fixed one (``warp="benchtop"``).

    Parameters
    ----------
    margin_px : float
        Distance kept from the fixed image's edge, in fixed pixels or label pixels, whichever are larger.

    Raises
    ------
    InputImageError
        Where the two images have no such rectangle in common.
    """
    # A coarser label averages over more fixed pixels.
    margin = margin_px * max(1.0, registration.fixed_px_per_moving_px / factor)
    last = np.array(registration.fixed_shape) - 1
    inside = ((registration.map_yx >= margin) & (registration.map_yx <= last - margin)).all(axis=-1)
    inside &= registration.supported
    top, bottom, left, right = largest_window(inside, GridFactor.of(factor).even_step_px)
    if bottom > top:
        return Crop((top, left), (bottom - top, right - left))
    raise _nothing_in_common()


def _nothing_in_common() -> InputImageError:
    return InputImageError("phone field and benchtop window have no usable rectangle in common", "use a larger window")


def largest_window(inside: NDArray[np.bool_], step_px: int) -> tuple[int, int, int, int]:
    """Return (first row, end row, first column, end column) of a mask's largest all-true rectangle.

    Edges are rounded inwards to multiples of ``step_px``; zeros where nothing is left.
    """
    top, left, height, width = _largest_rectangle(inside)
    bottom, right = ((end // step_px) * step_px for end in (top + height, left + width))
    top, left = (-(-start // step_px) * step_px for start in (top, left))
    return (top, bottom, left, right) if bottom > top and right > left else (0, 0, 0, 0)


def _largest_rectangle(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the largest all-true rectangle of a mask; zeros where there is none."""
    best = (0, 0, 0, 0)
    heights = np.zeros(inside.shape[1], dtype=np.int64)
    for row, line in enumerate(inside):
        heights = np.where(line, heights + 1, 0)
        open_bars: list[tuple[int, int]] = []
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while open_bars and open_bars[-1][1] >= height:
                start, tall = open_bars.pop()
                if tall * (column - start) > best[2] * best[3]:
                    best = (row - tall + 1, start, tall, column - start)
            open_bars.append((start, height))
    return best
