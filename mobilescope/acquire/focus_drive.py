"""Moves of the focus drive that always arrive from one side, so that play in it shifts every picture alike."""

from __future__ import annotations

import math

from mobilescope.core.protocols import XYZStage

# What a drive's own reading may differ from the place it was last sent to.
_SAME_UM = 0.01


class FocusDrive:
    """The focus drive of a stage, with its play taken up.

    Parameters
    ----------
    approach_um : float
        How far before a z the drive turns round when it comes from the other side: more than its play. Positive
        arrives from below, negative from above, 0 moves straight.
    range_um : tuple of float, optional
        Lowest and highest z to turn round at; the stage's own unless given.
    """

    def __init__(self, stage: XYZStage, approach_um: float, range_um: tuple[float, float] | None = None) -> None:
        self._stage, self._approach_um = stage, approach_um
        self._low, self._high = stage.z_range_um() if range_um is None else range_um
        self._arrived_um: float | None = None

    def move(self, z_um: float) -> None:
        """Go to a z."""
        if self._approach_um and not self._on_the_way(z_um):
            self._stage.move_z(min(max(z_um - self._approach_um, self._low), self._high))
        self._stage.move_z(z_um)
        self.arrived(z_um)

    def arrived(self, z_um: float) -> None:
        """Take note that the drive stands at a z, reached from the right side."""
        self._arrived_um = z_um

    def _on_the_way(self, z_um: float) -> bool:
        """Tell whether the play is taken up when the drive goes there straight."""
        here_um = self._stage.position().z_um
        ahead_um = (z_um - here_um) * math.copysign(1, self._approach_um)
        taken_up = self._arrived_um is not None and abs(here_um - self._arrived_um) <= _SAME_UM
        return ahead_um >= (-_SAME_UM if taken_up else abs(self._approach_um))
