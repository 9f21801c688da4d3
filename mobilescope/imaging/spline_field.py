"""A smooth displacement field: a cubic B-spline sheet fitted to a grid of shifts of known certainty.

The fit weighs each shift by its 2×2 certainty and pays for curvature, so that places without texture are bridged. How
much it pays is inferred from the shifts themselves. All sums factor into rows and columns, and the system is banded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

FloatArray = NDArray[np.float64]

_OUTLIER_SIGMAS = 3.0
_OUTLIER_PX = 0.7
# Reach of a cubic B-spline over its neighbours, in knots.
_REACH = 3
# Keeps control points that no shift constrains solvable; far below any real certainty.
_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class SplineField:
    """A field of (row, column) displacements over an image.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the image.
    spacing_px : float
        Distance of the control points.
    coefficients : ndarray, shape (2, knot rows, knot columns), float64
    """

    shape: tuple[int, int]
    spacing_px: float
    coefficients: FloatArray

    @classmethod
    def zero(cls, shape: tuple[int, int], spacing_px: float) -> SplineField:
        """Return the field that moves nothing."""
        knots = [_knots(length, spacing_px) for length in shape]
        return cls(shape, spacing_px, np.zeros((2, *knots)))

    def enlarged(self, shape: tuple[int, int], by: float) -> SplineField:
        """Return the field over an image ``by`` times larger; right to half a pixel's change of displacement."""
        return SplineField(shape, self.spacing_px * by, self.coefficients * by)

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the row and the column displacement of every pixel, each (rows, columns), float32."""
        down, across = (
            _basis(np.arange(length, dtype=np.float64), count, self.spacing_px).astype(np.float32)
            for length, count in zip(self.shape, self.coefficients.shape[1:], strict=True)
        )
        rows, columns = (down @ plane.astype(np.float32) @ across.T for plane in self.coefficients)
        return rows, columns

    def dense(self) -> NDArray[np.float32]:
        """Return the displacement of every pixel, shape (rows, columns, 2), float32."""
        return np.stack(self.planes(), axis=-1)

    def at(self, points_yx: FloatArray) -> FloatArray:
        """Return the displacement at points (..., 2) as (..., 2)."""
        (row, row_weights), (column, column_weights) = (
            _pieces(points_yx[..., axis], self.coefficients.shape[1 + axis], self.spacing_px) for axis in (0, 1)
        )
        near = np.arange(4)
        patch = self.coefficients[:, (row[..., None] + near)[..., :, None], (column[..., None] + near)[..., None, :]]
        return np.einsum("c...ij,...i,...j->...c", patch, row_weights, column_weights)


@dataclass(frozen=True, eq=False)
class FieldFit:
    """A fitted field, the trust (0-1) left in each shift, and the stiffness that was chosen."""

    field: SplineField
    trust: FloatArray
    stiffness: float


class FieldFitter:
    """Fits fields to shifts on one grid of centres; what does not depend on the shifts is worked out once.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    spacing_px : float
        Distance of the control points.
    rows_px, columns_px : ndarray, shape (grid rows,) and (grid columns,), float64
        Where the grid's centres lie.
    """

    def __init__(self, shape: tuple[int, int], spacing_px: float, rows_px: FloatArray, columns_px: FloatArray) -> None:
        self._shape, self._spacing_px = shape, spacing_px
        self._rows_px, self._columns_px = rows_px, columns_px
        self._knots = (_knots(shape[0], spacing_px), _knots(shape[1], spacing_px))
        self._down = _basis(rows_px, self._knots[0], spacing_px)
        self._across = _basis(columns_px, self._knots[1], spacing_px)
        self._down_products = [_products(self._down, lag) for lag in range(_REACH + 1)]
        self._across_products = [_products(self._across, lag) for lag in range(-_REACH, _REACH + 1)]
        self._penalty = self._band({(0, 0): (plane := self._bending()), (1, 1): plane, (0, 1): np.zeros_like(plane)})

    @property
    def knots(self) -> tuple[int, int]:
        """Rows and columns of control points."""
        return self._knots

    def on_grid(self, field: SplineField) -> FloatArray:
        """Return a field's displacement at the grid's centres, shape (grid rows, grid columns, 2)."""
        if field.coefficients.shape[1:] == self._knots and field.spacing_px == self._spacing_px:
            return np.stack([self._down @ plane @ self._across.T for plane in field.coefficients], axis=-1)
        return field.at(np.stack(np.meshgrid(self._rows_px, self._columns_px, indexing="ij"), axis=-1))

    def fit(
        self, shifts: FloatArray, certainty: FloatArray, trust: FloatArray, *, stiffness: Sequence[float]
    ) -> FieldFit:
        """Fit a field to shifts.

        Parameters
        ----------
        shifts : ndarray, shape (grid rows, grid columns, 2), float64
            Displacement measured at each centre, (row, column) in pixels.
        certainty : ndarray, shape (grid rows, grid columns, 2, 2), float64
            Inverse covariance of each shift, 1/px²; zero where nothing was measured.
        trust : ndarray, shape (grid rows, grid columns), float64, 0-1
            What each certainty is multiplied by.
        stiffness : sequence of float
            Prices of the integral of the squared second derivatives, inverse of its expected size per freedom, in
            ascending order. Of several, the one for which these shifts are the most probable is taken.
        """
        chosen, solution = self._most_probable(self._evidence(shifts, certainty, trust), stiffness)
        coefficients = np.moveaxis(solution.reshape(*self._knots, 2), -1, 0)
        field = SplineField(self._shape, self._spacing_px, np.ascontiguousarray(coefficients))
        residual = shifts - self.on_grid(field)
        distance = np.sqrt(np.maximum(np.einsum("rci,rcij,rcj->rc", residual, certainty, residual), 0.0))
        measured = certainty[..., 0, 0] + certainty[..., 1, 1] > 0
        limit = max(_OUTLIER_SIGMAS * float(np.median(distance[measured])) if measured.any() else 0.0, 1e-9)
        # A shift is an outlier if it is surely and by far off: a field too stiff for a corner must not talk it away.
        excess = np.minimum(distance / limit, np.linalg.norm(residual, axis=-1) / _OUTLIER_PX)
        return FieldFit(field, 1.0 / (1.0 + excess**2) ** 2, chosen)

    def _most_probable(
        self, evidence: tuple[FloatArray, FloatArray, float], candidates: Sequence[float]
    ) -> tuple[float, FloatArray]:
        """Return the stiffness for which the shifts are the most probable, and the control points for it."""
        solved: dict[int, tuple[FloatArray, float]] = {}

        def cost(index: int) -> float:
            if not 0 <= index < len(candidates):
                return float("inf")
            if index not in solved:
                solved[index] = self._solved(evidence, candidates[index])[:2]
            return solved[index][1]

        # The cost has one valley: walk down from the middle.
        best = len(candidates) // 2
        while cost(beside := min((best - 1, best + 1), key=cost)) < cost(best):
            best = beside
        return candidates[best], solved[best][0]

    def error_samples(
        self, certainty: FloatArray, trust: FloatArray, *, stiffness: float, count: int, seed: int
    ) -> FloatArray:
        """Draw by how much the fitted field may err at the centres, if the certainties are right.

        Returns
        -------
        ndarray, shape (count, grid rows, grid columns, 2), float64
        """
        _, _, factor = self._solved(self._evidence(np.zeros(certainty.shape[:3]), certainty, trust), stiffness)
        noise = np.random.default_rng(seed).standard_normal((factor.shape[1], count))
        drawn, _ = linalg.lapack.dtbtrs(factor, noise, uplo="L", trans="T")
        knots = np.moveaxis(drawn.reshape(*self._knots, 2, count), -1, 0)
        return np.stack([self._down @ knots[..., axis] @ self._across.T for axis in (0, 1)], axis=-1)

    def _evidence(
        self, shifts: FloatArray, certainty: FloatArray, trust: FloatArray
    ) -> tuple[FloatArray, FloatArray, float]:
        """Return the system's part that does not depend on the stiffness, its right side, and the shifts' energy."""
        trusted = certainty * trust[..., None, None]
        system = self._band({
            (first, second): self._gram(trusted[..., first, second]) for first, second in ((0, 0), (0, 1), (1, 1))
        })
        system[0] += _RIDGE
        pulled = np.einsum("rcij,rcj->rci", trusted, shifts)
        right = np.stack([self._down.T @ pulled[..., axis] @ self._across for axis in (0, 1)], axis=-1).ravel()
        return system, right, float((pulled * shifts).sum())

    def _solved(
        self, evidence: tuple[FloatArray, FloatArray, float], stiffness: float
    ) -> tuple[FloatArray, float, FloatArray]:
        """Return the control points, the cost by which stiffnesses are compared, and the Cholesky factor."""
        system, right, energy = evidence
        factor = linalg.cholesky_banded(
            stiffness * self._penalty + system, lower=True, check_finite=False, overwrite_ab=True
        )
        solution = linalg.cho_solve_banded((factor, True), right, check_finite=False)
        # Minus twice the logarithm of the evidence for this stiffness; affine fields cost nothing to bend.
        bent = 2 * (self._knots[0] * self._knots[1] - 3)
        cost = energy - float(right @ solution) + 2 * float(np.log(factor[0]).sum()) - bent * float(np.log(stiffness))
        return solution, cost, factor

    def _gram(self, weight: FloatArray) -> FloatArray:
        """Return sums of weighted products of basis functions (row lag 0..3, column lag -3..3, knot, knot)."""
        return np.array([
            [down @ weight @ across.T for across in self._across_products] for down in self._down_products
        ])

    def _bending(self) -> FloatArray:
        """Return the bending energy's quadratic form over control points, laid out as by ``_gram``."""
        (same_y, first_y, second_y), (same_x, first_x, second_x) = (
            [(step := np.diff(np.eye(count), n=order, axis=0)).T @ step for order in range(3)] for count in self._knots
        )

        def lagged(rows: FloatArray, columns: FloatArray) -> FloatArray:
            return np.array([
                [np.outer(_diagonal(rows, lag), _diagonal(columns, side)) for side in range(-_REACH, _REACH + 1)]
                for lag in range(_REACH + 1)
            ])

        energy = lagged(second_y, same_x) + lagged(same_y, second_x) + 2 * lagged(first_y, first_x)
        # Differences over one spacing are second derivatives times spacing²; each knot stands for spacing² of area.
        return energy / self._spacing_px**2

    def _band(self, parts: dict[tuple[int, int], FloatArray]) -> FloatArray:
        """Lay the parts (yy, yx, xx) out as a lower banded matrix over (knot row, knot column, y or x)."""
        rows, columns = self._knots
        band = np.zeros((2 * (_REACH * columns + _REACH) + 2, rows, columns, 2))
        for (first, second), part in parts.items():
            for lag in range(_REACH + 1):
                for side in range(-_REACH, _REACH + 1):
                    for source, target in {(first, second), (second, first)}:
                        offset = 2 * (lag * columns + side) + target - source
                        if offset >= 0:
                            band[offset, :, :, source] += part[lag, side + _REACH]
        return band.reshape(len(band), -1)


