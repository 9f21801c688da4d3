"""The length of a scale bar: a round number of micrometres that fits a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (5, 2, 1)


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar.

    Attributes
    ----------
    length_um : float
        1, 2 or 5 times a power of ten.
    share : float
        Its length in parts of the picture's width.
    """

    length_um: float
    share: float

    def __str__(self) -> str:
        """Return the length as it is written beside the bar."""
        return f"{self.length_um / 1000:g} mm" if self.length_um >= 1000 else f"{self.length_um:g} µm"


def scale_bar(width_um: float, most: float = 0.25) -> ScaleBar:
    """Return the longest bar that takes at most a share of a picture so wide.

    Parameters
    ----------
    width_um : float
        What the picture's width shows of the specimen, above 0.
    """
    room_um = width_um * most
    power = 10.0 ** math.floor(math.log10(room_um))
    # A room of exactly 5 must not be missed for the sake of rounding.
    steps = next((step for step in _STEPS if step * power <= room_um * (1 + 1e-9)), 1)
    return ScaleBar(steps * power, steps * power / width_um)
