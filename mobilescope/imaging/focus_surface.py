"""A surface through the z of focus at some places: the rest is predicted, with how far to trust it.

The model is a plane plus a smooth Gaussian process (Rasmussen & Williams 2006, sections 2.2, 2.7 and 5.4.2), which
becomes the plane alone where the points show no warp. Its smoothness and strength, the noise and the points that are
no focus are chosen together, by the likelihood of the points kept and a fixed price for each one left out. A plane, a
quadratic and thin plates are processes too, and are fitted, tested and predicted in the same way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
SurfaceKind = Literal["gaussian process", "plane", "quadratic", "thin plates"]
# Leave-one-out residuals beyond so many standard deviations are no focus.
_OUTLIER = 4.0
# Of the points, how many may be left out.
_MOST_OUTLIERS = 1 / 3
# Logarithm of the chance of a wrong point, one in ten, spread over 30 µm.
_OUTLIER_PRICE = float(np.log(0.1 / 30))
_LENGTHS = (0.15, 0.25, 0.4, 0.7)  # of the larger side of the region
# Standard deviations in µm and lengths in scaled places, two to the larger side, that a warp may have.
_WARPS: dict[SurfaceKind, list[tuple[float, float]]] = {
    "gaussian process": list(product((0.3, 0.7, 1.5, 3.0, 6.0), (2 * part for part in _LENGTHS))),
    "plane": [],
    "quadratic": list(product((1.0, 10.0, 100.0), [1.0])),
    "thin plates": list(product((1.0, 3.0, 10.0, 30.0), [1.0])),
}
_PLATE_REACH = 4.0  # in scaled places, of which no two in the region are farther apart than 2.83
_NOISES = (1.0, 2.0, 4.0)  # times the noise that the caller expects
_PLANE_UM = 100.0  # standard deviation of offset and tilt: next to nothing is known of them; more costs digits
_MOST_FOR_CHOICE = 50
_LEAST_KEPT = 5


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


@dataclass(frozen=True)
class _Model:
    """Standard deviation and length of the warp, and the noise of a point; the length in scaled places."""

    warp_um: float
    length: float
    noise_um: float
    family: SurfaceKind

    def covariance(self, first: Floats, second: Floats) -> Floats:
        """Return the covariance of the surface between places of shape (N, 2) and (M, 2), µm²."""
        plane = _PLANE_UM**2 * (1 + first @ second.T)
        if self.warp_um == 0:
            return np.asarray(plane)
        if self.family == "quadratic":
            return np.asarray(plane + self.warp_um**2 * (first @ second.T) ** 2)
        squared = ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=-1)
        warp = _thin_plates(squared) if self.family == "thin plates" else np.exp(-squared / (2 * self.length**2))
        return np.asarray(plane + self.warp_um**2 * warp)

    def variance(self, places: Floats) -> Floats:
        """Return the variance of the surface, before any point is known, at places of shape (N, 2), µm²."""
        squared = (places**2).sum(axis=1)
        warp = squared**2 if self.family == "quadratic" else np.ones(len(places))
        return np.asarray(_PLANE_UM**2 * (1 + squared) + self.warp_um**2 * warp)


def _thin_plates(squared: Floats) -> Floats:
    """Return the correlation that bends least (Williams & Fitzgibbon 2007), for squared distances up to its reach."""
    reach = _PLATE_REACH**2
    near = np.clip(squared, 1e-12, reach)
    return np.asarray((near * np.log(near / reach) - near + reach) / reach)


@dataclass(frozen=True, eq=False)
class FocusSurface:
    """A surface with its uncertainty, made by `fit_surface`.

    Attributes
    ----------
    points_um : ndarray, shape (N, 3)
        All the points that it was fitted to, as x, y, z.
    outliers : ndarray of int
        Indices of the points left out.
    cross_validated_um : float
        Root mean square of what the kept points differ from the surface through the others.
    """

    points_um: Floats
    outliers: NDArray[np.intp]
    warp_um: float
    length_um: float
    noise_um: float
    cross_validated_um: float
    family: SurfaceKind = "gaussian process"

    def __post_init__(self) -> None:
        """Solve for the weights of the points, once."""
        kept = np.delete(self.points_um, self.outliers, axis=0)
        centre, scale = _frame(self.points_um)
        model = _Model(self.warp_um, self.length_um / scale, self.noise_um, self.family)
        places = (kept[:, :2] - centre) / scale
        inverse = _inverse(model, places)
        offset = float(np.median(kept[:, 2]))
        weights = inverse @ (kept[:, 2] - offset)
        object.__setattr__(self, "_solved", (centre, scale, model, places, inverse, offset, weights))

    @property
    def kind(self) -> str:
        """The family, or ``"plane"`` where the points show no more."""
        return self.family if self.warp_um > 0 else "plane"

    def predict(self, x_um: ArrayLike, y_um: ArrayLike) -> tuple[Floats, Floats]:
        """Return z and its standard deviation at places, arrays or scalars; in µm."""
        centre, scale, model, places, inverse, offset, weights = self.__dict__["_solved"]
        x, y = np.broadcast_arrays(np.asarray(x_um, dtype=float), np.asarray(y_um, dtype=float))
        wanted = (np.column_stack([x.ravel(), y.ravel()]) - centre) / scale
        cross = model.covariance(wanted, places)
        variance = model.variance(wanted) - np.einsum("ij,jk,ik->i", cross, inverse, cross)
        z_um = cross @ weights + offset
        return z_um.reshape(x.shape), np.sqrt(np.maximum(variance, 0)).reshape(x.shape)

    def to_json(self) -> str:
        """Return all of it as JSON text."""
        return json.dumps(
            {
                "points_um": self.points_um.tolist(), "outliers": self.outliers.tolist(), "warp_um": self.warp_um,
                "length_um": self.length_um, "noise_um": self.noise_um, "cross_validated_um": self.cross_validated_um,
                "family": self.family,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FocusSurface:
        """Return the surface that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["points_um"] = np.array(values["points_um"], dtype=float).reshape(-1, 3)
        values["outliers"] = np.array(values["outliers"], dtype=np.intp)
        return cls(**values)


