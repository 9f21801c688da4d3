"""The one check of a stage's limits."""

from __future__ import annotations

from mobilescope.core.errors import LimitError


def check_within(axis: str, value_um: float, limits_um: tuple[float, float], where: str = "") -> None:
    """Refuse a position outside the limits, and one that is no number.

    Parameters
    ----------
    where : str
        What the message says between the position and the range, from a space on.

    Raises
    ------
    LimitError
    """
    low, high = limits_um
    if not low <= value_um <= high:
        raise LimitError(
            f"{axis} = {value_um:.2f} µm{where} lies outside the stage's range {low:g} to {high:g} µm",
            "choose a position inside it",
        )
