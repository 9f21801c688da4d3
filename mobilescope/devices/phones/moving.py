"""How the next field comes under a real phone: a stage moves the slide, or a person does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import BoundedStage, PositionUm, XYZStage
from mobilescope.core.stage_limits import check_within


class Mover(Protocol):
    """Brings a field under the phone."""

    def check(self, fields: Iterable[tuple[float, float]]) -> None:
        """Refuse fields that can't be reached; LimitError names one."""

    def forget(self) -> None:
        """Another slide lies there: nobody knows which field is in view."""

    def go(
        self, x_um: float, y_um: float, stop: StopToken, ready: Callable[[], None]
    ) -> tuple[PositionUm, dict[str, str]]:
        """Bring the field at a nominal position into view; return it with z, and what is known of how it was done.

        ``ready`` is called when a picture of this field may be taken from then on.
        """


class StageMover:
    """Moves the phone scope's stage, opened at the first move.

    Parameters
    ----------
    tell : callable, optional
        Shows a line to the person who releases the camera then; None where nobody has to.
    """

    def __init__(self, stage: Callable[[], XYZStage], tell: Callable[[str], None] | None) -> None:
        self._stage, self._tell = stage, tell

    @property
    def stage(self) -> XYZStage | None:
        """The stage, opened if need be, where pictures can be taken without a person; else None."""
        return None if self._tell is not None else self._stage()

    def check(self, fields: Iterable[tuple[float, float]]) -> None:
        """Refuse fields outside the stage's range, where it tells that."""
        stage = self._stage()
        if isinstance(stage, BoundedStage):
            x_range, y_range = stage.xy_range_um()
            for x_um, y_um in fields:
                check_within("x", x_um, x_range)
                check_within("y", y_um, y_range)

    def forget(self) -> None:
        """Do nothing: the stage says where it is."""

    def go(
        self, x_um: float, y_um: float, _stop: StopToken, ready: Callable[[], None]
    ) -> tuple[PositionUm, dict[str, str]]:
        """Move, and tell where the stage says that it is."""
        stage = self._stage()
        stage.move_xy(x_um, y_um)
        at = stage.position()
        ready()
        if self._tell is not None:
            self._tell(f"The stage is at x = {at.x_um:.0f}, y = {at.y_um:.0f} µm: take a picture (Ctrl-C ends).")
        return PositionUm(x_um, y_um, at.z_um), {"stage_um": f"{at.x_um:.2f} {at.y_um:.2f} {at.z_um:.2f}"}


class PersonMover:
    """Asks a person, in words that lead on from the field before.

    Parameters
    ----------
    ask : callable
        Shows a request and returns when the person has done it; it heeds the token.
    tell : callable
        Shows a line.
    releases : bool
        Whether the person releases the camera as well, which then tells that the field is there.
    """

    def __init__(
        self, ask: Callable[[str, StopToken], None], tell: Callable[[str], None], *, releases: bool
    ) -> None:
        self._ask, self._tell, self._releases = ask, tell, releases
        self._last: tuple[float, float] | None = None

    def check(self, _fields: Iterable[tuple[float, float]]) -> None:
        """Take any: nobody knows how far a person can go."""

    def forget(self) -> None:
        """Ask for the next field whatever the last one was."""
        self._last = None

    def go(
        self, x_um: float, y_um: float, stop: StopToken, ready: Callable[[], None]
    ) -> tuple[PositionUm, dict[str, str]]:
        """Have the person bring the field into view; one that is there already is not asked for again."""
        if self._last == (x_um, y_um):
            ready()
            if self._releases:
                self._tell("Take another picture of the same field (Ctrl-C ends).")
            return PositionUm(x_um, y_um, 0.0), {"moved": "by hand"}
        way = "" if self._last is None else _way(x_um - self._last[0], y_um - self._last[1])
        request = f"bring the field at x = {x_um:.0f}, y = {y_um:.0f} µm into view{way} and focus"
        if self._releases:
            ready()
            self._tell(f"{request[0].upper()}{request[1:]}, then take a picture (Ctrl-C ends).")
        else:
            self._ask(request, stop)
            ready()
        self._last = (x_um, y_um)
        return PositionUm(x_um, y_um, 0.0), {"moved": "by hand"}


def _way(dx_um: float, dy_um: float) -> str:
    parts = [
        f"{abs(way):.0f} µm {plus if way > 0 else minus}"
        for way, plus, minus in ((dx_um, "right", "left"), (dy_um, "down", "up")) if abs(way) >= 0.5
    ]
    return f" ({' and '.join(parts)} of the last)" if parts else ""
