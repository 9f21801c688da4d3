"""Autofocus: finds the sharpest z, goes back to verify it, ends with a verdict, and never leaves its range."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.focus_drive import FocusDrive
from mobilescope.acquire.focus_sweep import LEAST_PICTURES, sweep
from mobilescope.core.focus_record import MAX_CURVE_SAMPLES, FocusRecord
from mobilescope.core.protocols import BenchtopMicroscope, SweepingStage
from mobilescope.imaging.focus import FocusMeasure, grey_for_focus
from mobilescope.imaging.focus_peak import Structure, finest_significant, flank_peak, structure, vertex

_COARSE_STEP_UM = 8.0
_LEAST_COARSE = 4
_MOST_SWEPT = 48
# Images after the coarse ones; a search that needs more has no peak to find.
_MOST_FINE = 10
# Of the score that the fit predicts, and of the best score seen, what the picture taken at the peak must reach.
_AS_PREDICTED, _AS_BEST = 0.8, 0.97
# Depths of field to either side of the sharpest picture of a sweep, which is late by what the camera takes.
_AROUND_SWEPT = 4.0
# Places closer than this part of a depth of field are one: on a flank their scores differ by what the drive misses.
_SAME_PLACE = 0.2
_GOLDEN = 0.382
# Of the whole change over z, how far the score falls to either side of a peak.
_LEAST_DROP = 0.12
# Beyond a valley so deep, a second place so sharp makes the first one doubtful.
_VALLEY, _AS_SHARP = 0.5, 0.9
# The scale whose flanks reach furthest and are still well above noise.
_FLANK_SCALE = 1


@dataclass(frozen=True)
class FocusOptions:
    """How to search.

    Attributes
    ----------
    mode : {"search", "sweep"}
        A few coarse images, then fine ones near the peak; or images over the whole range while the drive moves, then
        fine ones where they were sharpest. A drive that can't be watched while it moves, or is too quick for the
        camera, stops for an image at each depth of field of the range instead.
    measure : callable, optional
        Sharpness of a grey picture, larger is sharper. Unless given, the gradient energy without the camera's noise,
        at the finest scale at which the specimen shows any.
    roi_px : int
        Side of the central square that is judged.
    timeout_s : float
        No image is taken later than this after the start.
    depth_of_field_um : float
        λ/NA² + pixel/NA; the step of the fine images.
    approach_um : float
        Every z is approached from below by at least so much, where the drive has play; from above where it is
        negative. 0 moves straight.
    """

    mode: Literal["search", "sweep"] = "search"
    measure: FocusMeasure | None = None
    roi_px: int = 384
    timeout_s: float = 60.0
    depth_of_field_um: float = 1.47
    approach_um: float = 0.0


def autofocus(
    microscope: BenchtopMicroscope,
    *,
    centre_z_um: float,
    half_range_um: float,
    options: FocusOptions | None = None,
) -> FocusRecord:
    """Find the sharpest z near ``centre_z_um`` on the central region of the field and leave the stage there.

    Returns
    -------
    FocusRecord
        Verdict ``"focused"``: the stage stands at a z whose picture was taken and is as sharp as the fit predicts.
        ``"blank"``: no z differs from another by more than noise. ``"range_edge"``: it is sharpest at the end of the
        range, or as sharp there, or beyond. ``"no_peak"``: no z kept what the fit promised, or two did.
        ``"timeout"``. For all but the first the stage is left at ``centre_z_um``, moved into the range of the stage.
    """
    if not half_range_um > 0:
        raise ValueError(f"half_range_um must be above 0, got {half_range_um}")
    return _Search(microscope, centre_z_um, half_range_um, options or FocusOptions()).run()


class _LateError(Exception):
    """The time is over."""


class _Search:
    """One search: what it may do, and what it has seen."""

    def __init__(self, microscope: BenchtopMicroscope, centre_um: float, half_um: float, options: FocusOptions) -> None:
        self._microscope, self._options = microscope, options
        self._started = time.monotonic()
        low_limit, high_limit = microscope.stage.z_range_um()
        centre_um = min(max(centre_um, low_limit), high_limit)
        low, high = max(low_limit, centre_um - half_um), min(high_limit, centre_um + half_um)
        # The way past a z, to approach it, has to lie within the range as well.
        self._drive = FocusDrive(microscope.stage, options.approach_um, (low, high))
        self._low = min(low + max(options.approach_um, 0.0), high)
        self._high = max(high + min(options.approach_um, 0.0), self._low)
        self._centre = min(max(centre_um, self._low), self._high)
        self._z: list[float] = []
        self._structures: list[Structure] = []
        self._measured: list[float] = []
        self._scale = 0
        self._refuted: list[float] = []
        self._swept_z: list[float] = []
        self._swept: list[Structure] = []

    def run(self) -> FocusRecord:
        """Search; return the record."""
        try:
            verdict, z_um = self._searched()
        except _LateError:
            verdict, z_um = "timeout", self._centre
        if verdict != "focused" or self._z[-1] != z_um:
            self._drive.move(z_um)
        scores = np.concatenate([self._scores(), [sample.energy[self._scale] for sample in self._swept_shown]])
        places = [*self._z, *self._swept_z[:len(self._swept_shown)]]
        order = np.argsort(places, kind="stable")
        return FocusRecord(
            verdict=verdict,
            z_um=z_um,
            score=float(scores.max()) if scores.size else 0.0,
            curve_z_um=tuple(places[k] for k in order),
            curve_score=tuple(float(scores[k]) for k in order),
            images_taken=len(self._z) + len(self._swept),
            seconds=time.monotonic() - self._started,
        )

    def _searched(self) -> tuple[str, float]:
        is_swept = self._options.mode == "sweep" and self._sweep()
        if is_swept:
            if finest_significant(self._swept) is None:
                return "blank", self._centre
            ends = (self._low, self._high)
            self._narrow()
        verdict, z_um = self._stepped(everywhere=self._options.mode == "sweep" and not is_swept)
        if is_swept and verdict == "range_edge" and not self._is_near_one_of(ends):
            # It is sharpest beside the place where the pictures of the sweep were.
            verdict = "no_peak"
        return verdict, z_um

    def _sweep(self) -> bool:
        """Picture the range while the drive moves through it; return whether that gave enough pictures."""
        stage = self._microscope.stage
        if not (isinstance(stage, SweepingStage) and stage.sweeps):
            return False
        upwards = self._options.approach_um >= 0
        start, end = (self._low, self._high) if upwards else (self._high, self._low)
        self._drive.move(start)
        for z_um, seen in sweep(stage, end, self._look, most=_MOST_SWEPT):
            self._swept_z.append(z_um)
            self._swept.append(seen)
        if len(self._swept) >= LEAST_PICTURES:
            return True
        self._swept_z, self._swept = [], []
        return False

    def _narrow(self) -> None:
        """Search on around the place where the swept pictures were sharpest: a few depths of field."""
        scale = finest_significant(self._swept) or 0
        sharpest = self._swept_z[int(np.argmax([sample.energy[scale] for sample in self._swept]))]
        pitch = (self._high - self._low) / len(self._swept)
        reach = max(_AROUND_SWEPT * self._options.depth_of_field_um, 2 * pitch)
        self._low, self._high = max(self._low, sharpest - reach), min(self._high, sharpest + reach)

    def _is_near_one_of(self, ends: tuple[float, float]) -> bool:
        """Tell whether the end that the best picture is nearer to is an end of the whole range."""
        best = self._best()
        return self._low == ends[0] if best - self._low < self._high - best else self._high == ends[1]

    def _stepped(self, *, everywhere: bool) -> tuple[str, float]:
        """Take coarse images, or one for each depth of field ``everywhere``, then fine ones."""
        span = self._high - self._low
        if everywhere:
            count = min(_MOST_SWEPT, max(_LEAST_COARSE, math.ceil(span / self._options.depth_of_field_um) + 1))
        else:
            count = max(_LEAST_COARSE, math.ceil(span / _COARSE_STEP_UM - 1e-6) + 1)
            count = min(count, MAX_CURVE_SAMPLES - _MOST_FINE - 1)
        coarse = np.linspace(self._low, self._high, count)
        for z_um in coarse[::-1] if self._options.approach_um < 0 else coarse:
            self._take(float(z_um))
        if finest_significant(self._structures) is None:
            return "blank", self._centre
        guess = self._guess(span / 2)
        if self._low < guess < self._high:
            self._take(guess)
        self._scale = finest_significant(self._structures) or 0
        while len(self._z) < count + _MOST_FINE:
            z_um = self._beside_best()
            if z_um is not None:
                self._take(z_um)
                self._scale = finest_significant(self._structures) or 0
                continue
            best = self._best()
            if best in (self._low, self._high):
                return "range_edge", self._centre
            if self._verified():
                doubt = self._doubt()
                return (doubt, self._centre) if doubt else ("focused", self._z[-1])
        return "no_peak", self._centre

    def _guess(self, half_um: float) -> float:
        """Return where the flanks of the coarse curve meet."""
        scale = max(_FLANK_SCALE, finest_significant(self._structures) or 0)
        energy = np.array([sample.energy[scale] for sample in self._structures])
        return flank_peak(np.array(self._z), energy, half_um)

    def _beside_best(self) -> float | None:
        """Return a z to take so that the best has a neighbour on either side, None where it has."""
        best, step = self._best(), self._options.depth_of_field_um
        sides = ((-1, self._low), (1, self._high))
        for sign, end in sides if self._options.approach_um >= 0 else sides[::-1]:
            if best == end or any(0 < sign * (z - best) <= 1.5 * step for z in self._z):
                continue
            return float(np.clip(best + sign * step, self._low, self._high))
        return None

    def _verified(self) -> bool:
        """Go to the peak of the best and its neighbours; tell whether it is as sharp there as it should be."""
        best, scores, same = self._best(), self._scores(), _SAME_PLACE * self._options.depth_of_field_um
        places = np.array(self._z)
        below, above = places[places < best - same], places[places > best + same]
        lower, upper = below.max(initial=self._low), above.min(initial=self._high)
        level = float(scores[np.abs(places - best) <= same].mean())
        heights = np.array([scores[places == lower].mean(), level, scores[places == upper].mean()])
        top = vertex(np.array([lower, best, upper]), heights)
        z_um, predicted = top if top is not None else (best, level)
        split_um = _GOLDEN * (upper - best if upper - best >= best - lower else lower - best)
        if abs(split_um) > same and any(abs(z_um - z) <= same for z in self._refuted):
            # The curve is no parabola between these: a picture in the wider gap tells where its peak is.
            self._take(best + split_um)
            return False
        self._take(float(np.clip(z_um, self._low, self._high)))
        scores = self._scores()
        floor = float(scores.min()) if self._options.measure is not None else 0.0
        reached = scores[-1] - floor
        if reached >= _AS_PREDICTED * (predicted - floor) and reached >= _AS_BEST * (level - floor):
            return True
        self._refuted.append(z_um)
        return False

    def _doubt(self) -> str:
        """Return the verdict that stands against the peak just verified, empty for none.

        What lies beside the field, spread into it by defocus, grows to both sides of the focus: it is as sharp at the
        end of the range, or has two peaks and nothing between them.
        """
        order = np.argsort(self._z, kind="stable")
        floor = float(self._scores().min())
        height = (self._scores()[order] - floor) / (self._scores()[-1] - floor)
        offset = (np.array(self._z) - self._z[-1])[order]
        same = _SAME_PLACE * self._options.depth_of_field_um
        for outwards in (height[offset < -same][::-1], height[offset > same]):
            if not (outwards <= 1 - _LEAST_DROP).any():
                return "range_edge"
            valley = np.minimum.accumulate(outwards)
            if ((outwards >= _AS_SHARP) & (valley <= _VALLEY)).any():
                return "no_peak"
        return ""

    def _scores(self) -> np.ndarray:
        if self._options.measure is not None:
            return np.array(self._measured)
        return np.array([sample.energy[self._scale] for sample in self._structures])

    def _best(self) -> float:
        return self._z[int(self._scores().argmax())]

    def _take(self, z_um: float) -> None:
        """Go to a z and judge the picture there."""
        self._in_time()
        self._drive.move(z_um)
        self._in_time()
        grey = self._picture()
        self._z.append(z_um)
        self._structures.append(structure(grey))
        if self._options.measure is not None:
            self._measured.append(float(self._options.measure(grey)))

    def _picture(self) -> NDArray[np.float32]:
        return grey_for_focus(self._microscope.snap(roi_px=self._options.roi_px).pixels)

    def _look(self) -> Structure:
        self._in_time()
        return structure(self._picture())

    @property
    def _swept_shown(self) -> list[Structure]:
        """Those of the swept pictures whose scores stand on one curve with the others, as far as there is room."""
        room = MAX_CURVE_SAMPLES - len(self._z)
        return [] if self._options.measure is not None else self._swept[:max(0, room)]

    def _in_time(self) -> None:
        if time.monotonic() - self._started > self._options.timeout_s:
            raise _LateError
