"""A stage and a light without devices."""

from __future__ import annotations

from mobilescope.core.errors import LimitError
from mobilescope.core.protocols import LightState, PositionUm


class SoftwareStage:
    """A stage without a device: stands exactly where it is sent, refuses to leave its range, remembers its moves."""

    def __init__(self, xy_limit_um=30_000.0, z_limits_um=(-300.0, 300.0)):
        self._limit_um, self._z_limits_um = xy_limit_um, z_limits_um
        self._at = PositionUm(0.0, 0.0, 0.0)
        self.z_visited = []

    def move_xy(self, x_um, y_um):
        if not max(abs(x_um), abs(y_um)) <= self._limit_um:
            raise LimitError(f"({x_um}, {y_um}) lies outside the stage's range")
        self._at = PositionUm(x_um, y_um, self._at.z_um)

    def move_z(self, z_um):
        low, high = self._z_limits_um
        if not low <= z_um <= high:
            raise LimitError(f"z = {z_um} lies outside the stage's range")
        self._at = PositionUm(self._at.x_um, self._at.y_um, z_um)
        self.z_visited.append(z_um)

    def position(self):
        return self._at

    def z_range_um(self):
        return self._z_limits_um

    def xy_range_um(self):
        return (-self._limit_um, self._limit_um), (-self._limit_um, self._limit_um)

    def describe(self):
        return "software stage"


class SoftwareRing:
    """A light without a board: shows what it is told."""

    def __init__(self):
        self.off()

    def set_colour(self, red, green, blue, brightness=1.0):
        lit = brightness > 0 and max(red, green, blue) > 0
        self._state = LightState(lit, red, green, blue, brightness, source="software ring")

    def off(self):
        self._state = LightState(False, 0, 0, 0, 0.0, source="software ring")

    def state(self):
        return self._state
