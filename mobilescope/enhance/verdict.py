"""From measures of a picture to a trust state with reasons: which measure says what, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

State = Literal["trusted", "caution", "not for use"]
_ORDER: tuple[State, ...] = ("trusted", "caution", "not for use")


@dataclass(frozen=True, eq=False)
class TrustReport:
    """How far the enhancement of one picture can be trusted.

    Attributes
    ----------
    state : State
    reasons : tuple of str
        What stands against it, the worst first: cause, then remedy. Empty for a trusted picture.
    measures : dict
        What was measured, see `mobilescope.enhance.trust.TrustAssessor.assess`.
    disagreement : ndarray, shape (rows, columns), float32, optional
        Standard deviation of the enhanced picture's luminance, 0–1, on the input's grid, over flips and turns of the
        input and over the ensemble.
    """

    state: State
    reasons: tuple[str, ...]
    measures: dict[str, float]
    disagreement: NDArray[np.float32] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return state, reasons and measures as JSON-ready values; what could not be measured is null."""
        return {
            "state": self.state,
            "reasons": list(self.reasons),
            "measures": {
                name: round(value, 6) if math.isfinite(value) else None for name, value in self.measures.items()
            },
        }


@dataclass(frozen=True)
class Limits:
    """From where on a measure means caution, and from where on that a picture is not for use."""

    caution: float
    refusal: float

    def state(self, value: float) -> State:
        """Return a value's state; what could not be measured stands against nothing."""
        if not math.isfinite(value) or value < self.caution:
            return "trusted"
        return "caution" if value < self.refusal else "not for use"


def worst(states: list[State]) -> State:
    """Return the worst of some states, "trusted" of none."""
    return max(states, key=_ORDER.index, default="trusted")


def report(
    findings: list[tuple[State, str]],
    measures: Mapping[str, float],
    disagreement: NDArray[np.float32] | None = None,
) -> TrustReport:
    """Put findings (state, reason) together; those that say "trusted" give no reason."""
    against = [finding for finding in findings if finding[0] != "trusted"]
    ordered = sorted(against, key=lambda finding: -_ORDER.index(finding[0]))
    return TrustReport(
        worst([state for state, _ in against]), tuple(reason for _, reason in ordered), dict(measures), disagreement
    )
