"""Pictures taken while the focus drive moves on: a rough idea of the sharpest z, in the time of one move."""

from __future__ import annotations

from collections.abc import Callable

from mobilescope.core.protocols import SweepingStage
from mobilescope.imaging.focus_peak import Structure

# Fewer pictures over the range say nothing: the drive is too quick for the camera, or does not move while pictured.
LEAST_PICTURES = 6


def sweep(
    stage: SweepingStage, high_um: float, look: Callable[[], Structure], *, most: int
) -> tuple[list[float], list[Structure]]:
    """Set the drive going from where it stands, and take pictures until it arrives.

    Parameters
    ----------
    look : callable
        Takes a picture and judges it; may raise to end the sweep.
    most : int
        So many pictures are kept; further ones are not taken.

    Returns
    -------
    list of float
        The middle between the z reported before and after each picture.
    list of Structure
    """
    places: list[float] = []
    structures: list[Structure] = []
    stage.begin_z(high_um)
    try:
        before_um, moving = stage.z_while_moving()
        while moving and len(places) < most:
            structures.append(look())
            after_um, moving = stage.z_while_moving()
            places.append((before_um + after_um) / 2)
            before_um = after_um
    finally:
        # Whatever happened, nobody moves a drive that is still on its way.
        stage.move_z(high_um)
    return places, structures
