"""Measures pixel size and the matrix between stage and image: moves by known steps and correlates the pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import CalibrationError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope, PositionUm
from mobilescope.imaging.focus import grey_for_focus
from mobilescope.imaging.phase import Shift, has_rival, is_one_match, phase_shift, texture_to_noise
from mobilescope.imaging.stage_affine import StageAffine, fit_stage_affine

Grey = NDArray[np.float32]
Pair = tuple[float, float]

# More pixels make the correlation slower, not better.
_MOST_PX = 1024
# Of the square's side: the first step, with a pixel size that may be wrong by a factor of four, and its search.
_FIRST_STEP = 0.08
_FIRST_SEARCH = 0.6
# How far from its prediction a later shift is looked for.
_SEARCH = 0.12
_LEAST_TEXTURE = 1.6
_STILL_PX = 2.0
_TRUSTED_SHARE = 0.75
_APPROACH = 1.3
_RING = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


@dataclass(frozen=True)
class CalibrationOptions:
    """How to calibrate, and what to refuse.

    Attributes
    ----------
    step_fraction : float
        Length of the steps over the side of the picture's central square.
    repeats : int
        How often the eight steps around the start are made.
    approach_um : float
        Every stop is approached from at least this far below in x and y, and from further than the play that is
        allowed, so that play in the drive cancels.
    max_backlash_um, max_residual, max_error : float
        Refused are a stage with more play, a fit whose residual is a greater part of the steps, and a pixel size
        with a greater relative standard error.
    """

    step_fraction: float = 0.25
    repeats: int = 2
    approach_um: float = 20.0
    max_backlash_um: float = 15.0
    max_residual: float = 0.03
    max_error: float = 0.005


@dataclass(frozen=True, eq=False)
class MeasuredStage:
    """The fit with what else was seen: play of each axis in µm, the number of moves used, and their length."""

    affine: StageAffine
    backlash_um: Pair
    moves: int
    step_um: float


def calibrate_stage(
    microscope: BenchtopMicroscope,
    *,
    options: CalibrationOptions | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> MeasuredStage:
    """Calibrate on the field that is under the objective now; the stage is back where it was afterwards.

    Parameters
    ----------
    microscope : BenchtopMicroscope
        Without a calibration of its own: its stage is to take the device's coordinates. Its pixel size may be wrong by
        a factor of four.

    Raises
    ------
    CalibrationError
        The field is blank or repeats itself, the picture doesn't follow the stage, the stage has too much play or
        loses steps, or the fit is bad.
    CancelledError
        When asked to stop.
    """
    session = _Session(microscope, options or CalibrationOptions(), on_progress, stop or StopToken())
    try:
        return session.run()
    finally:
        session.go_home()


class _Session:
    """One calibration around one place."""

    def __init__(
        self, microscope: BenchtopMicroscope, options: CalibrationOptions, listener: ProgressListener, stop: StopToken
    ) -> None:
        self._microscope, self._options, self._listener, self._stop = microscope, options, listener, stop
        self._home: PositionUm = microscope.stage.position()
        self._side_px = min(*microscope.frame_shape, _MOST_PX)
        self._done, self._total = 0, 5 + len(_RING) * options.repeats + 2 * options.repeats
        self._reference: Grey | None = None

    def run(self) -> MeasuredStage:
        self._reference = self._picture_at(0.0, 0.0)
        if texture_to_noise(self._reference) < _LEAST_TEXTURE:
            raise CalibrationError(
                "there is nothing to see here but noise", "move to a place with fine structure, and focus on it"
            )
        rough = self._rough()
        scale = math.sqrt(abs(float(np.linalg.det(rough))))
        step_um = self._options.step_fraction * self._side_px / scale
        ring = [(x * step_um, y * step_um) for x, y in _RING] * self._options.repeats
        moves, shifts = self._measured(ring, rough)
        if len(moves) < _TRUSTED_SHARE * len(ring):
            raise CalibrationError(
                f"only {len(moves)} of {len(ring)} moves gave a picture that matches the first",
                "choose a field with structure all over it, and check the focus and that nothing moves",
            )
        affine = fit_stage_affine(moves, shifts)
        step_px = self._options.step_fraction * self._side_px
        if affine.residual_px > self._options.max_residual * step_px:
            raise CalibrationError(
                f"the moves do not fit together: steps of {step_px:.0f} px are {affine.residual_px:.1f} px off",
                "check that the stage does not slip and nothing shakes; then calibrate again",
            )
        if affine.pixel_size_error > self._options.max_error:
            raise CalibrationError(
                f"the pixel size is known to {affine.pixel_size_error:.1%} only, not to {self._options.max_error:.1%}",
                "give more repeats",
            )
        return MeasuredStage(affine, self._backlash_um(affine), len(moves), step_um)

    def go_home(self) -> None:
        self._microscope.stage.move_xy(self._home.x_um, self._home.y_um)

    def _rough(self) -> NDArray[np.float64]:
        """Return a first estimate of the matrix, shape (2, 2), px a µm, from one short step along each axis."""
        step_um = _FIRST_STEP * self._side_px * self._microscope.pixel_size_um
        columns = []
        for name, move in (("x", (step_um, 0.0)), ("y", (0.0, step_um))):
            shift = self._shift(self._picture_at(*move), (0, 0), round(_FIRST_SEARCH * self._side_px))
            self._demand_one_match(shift)
            if math.hypot(shift.dx_px, shift.dy_px) < _STILL_PX:
                raise CalibrationError(
                    f"the picture does not follow the stage: it stood still when {name} moved by {step_um:.0f} µm",
                    "check that the stage is switched on, and that camera and stage belong to one microscope",
                )
            columns.append([shift.dx_px / step_um, shift.dy_px / step_um])
        rough = np.array(columns).T
        if abs(np.linalg.det(rough)) < 0.2 * np.linalg.norm(rough[:, 0]) * np.linalg.norm(rough[:, 1]):
            raise CalibrationError(
                "x and y of the stage move the picture along the same line", "check the stage, then calibrate again"
            )
        return rough

    def _measured(self, ring: list[Pair], rough: NDArray[np.float64]) -> tuple[list[Pair], list[Pair]]:
        moves, shifts = [], []
        for move in ring:
            expected = rough @ move
            shift = self._shift(
                self._picture_at(*move), (round(float(expected[1])), round(float(expected[0]))),
                round(_SEARCH * self._side_px),
            )
            if is_one_match(shift):
                moves.append(move)
                shifts.append((shift.dx_px, shift.dy_px))
        return moves, shifts

    def _backlash_um(self, affine: StageAffine) -> Pair:
        """Return by how much the start seems moved when approached from the other side; refuse too much of it."""
        found = []
        for side in (-1, 1) * self._options.repeats:
            shift = self._shift(self._picture_at(0.0, 0.0, side=side), (0, 0), self._side_px // 2)
            self._demand_one_match(shift)
            found.append(np.linalg.solve(affine.px_per_um, (shift.dx_px, shift.dy_px)))
        below, above = np.mean(found[0::2], axis=0), np.mean(found[1::2], axis=0)
        backlash = np.abs(above - below)
        drift = float(np.hypot(*below))
        if drift > self._options.max_residual * self._options.step_fraction * self._side_px * affine.pixel_size_um:
            raise CalibrationError(
                f"the stage came back {drift:.1f} µm off from where it started", "check for slipping or a loose slide"
            )
        if backlash.max() > self._options.max_backlash_um:
            raise CalibrationError(
                f"the stage has {backlash[0]:.1f} µm of play in x and {backlash[1]:.1f} µm in y",
                f"mend the drive, or allow more than {self._options.max_backlash_um:g} µm",
            )
        return float(backlash[0]), float(backlash[1])

    def _picture_at(self, x_um: float, y_um: float, *, side: int = -1) -> Grey:
        """Go to a place relative to the start, the last part from one side, and return the central square in grey."""
        self._stop.raise_if_requested("the calibration of the stage", "nothing was written")
        x_um, y_um = self._home.x_um + x_um, self._home.y_um + y_um
        approach_um = side * max(self._options.approach_um, _APPROACH * self._options.max_backlash_um)
        self._microscope.stage.move_xy(x_um + approach_um, y_um + approach_um)
        self._microscope.stage.move_xy(x_um, y_um)
        picture = self._microscope.snap(roi_px=self._side_px)
        self._done += 1
        self._listener(Progress("calibrate stage", min(self._done, self._total), self._total))
        return grey_for_focus(picture.pixels)

    def _shift(self, picture: Grey, expected_px: tuple[int, int], search_px: int) -> Shift:
        assert self._reference is not None
        return phase_shift(self._reference, picture, max_shift_px=search_px, expected_px=expected_px)

    @staticmethod
    def _demand_one_match(shift: Shift) -> None:
        if has_rival(shift):
            raise CalibrationError(
                "the field repeats itself: more than one shift fits", "choose a field without a regular pattern"
            )
        if not is_one_match(shift):
            raise CalibrationError(
                f"two pictures of neighbouring places do not match (correlation {shift.correlation:.2f})",
                "check the focus, and that the slide and the light stay as they are; "
                "give a pixel size that is right to a factor of four",
            )
