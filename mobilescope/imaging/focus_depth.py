"""Depth of field: over which range of defocus a score stays near its peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

NEAR_PEAK = 0.9


@dataclass(frozen=True)
class FocusDepth:
    """The range of defocus around the peak over which a score stays high enough; empty where the peak is too low.

    ``low_um`` and ``high_um`` are its ends. ``whole`` is False where the score is still above at the first or last
    defocus measured, so that the true range is longer.
    """

    low_um: float
    high_um: float
    peak: float
    whole: bool

    @property
    def depth_um(self) -> float:
        """Length of the range."""
        return self.high_um - self.low_um


def focus_depth(defocus_um: FloatArray, scores: FloatArray, *, least: float | None = None) -> FocusDepth:
    """Measure the depth of field of a curve of scores over defocus, its ends interpolated linearly.

    Parameters
    ----------
    defocus_um : ndarray, shape (steps,), growing
    scores : ndarray, shape (steps,)
        Larger is better; positive at the peak.
    least : float, optional
        The score that still counts as in focus; 0.9 of the peak unless given.
    """
    z, values = np.asarray(defocus_um, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if z.size != values.size or z.size < 3 or not np.all(np.diff(z) > 0):
        raise ValueError("a curve needs at least three growing steps of defocus and a score for each")
    top = int(np.argmax(values))
    limit = NEAR_PEAK * float(values[top]) if least is None else least
    if values[top] < limit:
        return FocusDepth(float(z[top]), float(z[top]), float(values[top]), whole=True)
    ends, whole = [], True
    for step in (-1, 1):
        here = top
        while 0 <= here + step < z.size and values[here + step] >= limit:
            here += step
        beyond = here + step
        if not 0 <= beyond < z.size:
            ends.append(z[here])
            whole = False
        else:
            part = (values[here] - limit) / (values[here] - values[beyond])
            ends.append(z[here] + part * (z[beyond] - z[here]))
    return FocusDepth(float(ends[0]), float(ends[1]), float(values[top]), whole)
