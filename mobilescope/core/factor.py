"""How much finer one pixel lattice is than another, as an exact ratio, and which windows of both meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from mobilescope.core.errors import InputImageError, UserError

_LARGEST = 16
_MOST_PARTS = 8


@dataclass(frozen=True)
class GridFactor:
    """Fine pixels per coarse pixel along each axis, ``p / q`` in lowest terms.

    With half-pixel centres, coarse pixel x and fine pixel u agree when ``x + 0.5 = (u + 0.5) q / p``. Their edges
    coincide at every multiple of q coarse pixels alone, so a window that starts and ends there has whole fine pixels.
    """

    p: int
    q: int

    @classmethod
    def of(cls, value: float) -> Self:
        """Return the ratio that a number such as 2.5 stands for.

        Raises
        ------
        UserError
            It is below 1, above 16, or not a ratio with a denominator of at most 8.
        """
        if not (math.isfinite(value) and 1 <= value <= _LARGEST):
            raise UserError(f"a factor of {value:g}", f"give a number from 1 to {_LARGEST}, such as 2.5")
        ratio = Fraction(value).limit_denominator(_MOST_PARTS)
        if abs(float(ratio) - value) > 1e-9:
            raise UserError(
                f"a factor of {value:g} is no ratio of small whole numbers", "give a number such as 1, 1.5, 2, 2.5 or 3"
            )
        return cls(ratio.numerator, ratio.denominator)

    @property
    def value(self) -> float:
        """The factor as a number."""
        return self.p / self.q

    @property
    def step_px(self) -> int:
        """Coarse pixels between coinciding edges: q, which is 2 for 1.5 and 2.5, 1 for whole factors."""
        return self.q

    @property
    def even_step_px(self) -> int:
        """The smallest even number of coarse pixels whose ends coincide with edges of fine ones."""
        return math.lcm(2, self.q)

    def fine_px(self, coarse_px: int) -> int:
        """Return how many fine pixels stand on so many coarse ones; InputImageError where that is not whole."""
        whole, rest = divmod(coarse_px * self.p, self.q)
        if rest:
            raise InputImageError(
                f"{coarse_px} px at a factor of {self.value:g} do not meet whole label pixels",
                f"use {'even numbers' if self.q == 2 else f'multiples of {self.q}'}",
            )
        return whole

    def fine_slice(self, start_px: int, stop_px: int) -> slice:
        """Return the fine pixels on the coarse ones from ``start_px`` to before ``stop_px``."""
        return slice(self.fine_px(start_px), self.fine_px(stop_px))
