"""The z that is expected at a place, from the focus found so far, and whether to search for it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilescope.imaging.focus_surface import FocusSurface, fit_surface
from mobilescope.plans.scan_plans import FocusPlan

# Fewer points say too little about a surface.
_LEAST_POINTS = 6
_NEAREST = 8
# What a focus found may be off by, and how steep slides lie; without the second, the plane through points that are near
# each other would lead far away from them.
_NOISE_UM, _SLOPE = 0.5, 0.01


@dataclass(frozen=True)
class Search:
    """A search for the focus: how far around which z; ``centre_z_um`` is None where nothing is known."""

    centre_z_um: float | None
    half_range_um: float


class FocusKeeper:
    """Keeps the focus found on one slide, and predicts the rest.

    Parameters
    ----------
    plan : FocusPlan
        ``every``: the plane through the nearest points is expected. ``surface``: a surface fitted to all of them.
    """

    def __init__(self, plan: FocusPlan) -> None:
        self._plan = plan
        self._points: list[tuple[float, float, float]] = []
        self._surface: FocusSurface | None = None
        self._fitted = 0

    def add(self, x_um: float, y_um: float, z_um: float) -> None:
        """Remember a focus that was found."""
        self._points.append((x_um, y_um, z_um))

    @property
    def found(self) -> int:
        """How many places have a focus."""
        return len(self._points)

    def predict(self, x_um: float, y_um: float) -> float | None:
        """Return the expected z, or None before the first focus."""
        surface = self._fit()
        if surface is not None:
            return float(surface.predict(x_um, y_um)[0])
        return self._plane(x_um, y_um)

    def search(self, index: int, x_um: float, y_um: float, *, wanted: bool) -> Search | None:
        """Return the search to make at a tile, None where the prediction does.

        Parameters
        ----------
        index : int
            The tile's number in the walk.
        wanted : bool
            Whether this tile is a point of the surface, or is taken again.
        """
        plan = self._plan
        surface = self._fit()
        if surface is not None:
            z_um, sigma_um = (float(value) for value in surface.predict(x_um, y_um))
            if not wanted and sigma_um <= plan.tolerance_um:
                return None
            # Three standard deviations, but never less than a search needs nor more than the first one's.
            half_um = min(max(plan.half_range_um, 3 * sigma_um), plan.first_half_range_um)
            return Search(z_um, half_um)
        expected = self._plane(x_um, y_um)
        if expected is None:
            return Search(None, plan.first_half_range_um)
        if plan.mode == "surface":
            # Points far apart say little about each other: the slide may tilt by tens of micrometres between them.
            return Search(expected, plan.first_half_range_um)
        if wanted or index % plan.every == 0:
            return Search(expected, plan.half_range_um)
        return None

    def _fit(self) -> FocusSurface | None:
        if self._plan.mode != "surface" or len(self._points) < _LEAST_POINTS:
            return None
        if self._surface is None or self._fitted != len(self._points):
            self._surface = fit_surface(np.array(self._points), family=self._plan.surface)
            self._fitted = len(self._points)
        return self._surface

    def _plane(self, x_um: float, y_um: float) -> float | None:
        """Return the likeliest plane through the nearest points; while there are too few, the z of the nearest."""
        if not self._points:
            return None
        points = np.array(self._points)
        distance = np.hypot(points[:, 0] - x_um, points[:, 1] - y_um)
        near = points[np.argsort(distance)[:_NEAREST]]
        if len(near) < 4:
            return float(near[0, 2])
        middle = near.mean(axis=0)
        offset = near - middle
        normal = offset[:, :2].T @ offset[:, :2] + np.eye(2) * (_NOISE_UM / _SLOPE) ** 2
        slope = np.linalg.solve(normal, offset[:, :2].T @ offset[:, 2])
        return float(middle[2] + slope @ (np.array([x_um, y_um]) - middle[:2]))