def _knots(length: int, spacing_px: float) -> int:
    return max(1, int(np.ceil((length - 1) / spacing_px))) + 3


def _pieces(positions: FloatArray, knots: int, spacing_px: float) -> tuple[NDArray[np.int_], FloatArray]:
    """Return each position's first knot and the weights (..., 4) of the four; the end pieces continue outside."""
    scaled = np.asarray(positions, dtype=np.float64) / spacing_px
    cell = np.clip(np.floor(scaled).astype(np.int_), 0, knots - 4)
    t = scaled - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1)
    return cell, weights / 6


def _basis(positions: FloatArray, knots: int, spacing_px: float) -> FloatArray:
    """Return the uniform cubic B-splines at positions (N,), shape (N, knots)."""
    cell, weights = _pieces(positions, knots, spacing_px)
    basis = np.zeros((len(cell), knots))
    np.put_along_axis(basis, cell[:, None] + np.arange(4), weights, axis=1)
    return basis


def _shifted(matrix: FloatArray, lag: int) -> FloatArray:
    """Return the matrix with column k + lag in place of column k, zeros where there is none."""
    moved = np.zeros_like(matrix)
    count = matrix.shape[1]
    moved[:, max(-lag, 0) : count - max(lag, 0)] = matrix[:, max(lag, 0) : count - max(-lag, 0)]
    return moved


def _products(basis: FloatArray, lag: int) -> FloatArray:
    """Return, per knot k, the product of functions k and k + lag at each position, shape (knots, positions)."""
    return (basis * _shifted(basis, lag)).T.copy()


def _diagonal(matrix: FloatArray, lag: int) -> FloatArray:
    """Return the entries (k, k + lag) of a square matrix, zeros where there is none, shape (k,)."""
    return np.diagonal(_shifted(matrix, lag)).copy()
