"""Pictures taken while the focus drive moves on: a rough idea of the sharpest z, in the time of one move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mobilescope.core.protocols import SweepingStage
from mobilescope.imaging.focus_peak import Structure

# Fewer pictures over the range say nothing: the drive is too quick for the camera, or does not move while pictured.
LEAST_PICTURES = 6


def sweep(
    stage: SweepingStage, high_um: float, look: Callable[[], Structure], *, most: int
) -> Iterator[tuple[float, Structure]]:
    """Set the drive going from where it stands, and take pictures until it arrives.

    Parameters
    ----------
    look : callable
        Takes a picture and judges it; may raise to end the sweep.
    most : int
        So many pictures are kept; further ones are not taken.

    Yields
    ------
    float
        The middle between the z reported before and after a picture.
    Structure
    """
    stage.begin_z(high_um)
    try:
        before_um, moving = stage.z_while_moving()
        taken = 0
        while moving and taken < most:
            seen = look()
            after_um, moving = stage.z_while_moving()
            yield (before_um + after_um) / 2, seen
            before_um, taken = after_um, taken + 1
    finally:
        # Whatever happened, nobody moves a drive that is still on its way.
        stage.move_z(high_um)
