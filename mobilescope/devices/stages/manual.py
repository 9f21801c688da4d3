"""A stage that a person moves: asked to, and followed by what the camera sees."""

from __future__ import annotations

import math
from collections.abc import Callable

from mobilescope.core.errors import ConfigError, DeviceError
from mobilescope.core.protocols import PositionUm
from mobilescope.core.stage_config import Axis, Range, StageConfig
from mobilescope.core.stage_limits import check_within

Follow = Callable[[], tuple[float, float] | None]

# One request's length as a part of the field: what is in both pictures tells how far the stage went.
_REACH = 0.4
_TOLERANCE = 0.05
_MOST_LOST = 3
_MOST_REQUESTS = 200


class ManualStage:
    """A stage moved by hand. Implements `XYZStage` and `BoundedStage`.

    The position is (0, 0, 0) where the stage is first used. x and y are followed in the pictures; z is what the person
    was asked for, since a picture does not tell it.

    Parameters
    ----------
    ask : callable
        Shows a request and returns when the person has done it.
    follow : callable
        Returns how far the view went since the call before, (x, y) in µm, None where it can't be told.
    config : StageConfig
        Limits in the stage frame.
    field_um : tuple of float
        Width and height of the picture at the specimen.

    Raises
    ------
    ConfigError
        A limit is missing.
    """

    def __init__(
        self, ask: Callable[[str], None], follow: Follow, config: StageConfig, field_um: tuple[float, float]
    ) -> None:
        self._ask, self._follow = ask, follow
        self._reach_um = (_REACH * field_um[0], _REACH * field_um[1])
        self._tolerance_um = _TOLERANCE * min(field_um)
        self._at = [0.0, 0.0]
        self._z_um = 0.0
        self._limits_um: dict[Axis, Range] = {}
        for axis, limits in config.limits_um().items():
            if limits is None:
                raise ConfigError(
                    f"the manual stage has no limits in {axis}",
                    f"give {axis}_limits_um in the instrument file's [stage]",
                )
            self._limits_um[axis] = limits
        self._follow()

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Have the person move the slide, in ways that the pictures can follow, until it is there.

        Raises
        ------
        LimitError
            The target lies outside the limits.
        DeviceError
            The pictures can't be followed any more, so that nobody knows where the stage is; or it did not get there.
        """
        check_within("x", x_um, self._limits_um["x"])
        check_within("y", y_um, self._limits_um["y"])
        lost = 0
        for _ in range(_MOST_REQUESTS):
            left = (x_um - self._at[0], y_um - self._at[1])
            if math.hypot(*left) <= self._tolerance_um:
                return
            shrink = min(1.0, *(reach / abs(way) for reach, way in zip(self._reach_um, left, strict=True) if way))
            self._ask(f"move the view by {_words(left[0] * shrink, left[1] * shrink)}")
            if self._look():
                lost = 0
                continue
            lost += 1
            if lost > _MOST_LOST:
                raise DeviceError(
                    "the picture shows nothing of the last place, so the position is lost",
                    "go back to a known place and start again, on a place with structure",
                )
            self._ask("go back until part of the last picture is seen again, in focus")
            self._look()
        raise DeviceError(
            f"the stage is not at ({x_um:.0f}, {y_um:.0f}) µm after {_MOST_REQUESTS} requests", "check the pixel size"
        )

    def move_z(self, z_um: float) -> None:
        """Have the person turn the focus."""
        check_within("z", z_um, self._limits_um["z"])
        if z_um != self._z_um:
            self._ask(f"turn the focus {'up' if z_um > self._z_um else 'down'} by {abs(z_um - self._z_um):.1f} µm")
            self._z_um = z_um

    def position(self) -> PositionUm:
        """Return where the picture says the stage is; where it can't tell, the last place that is known."""
        self._look()
        return PositionUm(self._at[0], self._at[1], self._z_um)

    def z_range_um(self) -> Range:
        """Return the allowed range of the focus."""
        return self._limits_um["z"]

    def xy_range_um(self) -> tuple[Range, Range]:
        """Return the lowest and highest allowed x, then y."""
        return self._limits_um["x"], self._limits_um["y"]

    def describe(self) -> str:
        """Name the stage."""
        return "manual stage, followed by the camera; z as the person was asked"

    def _look(self) -> bool:
        moved = self._follow()
        if moved is None:
            return False
        self._at = [at + way for at, way in zip(self._at, moved, strict=True)]
        return True


def _words(dx_um: float, dy_um: float) -> str:
    """Say a way as a person sees it in the picture."""
    parts = [
        f"{abs(way):.0f} µm {plus if way > 0 else minus}"
        for way, plus, minus in ((dx_um, "right", "left"), (dy_um, "down", "up")) if abs(way) >= 0.5
    ]
    return " and ".join(parts)
