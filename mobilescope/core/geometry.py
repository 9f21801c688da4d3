"""Coordinate frames and the affine maps between them.

Defined once, here. Arrays are (row, column[, channel]); points are (x, y), x to the right along columns
and y down along rows. The centre of pixel (row 0, column 0) is the point (0, 0) of its pixel frame.
The stage frame is in micrometres with the same handedness, so an image shown upright has stage x growing
to the right and stage y growing downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class RegionUm:
    """An axis-aligned rectangle in a frame measured in micrometres.

    ``x_um`` and ``y_um`` are the upper-left corner (an edge, not a pixel centre).
    """

    x_um: float
    y_um: float
    width_um: float
    height_um: float

    @classmethod
    def centred(cls, x_um: float, y_um: float, width_um: float, height_um: float) -> Self:
        """Return the region of the given size around a centre."""
        return cls(x_um - width_um / 2, y_um - height_um / 2, width_um, height_um)

    @property
    def right_um(self) -> float:
        """Greatest x inside the region."""
        return self.x_um + self.width_um

    @property
    def bottom_um(self) -> float:
        """Greatest y inside the region."""
        return self.y_um + self.height_um

    @property
    def centre_um(self) -> tuple[float, float]:
        """Centre as (x, y)."""
        return self.x_um + self.width_um / 2, self.y_um + self.height_um / 2

    def grown(self, margin_um: float) -> RegionUm:
        """Return the region with ``margin_um`` added on every side."""
        return RegionUm(
            self.x_um - margin_um, self.y_um - margin_um,
            self.width_um + 2 * margin_um, self.height_um + 2 * margin_um,
        )

    def intersection(self, other: RegionUm) -> RegionUm | None:
        """Return the common part of two regions, or None where they do not meet."""
        left, top = max(self.x_um, other.x_um), max(self.y_um, other.y_um)
        width = min(self.right_um, other.right_um) - left
        height = min(self.bottom_um, other.bottom_um) - top
        return RegionUm(left, top, width, height) if width > 0 and height > 0 else None

    def contains(self, other: RegionUm) -> bool:
        """Tell whether ``other`` lies wholly inside."""
        return (
            self.x_um <= other.x_um and self.y_um <= other.y_um
            and other.right_um <= self.right_um and other.bottom_um <= self.bottom_um
        )


@dataclass(frozen=True)
class PixelGrid:
    """Where an image's pixels lie in a frame measured in micrometres.

    ``x_um``, ``y_um`` locate the *centre* of pixel (0, 0); rows and columns follow y and x.
    """

    x_um: float
    y_um: float
    pixel_size_um: float
    rows: int
    columns: int

    @classmethod
    def over(cls, region: RegionUm, pixel_size_um: float) -> Self:
        """Return the grid whose first pixel's corner is the region's corner, covering the region."""
        rows = max(1, round(region.height_um / pixel_size_um))
        columns = max(1, round(region.width_um / pixel_size_um))
        half = pixel_size_um / 2
        return cls(region.x_um + half, region.y_um + half, pixel_size_um, rows, columns)

    @property
    def region(self) -> RegionUm:
        """The area covered, pixel edges included."""
        half = self.pixel_size_um / 2
        return RegionUm(
            self.x_um - half, self.y_um - half,
            self.columns * self.pixel_size_um, self.rows * self.pixel_size_um,
        )

    def x_coordinates_um(self) -> FloatArray:
        """Return the x of each column's centre, shape (columns,)."""
        return self.x_um + np.arange(self.columns) * self.pixel_size_um

    def y_coordinates_um(self) -> FloatArray:
        """Return the y of each row's centre, shape (rows,)."""
        return self.y_um + np.arange(self.rows) * self.pixel_size_um

    def pixel_to_um(self) -> Affine:
        """Return the map from this grid's pixel frame to its micrometre frame."""
        scale = self.pixel_size_um
        return Affine(np.array([[scale, 0.0, self.x_um], [0.0, scale, self.y_um]]))


@dataclass(frozen=True, eq=False)
class Affine:
    """A map of points ``p' = A p + t`` with points as (x, y).

    Attributes
    ----------
    matrix : ndarray, shape (2, 3), float64
        ``[A | t]``.
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        """Refuse anything but a finite 2×3 matrix."""
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine needs a finite 2x3 matrix, got {self.matrix!r}")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Self:
        """Return the map that changes nothing."""
        return cls(np.eye(2, 3))

    @classmethod
    def similarity(cls, scale: float, rotation_deg: float, x: float = 0.0, y: float = 0.0) -> Self:
        """Return rotation (positive turns x towards y) and scale about the origin, then a shift."""
        angle = np.deg2rad(rotation_deg)
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        return cls(np.array([[cos, -sin, x], [sin, cos, y]]))

    def apply(self, points: ArrayLike) -> FloatArray:
        """Map points, shape (..., 2) as (x, y), to the same shape."""
        array = np.asarray(points, dtype=np.float64)
        mapped: FloatArray = array @ self.matrix[:, :2].T + self.matrix[:, 2]
        return mapped

    def after(self, first: Affine) -> Affine:
        """Return the map that applies ``first`` and then this one."""
        linear = self.matrix[:, :2] @ first.matrix[:, :2]
        shift = self.matrix[:, :2] @ first.matrix[:, 2] + self.matrix[:, 2]
        return Affine(np.column_stack([linear, shift]))

    def inverse(self) -> Affine:
        """Return the inverse map; raises numpy's LinAlgError where there is none."""
        linear = np.linalg.inv(self.matrix[:, :2])
        return Affine(np.column_stack([linear, -linear @ self.matrix[:, 2]]))

    def to_list(self) -> list[list[float]]:
        """Return the matrix as nested lists, for JSON."""
        rows: Any = self.matrix.tolist()
        return [[float(value) for value in row] for row in rows]
