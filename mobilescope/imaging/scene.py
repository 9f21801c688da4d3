"""A phone image and the part of the fixed one under it, at one scale, ready to be compared through displacements.

The fixed image is always drawn from its own softened pixels through one composed map, never through a drawing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import to_float
from mobilescope.imaging.spline_field import SplineField
from mobilescope.imaging.warp import FloatArray, MapYX, apply_homography

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BACKGROUND_PX = 41


def flatten_background(grey: Grey, window_px: int = _BACKGROUND_PX) -> Grey:
    """Subtract the local mean (a box filter run twice), so that uneven light does not correlate."""
    window = (window_px, window_px)
    mean = cv2.blur(grey, window, borderType=cv2.BORDER_REFLECT_101)
    return grey - np.asarray(cv2.blur(mean, window, borderType=cv2.BORDER_REFLECT_101))


def shrunk(image: NDArray[Any], by: float) -> tuple[NDArray[Any], FloatArray]:
    """Return an image, ``by`` times smaller, and the matrix from its (x, y) back to the image's."""
    rows, columns = image.shape[:2]
    size = (max(1, round(columns / by)), max(1, round(rows / by)))
    small = np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA))
    scale_y, scale_x = rows / small.shape[0], columns / small.shape[1]
    return small, np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1.0]])


def shrunk_displacement(displacement_yx: MapYX, by: float) -> MapYX:
    """Return a displacement for an image ``by`` times smaller, in its pixels."""
    return np.asarray(shrunk(displacement_yx, by)[0] / by, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Scene:
    """Both images at a common softness.

    Attributes
    ----------
    moving : ndarray, shape (rows, columns), float32
    soft : ndarray, float32
        The part of the fixed image under the moving one, as soft as it.
    homography : ndarray, shape (3, 3)
        Maps (x, y) of ``moving`` to ``soft``.
    scale : float
        Pixels of the phone image to one of ``moving``.
    base_yx : ndarray, shape (rows, columns, 2), float32, optional
        A displacement that is known beforehand; fields say what comes on top of it.
    """

    moving: Grey
    soft: Grey
    homography: FloatArray
    scale: float = 1.0
    base_yx: MapYX | None = None

    @classmethod
    def of(
        cls, moving: Grey, fixed: NDArray[Any], homography: FloatArray, sigma_px: float, base_yx: MapYX | None = None
    ) -> Scene:
        """Cut out what lies under the moving image and soften it by ``sigma_px`` of its own pixels.

        ``fixed`` is of shape (rows, columns) and uint8, uint16 or float 0-1.
        """
        rows, columns = moving.shape
        corners = np.array([[0, 0], [0, columns - 1], [rows - 1, 0], [rows - 1, columns - 1]], dtype=np.float64)
        mapped = apply_homography(homography, corners)
        # Room for what the displacement may add and for the blur's reach.
        room = 0.05 * (mapped.max(axis=0) - mapped.min(axis=0)).max() + 4 * sigma_px + 16
        top, left = np.clip(np.floor(mapped.min(axis=0) - room), 0, np.array(fixed.shape) - 1).astype(int)
        bottom, right = np.clip(np.ceil(mapped.max(axis=0) + room), 0, np.array(fixed.shape) - 1).astype(int)
        part = to_float(np.ascontiguousarray(fixed[top : bottom + 1, left : right + 1]))
        soft = cv2.GaussianBlur(part, (0, 0), max(sigma_px, 0.3), borderType=cv2.BORDER_REFLECT_101)
        to_part = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        return cls(moving, np.asarray(soft, dtype=np.float32), to_part @ homography, base_yx=base_yx)

    def shrunk(self, by: int) -> Scene:
        """Return the scene ``by`` times smaller."""
        moving, moving_enlarge = shrunk(self.moving, by)
        soft, soft_enlarge = shrunk(self.soft, by)
        homography = np.linalg.inv(soft_enlarge) @ self.homography @ moving_enlarge
        base = None if self.base_yx is None else shrunk_displacement(self.base_yx, by)
        return Scene(moving, soft, homography / homography[2, 2], self.scale * by, base)

    def flat(self) -> Grey:
        """Return the moving image without its background."""
        return flatten_background(self.moving, self._background_px)

    def flattened(self, drawn: Grey) -> Grey:
        """Return what was drawn without its background."""
        return flatten_background(drawn, self._background_px)

    @property
    def _background_px(self) -> int:
        return 2 * round((_BACKGROUND_PX / self.scale - 1) / 2) + 1

    def drawn(self, field: SplineField) -> tuple[Grey, Mask]:
        """Return the fixed image seen through ``H(x + base(x) + d(x))``, and where it has data."""
        rows, columns = field.planes()
        if self.base_yx is not None:
            rows += self.base_yx[..., 0]
            columns += self.base_yx[..., 1]
        rows += np.arange(rows.shape[0], dtype=np.float32)[:, None]
        columns += np.arange(rows.shape[1], dtype=np.float32)
        (xx, xy, x0), (yx, yy, y0), bottom = self.homography.astype(np.float32)
        x, y = xx * columns, yx * columns
        x += xy * rows
        x += x0
        y += yy * rows
        y += y0
        if bottom[0] or bottom[1]:
            depth = bottom[0] * columns + bottom[1] * rows + bottom[2]
            x /= depth
            y /= depth
        drawn = cv2.remap(self.soft, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(drawn), _inside(x, self.soft.shape[1]) & _inside(y, self.soft.shape[0])


def _inside(positions: Grey, length: int) -> Mask:
    low, high, _, _ = cv2.minMaxLoc(positions)
    if low >= 0 and high <= length - 1:
        return np.ones(positions.shape, dtype=np.bool_)
    return np.asarray((positions >= 0) & (positions <= length - 1))

