"""A surface through the z of focus at some places: the rest is predicted, with how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
# Residuals beyond so many robust standard deviations are no focus.
_OUTLIER = 4.0
_ROUNDS = 5
# Points for each coefficient before a quadratic is worth it.
_POINTS_FOR_QUADRATIC = 15


def choose_points(candidates_um: ArrayLike, count: int, *, start: int | None = None) -> NDArray[np.intp]:
    """Return the indices of ``count`` points far from each other, each the farthest from those before it.

    Parameters
    ----------
    candidates_um : array, shape (N, 2)
        Places as x, y.
    start : int, optional
        The first one; the nearest to the middle where it is None.
    """
    places = np.asarray(candidates_um, dtype=float)
    first = start if start is not None else int(np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1)))
    chosen = [first]
    distance = ((places - places[first]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(places)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


@dataclass(frozen=True, eq=False)
class FocusSurface:
    """A plane or quadratic with its uncertainty; places are scaled to their spread around ``centre_um``."""

    kind: str
    coefficients: Floats
    covariance: Floats
    centre_um: Floats
    scale_um: float
    outliers: NDArray[np.intp]

    def predict(self, x_um: ArrayLike, y_um: ArrayLike) -> tuple[Floats, Floats]:
        """Return z and its standard deviation at places, arrays or scalars."""
        x, y = np.asarray(x_um, dtype=float), np.asarray(y_um, dtype=float)
        design = _design(self.kind, (x - self.centre_um[0]) / self.scale_um, (y - self.centre_um[1]) / self.scale_um)
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        return design @ self.coefficients, np.sqrt(np.maximum(variance, 0))


def fit_surface(points_um: ArrayLike, *, sigma_um: float = 0.15) -> FocusSurface:
    """Fit a plane, or a quadratic where there are points enough, leaving out what lies far off.

    Parameters
    ----------
    points_um : array, shape (N, 3)
        Places and focus as x, y, z.
    sigma_um : float
        Standard deviation of a focus, the least that is assumed.
    """
    points = np.asarray(points_um, dtype=float)
    kind = "quadratic" if len(points) >= _POINTS_FOR_QUADRATIC else "plane"
    centre = points[:, :2].mean(axis=0)
    scale = max(1.0, float(np.abs(points[:, :2] - centre).max()))
    design = _design(kind, *((points[:, :2] - centre) / scale).T)
    kept = np.ones(len(points), dtype=bool)
    for _ in range(_ROUNDS):
        coefficients, *_rest = np.linalg.lstsq(design[kept], points[kept, 2], rcond=None)
        residual = np.abs(points[:, 2] - design @ coefficients)
        limit = _OUTLIER * max(sigma_um, 1.4826 * float(np.median(residual[kept])))
        inside = residual <= limit
        if (inside == kept).all() or inside.sum() <= design.shape[1]:
            break
        kept = inside
    freedom = max(1, int(kept.sum()) - design.shape[1])
    spread_um = max(sigma_um, float(np.sqrt((residual[kept] ** 2).sum() / freedom)))
    covariance = spread_um**2 * np.linalg.pinv(design[kept].T @ design[kept])
    return FocusSurface(kind, coefficients, covariance, centre, scale, np.flatnonzero(~kept))


def _design(kind: str, x: Floats, y: Floats) -> Floats:
    terms = [np.ones_like(x), x, y]
    if kind == "quadratic":
        terms += [x * x, x * y, y * y]
    return np.stack(terms, axis=-1)
