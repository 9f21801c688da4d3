"""Software autofocus: a coarse-to-fine search of z that ends with a verdict, never outside its range."""

from __future__ import annotations

import time

import numpy as np

from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopMicroscope
from mobilescope.imaging.focus import FocusMeasure, brenner, grey_for_focus

_ROI_PX = 384
_COARSE_SAMPLES = 7
# Below this variation of the score over the search there is nothing to focus on.
_BLANK_CONTRAST = 1.12


def autofocus(
    microscope: BenchtopMicroscope,
    *,
    centre_z_um: float,
    half_range_um: float,
    fine_step_um: float = 0.5,
    measure: FocusMeasure = brenner,
    roi_px: int = _ROI_PX,
) -> FocusRecord:
    """Find the sharpest z near ``centre_z_um`` on the central region of the field and leave the stage there.

    A coarse sweep over the range is narrowed until its step is at most twice ``fine_step_um``; a parabola through
    the logarithm of the best scores gives the peak.

    Returns
    -------
    FocusRecord
        Verdict ``"focused"``, ``"range_edge"`` (the best score lies at the end of the range), ``"blank"`` (no z is
        sharper than another). For the last two the stage is left at ``centre_z_um``.
    """
    started = time.monotonic()
    low_limit, high_limit = microscope.stage.z_range_um()
    centre_z_um = min(max(centre_z_um, low_limit), high_limit)
    low, high = max(low_limit, centre_z_um - half_range_um), min(high_limit, centre_z_um + half_range_um)
    samples: dict[float, float] = {}

    def sample(positions_um: np.ndarray) -> None:
        for z_um in positions_um:
            if float(z_um) not in samples:
                microscope.stage.move_z(float(z_um))
                samples[float(z_um)] = measure(grey_for_focus(microscope.snap(roi_px=roi_px).pixels))

    sample(np.linspace(low, high, _COARSE_SAMPLES))
    step = (high - low) / (_COARSE_SAMPLES - 1)
    while step > 2 * fine_step_um:
        best = max(samples, key=lambda z: samples[z])
        step /= 2
        sample(np.array([z for z in (best - step, best + step) if low <= z <= high]))
    best = max(samples, key=lambda z: samples[z])
    scores = np.array(list(samples.values()))
    contrast = float(scores.max() / max(float(np.median(scores)), 1e-12))
    verdict = "focused"
    z_um = best
    if contrast < _BLANK_CONTRAST and scores.max() < _BLANK_CONTRAST * scores.min():
        verdict, z_um = "blank", centre_z_um
    elif best in (low, high):
        verdict, z_um = "range_edge", centre_z_um
    else:
        z_um = float(np.clip(_peak(samples, best, step), low, high))
    microscope.stage.move_z(z_um)
    curve_z = tuple(sorted(samples))
    return FocusRecord(
        verdict=verdict,
        z_um=z_um,
        score=samples[best],
        curve_z_um=curve_z,
        curve_score=tuple(samples[z] for z in curve_z),
        images_taken=len(samples),
        seconds=time.monotonic() - started,
    )


def _peak(samples: dict[float, float], best_um: float, step_um: float) -> float:
    """Return the vertex of a parabola fitted to the logarithm of the scores within two steps of the best."""
    near = sorted(z for z in samples if abs(z - best_um) <= 2.01 * step_um)
    if len(near) < 3:
        return best_um
    scores = np.log([max(samples[z], 1e-12) for z in near])
    curvature, slope, _ = np.polyfit(np.array(near) - best_um, scores, 2)
    if curvature >= 0:
        return best_um
    return best_um + float(np.clip(-slope / (2 * curvature), -step_um, step_um))
