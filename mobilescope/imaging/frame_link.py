"""The link between two stages' frames over one slide: an affine in µm with what is known of it. Pure functions.

Every place seen on both instruments makes it surer; how far it can be off at a place follows from its covariance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.core.geometry import Affine

FloatArray = NDArray[np.float64]
Point = tuple[float, float]

# One standard deviation of what a person points at, of what a registered pair shows (the stages' own errors), and of
# a link that nobody measured: the shift, and the turn and stretch.
POINTED_UM, PAIRED_UM = 25.0, 6.0
_NOMINAL_SHIFT_UM, _NOMINAL_LINEAR = 14.0, 0.004
# A slide that was taken off and put back.
_REMOUNTED_SHIFT_UM, _REMOUNTED_LINEAR = 60.0, 0.02
_LEAST_POINTS = 3
_MOST_RESIDUAL = 0.1
_SCALES = (0.5, 2.0)


@dataclass(frozen=True)
class LinkPoint:
    """One place in both frames, (x, y) in µm, and the standard deviation of their agreement."""

    phone_um: Point
    benchtop_um: Point
    sigma_um: float = PAIRED_UM


@dataclass(frozen=True, eq=False)
class FrameLink:
    """Where the phone scope's stage frame lies in the benchtop's.

    Attributes
    ----------
    to_benchtop : Affine
        Takes the phone's (x, y) to the benchtop's, both in µm.
    centre_um : tuple of float
        The place in the phone's frame that the covariance is about.
    covariance : ndarray, shape (3, 3)
        Of (linear part along x, along y, shift), the same for both of the benchtop's axes.
    points : tuple of LinkPoint
        What it rests on; none for a link that is taken for granted.
    """

    to_benchtop: Affine
    centre_um: Point
    covariance: FloatArray
    points: tuple[LinkPoint, ...] = ()

    @classmethod
    def nominal(cls, centre_um: Point = (0.0, 0.0)) -> Self:
        """Return the link of two instruments whose frames are said to be one."""
        return cls(Affine.identity(), centre_um, _spread(_NOMINAL_SHIFT_UM, _NOMINAL_LINEAR))

    @classmethod
    def through(cls, points: tuple[LinkPoint, ...]) -> Self:
        """Return the link through three or more places: a turn, a shift, a scale, and a mirroring where there is one.

        Raises
        ------
        UserError
            Too few places, places on a line, or such that contradict each other.
        """
        if len(points) < _LEAST_POINTS:
            raise UserError(
                f"a link needs {_LEAST_POINTS} places that are seen on both instruments, got {len(points)}",
                "give --link x1,y1=X1,Y1 three times, far from each other",
            )
        phone = np.array([point.phone_um for point in points])
        benchtop = np.array([point.benchtop_um for point in points])
        centre = phone.mean(axis=0)
        reach = np.linalg.svd(phone - centre, compute_uv=False) / math.sqrt(len(points))
        if reach[1] < 0.05 * max(float(reach[0]), 1e-9):
            raise UserError("the places of the link lie on one line", "choose three that make a triangle")
        to_benchtop = min(
            (_similarity(phone, benchtop, mirrored) for mirrored in (False, True)),
            key=lambda fitted: _rms(fitted.apply(phone) - benchtop),
        )
        scale = math.sqrt(abs(float(np.linalg.det(to_benchtop.matrix[:, :2]))))
        if not _SCALES[0] < scale < _SCALES[1]:
            raise UserError(
                f"between the places of the link the benchtop moves {scale:.3g} times as far as the phone scope",
                "give both in micrometres, and check each number",
            )
        residual = _rms(to_benchtop.apply(phone) - benchtop)
        pointed = max(point.sigma_um for point in points)
        if residual > max(_MOST_RESIDUAL * float(reach[0]), 2 * pointed):
            raise UserError(
                f"the places of the link contradict each other by {residual:.0f} µm", "check each number"
            )
        about = np.column_stack([phone - centre, np.ones(len(points))])
        covariance = max(residual, pointed) ** 2 * np.linalg.inv(about.T @ about)
        return cls(to_benchtop, (float(centre[0]), float(centre[1])), covariance, points)

    def improved(self, point: LinkPoint) -> FrameLink:
        """Return the link with one more place, weighed against what was known before."""
        about = self._about(point.phone_um)
        against = self.covariance @ about
        gain = against / (about @ against + point.sigma_um**2)
        missed = np.asarray(point.benchtop_um) - self.to_benchtop.apply(point.phone_um)
        correction = np.outer(missed, gain)
        linear = self.to_benchtop.matrix[:, :2] + correction[:, :2]
        shift = self.to_benchtop.apply(self.centre_um) + correction[:, 2] - linear @ self.centre_um
        covariance = self.covariance - np.outer(gain, against)
        return replace(
            self, to_benchtop=Affine(np.column_stack([linear, shift])), covariance=(covariance + covariance.T) / 2,
            points=(*self.points, point),
        )

    def loosened(self) -> FrameLink:
        """Return what is left of the link once the slide may have been taken off and put back."""
        return replace(self, covariance=self.covariance + _spread(_REMOUNTED_SHIFT_UM, _REMOUNTED_LINEAR))

    def on_benchtop(self, phone_um: Point) -> Point:
        """Return a place of the phone's frame in the benchtop's."""
        x, y = self.to_benchtop.apply(phone_um)
        return float(x), float(y)

    def on_phone(self, benchtop_um: Point) -> Point:
        """Return a place of the benchtop's frame in the phone's."""
        x, y = self.to_benchtop.inverse().apply(benchtop_um)
        return float(x), float(y)

    def sigma_um(self, phone_um: Point) -> float:
        """Return how far, one standard deviation along an axis, a field sent there may lie from where it should."""
        about = self._about(phone_um)
        return math.sqrt(float(about @ self.covariance @ about) + PAIRED_UM**2)

    @property
    def residual_um(self) -> float:
        """Root mean square distance of the places from the link; not a number where it rests on none."""
        if not self.points:
            return math.nan
        phone = np.array([point.phone_um for point in self.points])
        return _rms(self.to_benchtop.apply(phone) - np.array([point.benchtop_um for point in self.points]))

    @property
    def turn_deg(self) -> float:
        """By how much the phone's x axis is turned in the benchtop's frame, x towards y."""
        return math.degrees(math.atan2(self.to_benchtop.matrix[1, 0], self.to_benchtop.matrix[0, 0]))

    @property
    def mirrored(self) -> bool:
        """Whether one of the frames is mirrored against the other."""
        return bool(np.linalg.det(self.to_benchtop.matrix[:, :2]) < 0)

    def _about(self, phone_um: Point) -> FloatArray:
        return np.array([phone_um[0] - self.centre_um[0], phone_um[1] - self.centre_um[1], 1.0])


def _spread(shift_um: float, linear: float) -> FloatArray:
    return np.diag([linear**2, linear**2, shift_um**2])


def _rms(away: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.sum(away**2, axis=-1))))


def _similarity(source: FloatArray, target: FloatArray, mirrored: bool) -> Affine:
    """Return the turn, scale and shift that takes points to others with the least squares, mirrored or not."""
    flip = np.diag([1.0, -1.0 if mirrored else 1.0])
    centre, aim = source.mean(axis=0), target.mean(axis=0)
    x, y = ((source - centre) @ flip).T
    u, v = (target - aim).T
    power = float(x @ x + y @ y)
    cos, sin = float(u @ x + v @ y) / power, float(v @ x - u @ y) / power
    linear = np.array([[cos, -sin], [sin, cos]]) @ flip
    return Affine(np.column_stack([linear, aim - linear @ centre]))
