"""What really happened in the twin: for tests and benchmarks alone, never for the software under test."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TileTruth:
    """Where a benchtop frame was really taken (centre of the frame) and how far out of focus.

    ``whole`` is False for the cut-down frames of an autofocus.
    """

    slide: str
    x_um: float
    y_um: float
    defocus_um: float
    whole: bool


@dataclass(frozen=True, eq=False)
class CaptureTruth:
    """Where each developed phone pixel really looked.

    Attributes
    ----------
    positions_um : ndarray, shape (rows, columns, 2), float32
        (x, y) at the specimen of the centre of each 2×2 Bayer cell, in the green channel.
    """

    slide: str
    positions_um: NDArray[np.float32]
    defocus_um: float


@dataclass
class TruthLog:
    """Everything in the order it happened."""

    tiles: list[TileTruth] = field(default_factory=list)
    captures: list[CaptureTruth] = field(default_factory=list)
