"""Fits the affine between a stage's axes and the image from moves and the shifts that they made. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StageAffine:
    """How the view moves when the stage does.

    Attributes
    ----------
    px_per_um : ndarray, shape (2, 2)
        Takes a move of the device (x, y) in µm into the view's displacement (x right, y down) in pixels.
    residual_px : float
        Root mean square distance between fitted and measured displacements.
    worst_px : float
        The greatest of these distances.
    pixel_size_error : float
        Standard error of the pixel size over itself.
    """

    px_per_um: FloatArray
    residual_px: float
    worst_px: float
    pixel_size_error: float

    @property
    def pixel_size_um(self) -> float:
        """Pixel pitch: the side of the square that has the area of the stage's parallelogram for one pixel."""
        return float(abs(np.linalg.det(self.px_per_um)) ** -0.5)

    @property
    def device_to_stage(self) -> FloatArray:
        """The matrix, shape (2, 2), from the device's µm to the stage frame's; its determinant is 1 or -1."""
        return self.px_per_um * self.pixel_size_um

    @property
    def rotation_deg(self) -> float:
        """By how much the device's x axis is turned from the image's, x towards y."""
        return float(np.degrees(np.arctan2(self.px_per_um[1, 0], self.px_per_um[0, 0])))

    @property
    def mirrored(self) -> bool:
        """Whether the image is mirrored against the stage."""
        return bool(np.linalg.det(self.px_per_um) < 0)

    @property
    def shear_deg(self) -> float:
        """By how much the angle between the device's axes, as the image shows them, differs from a right one."""
        x_axis, y_axis = self.px_per_um.T
        cosine = float(x_axis @ y_axis / (np.linalg.norm(x_axis) * np.linalg.norm(y_axis)))
        return float(np.degrees(np.arcsin(np.clip(cosine, -1, 1))))


def fit_stage_affine(moves_um: ArrayLike, shifts_px: ArrayLike) -> StageAffine:
    """Fit ``shift = A move + t`` by least squares; ``t`` takes the error of the picture that all are held against.

    Parameters
    ----------
    moves_um : array_like, shape (moves, 2)
        Moves of the device from the reference, (x, y) in µm.
    shifts_px : array_like, shape (moves, 2)
        Displacement of the view against the reference, (x right, y down) in pixels.

    Raises
    ------
    ValueError
        Fewer than four moves, moves on one line, or a view that doesn't follow both axes.
    """
    moves, shifts = np.asarray(moves_um, dtype=np.float64), np.asarray(shifts_px, dtype=np.float64)
    if moves.shape != shifts.shape or moves.ndim != 2 or moves.shape[1:] != (2,) or len(moves) < 4:
        raise ValueError(f"four or more moves with their shifts are needed, got {moves.shape} and {shifts.shape}")
    design = np.column_stack([moves, np.ones(len(moves))])
    if np.linalg.matrix_rank(design, tol=1e-6 * np.abs(moves).max()) < 3:
        raise ValueError("the moves lie on one line")
    solution, *_ = np.linalg.lstsq(design, shifts, rcond=None)
    px_per_um: FloatArray = solution[:2].T.astype(np.float64)
    if abs(np.linalg.det(px_per_um)) < 0.05 * np.linalg.norm(px_per_um) ** 2:
        raise ValueError("the view does not follow both axes")
    distance = np.hypot(*(shifts - design @ solution).T)
    variance = float(np.sum(distance**2)) / (2 * len(moves) - 6)
    covariance = variance * np.linalg.inv(design.T @ design)[:2, :2]
    # The pixel size is |det A|^-1/2, and the gradient of log |det A| is the inverse, transposed.
    gradient = np.linalg.inv(px_per_um).T
    error = 0.5 * float(np.sqrt(np.einsum("ki,ij,kj->", gradient, covariance, gradient)))
    return StageAffine(px_per_um, float(np.sqrt(np.mean(distance**2))), float(distance.max()), error)
