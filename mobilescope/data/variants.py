"""In which ways the pairs of a session can be made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mobilescope.core.development_config import DevelopmentConfig, WhiteBalance
from mobilescope.core.errors import UserError
from mobilescope.core.factor import GridFactor

Warp = Literal["phone", "benchtop"]

DEFAULT_FACTOR = 2.5


@dataclass(frozen=True)
class PairVariant:
    """How pairs are made.

    Attributes
    ----------
    warp : {"phone", "benchtop"}
        Which image is resampled, once. ``"phone"``: the input, onto a lattice of ``factor`` benchtop pixels; the label
        stays untouched. ``"benchtop"``: the label, to the phone's pitch / ``factor`` in the phone's own geometry; the
        input stays untouched.
    factor : float
        Label pixels per input pixel along each axis, a ratio of small whole numbers.
    jpeg_ratio : float or None
        How many times smaller than its 3 bytes a pixel the input is stored as JPEG; None takes it as developed.
    development : DevelopmentConfig or None
        How captures are developed, and which parts of them make a pair each; None as the session says.
    own : DevelopmentConfig or None
        How the session itself says that they are; None stands for the defaults. The file of another white balance is
        named after it.

    Raises
    ------
    UserError
        A value that can't be.
    """

    warp: Warp = "phone"
    factor: float = DEFAULT_FACTOR
    jpeg_ratio: float | None = None
    development: DevelopmentConfig | None = None
    own: DevelopmentConfig | None = None

    def __post_init__(self) -> None:
        if self.warp not in get_args(Warp):
            raise UserError(f"there is no warp {self.warp!r}", f"choose {' or '.join(get_args(Warp))}")
        GridFactor.of(self.factor)
        if self.jpeg_ratio is not None and not (math.isfinite(self.jpeg_ratio) and self.jpeg_ratio > 1):
            raise UserError(f"a JPEG ratio of {self.jpeg_ratio:g}", "give a number above 1, such as 21")

    @property
    def grid(self) -> GridFactor:
        """The factor as an exact ratio."""
        return GridFactor.of(self.factor)

    @property
    def suffix(self) -> str:
        """What the file's name tells of it: empty for the default, else like ``-benchtop-x1.5-jpeg21-cloudy``."""
        own = self.own or DevelopmentConfig()
        development = self.development or own
        parts = [
            "" if self.warp == "phone" else f"-{self.warp}",
            "" if self.factor == DEFAULT_FACTOR else f"-x{self.factor:g}",
            "" if self.jpeg_ratio is None else f"-jpeg{self.jpeg_ratio:g}",
            "" if development.crops == "whole" else f"-{development.crops}",
            "" if development.white_balance == own.white_balance else f"-{_balance_name(development.white_balance)}",
        ]
        return "".join(parts)

    def provenance(self, captures: str = "raw") -> dict[str, Any]:
        """Return the variant's part of a pair file's provenance; ``captures`` is what the phone's pictures are."""
        return {
            "warp": self.warp, "factor": self.factor,
            "input": captures if self.jpeg_ratio is None else "jpeg", "jpeg_ratio": self.jpeg_ratio,
        }


def _balance_name(balance: WhiteBalance) -> str:
    """Return a white balance as a file name says it: a preset's name, or ``wb2.1-1-1.5``."""
    return balance if isinstance(balance, str) else "wb" + "-".join(f"{gain:g}" for gain in balance)