def fit_surface(
    points_um: ArrayLike, *, sigma_um: float = 0.15, family: SurfaceKind = "gaussian process"
) -> FocusSurface:
    """Fit a plane with as much smooth warp as the points show, leaving out those that are no focus.

    Parameters
    ----------
    points_um : array, shape (N, 3)
        Places and focus as x, y, z; at least one.
    sigma_um : float
        Standard deviation of a focus, the least that is assumed.
    family : str
        What the warp may be: a Gaussian process unless given, a quadratic, thin plates, or none (a plane).

    Raises
    ------
    ValueError
        There are no points, or not of three numbers each.
    """
    points = np.asarray(points_um, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"a surface needs points of x, y and z, got an array of shape {points.shape}")
    centre, scale = _frame(points)
    places = (points[:, :2] - centre) / scale
    z = points[:, 2] - np.median(points[:, 2])
    # Many points are dear to try and say no more about smoothness than some of them.
    few = choose_points(places, _MOST_FOR_CHOICE) if len(points) > _MOST_FOR_CHOICE else np.arange(len(points))
    best, model, kept_few = -np.inf, _Model(0.0, 1.0, sigma_um, family), np.ones(len(few), dtype=bool)
    for (warp_um, length), noise in product([(0.0, 1.0), *_WARPS[family]], _NOISES):
        candidate = _Model(warp_um, length, noise * sigma_um, family)
        score, kept = _without_outliers(candidate, places[few], z[few])
        if score > best:
            best, model, kept_few = score, candidate, kept
    outliers = few[~kept_few]
    if len(few) < len(points):
        first = FocusSurface(points[few], np.flatnonzero(~kept_few), model.warp_um, model.length * scale,
                             model.noise_um, 0.0, family)
        predicted, deviation = first.predict(points[:, 0], points[:, 1])
        far = np.abs(points[:, 2] - predicted) > _OUTLIER * np.hypot(deviation, model.noise_um)
        far[few] = ~kept_few
        outliers = np.flatnonzero(far)
    kept_all = np.setdiff1d(np.arange(len(points)), outliers)
    residual, _ = _left_out(_inverse(model, places[kept_all]), z[kept_all])
    return FocusSurface(
        points, np.sort(outliers), model.warp_um, model.length * scale, model.noise_um,
        float(np.sqrt(np.mean(residual**2))), family,
    )


def next_point(surface: FocusSurface, candidates_um: ArrayLike) -> int:
    """Return the index of the place, of those in ``candidates_um`` of shape (N, 2), that is known least."""
    places = np.asarray(candidates_um, dtype=float)
    return int(np.argmax(surface.predict(places[:, 0], places[:, 1])[1]))


def _frame(points: Floats) -> tuple[Floats, float]:
    """Return the centre of the places and half the larger side of their region."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return (low + high) / 2, max(1.0, float((high - low).max()) / 2)


def _inverse(model: _Model, places: Floats) -> Floats:
    return np.asarray(np.linalg.inv(model.covariance(places, places) + model.noise_um**2 * np.eye(len(places))))


def _left_out(inverse: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Return each point's residual from the surface through the others, and its standard deviation."""
    diagonal = np.maximum(np.diag(inverse), 1e-12)
    return inverse @ z / diagonal, 1 / np.sqrt(diagonal)


def _without_outliers(model: _Model, places: Floats, z: Floats) -> tuple[float, NDArray[np.bool_]]:
    """Leave out the worst point until none is far off; return the score of the rest, and which are kept."""
    kept = np.ones(len(z), dtype=bool)
    while True:
        inverse = _inverse(model, places[kept])
        residual, deviation = _left_out(inverse, z[kept])
        off = np.abs(residual) / deviation
        left_out = int((~kept).sum())
        most = min(int(_MOST_OUTLIERS * len(z)), len(z) - _LEAST_KEPT)
        if off.max() <= _OUTLIER or left_out >= most:
            break
        kept[np.flatnonzero(kept)[off.argmax()]] = False
    log_determinant = -np.linalg.slogdet(inverse)[1]
    likelihood = -0.5 * (z[kept] @ inverse @ z[kept] + log_determinant + kept.sum() * np.log(2 * np.pi))
    # What is left far off costs as well.
    return float(likelihood + left_out * _OUTLIER_PRICE), kept
