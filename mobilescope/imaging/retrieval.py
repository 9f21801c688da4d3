"""Finding a phone field in a whole mosaic without a position: landmarks propose places, correlation proves one.

The answer is one place, or the reason why there is none: blank, foreign, mirrored, or several places that look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mobilescope.core.errors import InputImageError
from mobilescope.core.geometry import Affine
from mobilescope.imaging.colour import lit_channel, to_float, to_uint8
from mobilescope.imaging.landmarks import Grey, Landmarks, evened, landmarks_of, nearest
from mobilescope.imaging.place_checks import CheckedPlace, Reader, check_place
from mobilescope.imaging.place_votes import hypotheses
from mobilescope.imaging.quality import specimen_mask

PlaceVerdict = Literal["found", "not_found", "blank", "ambiguous"]

LEAST_FIELD_PX = 96
_LIKE = 10
_PLACES = 5
_MOST_WANTED = 400
_DENSITY = 1.5
_LEAST_SPECIMEN = 0.01
# Checked at half of the index's pitch, in a picture no larger than this.
_CHECK_SIDE_PX = 320
_LEAST_AGREEING = 6
_LEAST_CORRELATION = 0.35
_RIVAL_SHARE = 0.75


@dataclass(frozen=True)
class SearchLimits:
    """What a place must reach.

    Attributes
    ----------
    least_agreeing : int
        Landmarks that speak for it.
    least_correlation : float
    least_covered : float
        Share of the field that must lie on the mosaic.
    rival_share : float
        Another place that correlates by more than this share of the best makes the field ambiguous.
    scale_tolerance : float
        Greatest relative departure of the scale from what the pixel sizes say.
    """

    least_agreeing: int = _LEAST_AGREEING
    least_correlation: float = _LEAST_CORRELATION
    least_covered: float = 0.3
    rival_share: float = _RIVAL_SHARE
    scale_tolerance: float = 0.3


@dataclass(frozen=True)
class FieldEvidence:
    """What an answer rests on.

    Attributes
    ----------
    landmarks, agreeing : int
        Landmarks of the field, and those that agree with the best place.
    correlation : float
        Of field and mosaic at the best place, evened out, -1 to 1.
    rival : float
        The best correlation elsewhere: at another place, or a shift beside this one.
    covered : float
        Share of the field where the mosaic shows anything, 0-1.
    """

    landmarks: int = 0
    agreeing: int = 0
    correlation: float = 0.0
    rival: float = 0.0
    covered: float = 0.0


@dataclass(frozen=True, eq=False)
class FieldPlace:
    """Where a field lies in a mosaic, or why that is not known.

    Attributes
    ----------
    reason : str
        One plain sentence; empty where it was found.
    to_mosaic_um : Affine or None
        From (x, y) pixels of the field, centres at integers, to the mosaic's µm; None unless found.
    centre_um : tuple of float or None
        (x, y) of the field's centre.
    rotation_deg, scale : float
        How the field lies turned (x towards y), and how large it is relative to what the pixel sizes say.
    """

    verdict: PlaceVerdict
    reason: str
    evidence: FieldEvidence
    to_mosaic_um: Affine | None = None
    centre_um: tuple[float, float] | None = None
    rotation_deg: float = 0.0
    scale: float = 1.0

    @property
    def found(self) -> bool:
        """Whether there is a place."""
        return self.to_mosaic_um is not None

    @property
    def score(self) -> float:
        """The correlation at the best place."""
        return self.evidence.correlation


@dataclass(frozen=True, eq=False)
class FieldIndex:
    """A mosaic's landmarks and the pitch at which they were found."""

    landmarks: Landmarks
    pixel_um: float


def grey_of(picture: NDArray[Any]) -> Grey:
    """Return the channel that shows the specimen best, float 0-1: green, unless it is all but dark."""
    if picture.ndim == 2:
        return np.ascontiguousarray(to_float(picture))
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise InputImageError(f"the field has shape {picture.shape}", "give (rows, columns) or (rows, columns, 3)")
    small = to_uint8(to_float(picture[::4, ::4]))
    return np.ascontiguousarray(to_float(picture[..., lit_channel(small)]))


def find_field(
    picture: NDArray[Any], pixel_um: float, index: FieldIndex, read: Reader, *,
    near_um: tuple[float, float] | None = None, limits: SearchLimits | None = None,
) -> FieldPlace:
    """Find where a picture lies in a mosaic, turned by any angle.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns[, 3]), uint8, uint16 or float 0-1
    pixel_um : float
        Its pitch at the specimen, right to a quarter.
    read : callable
        Gives parts of the mosaic, see `place_checks.Reader`.
    near_um : tuple of float, optional
        (x, y) where it should be: of places that look alike, the one within a field's side of it is taken.

    Raises
    ------
    InputImageError
        A picture too small or of the wrong type.
    """
    if min(picture.shape[:2]) < LEAST_FIELD_PX:
        raise InputImageError(
            f"the field is {picture.shape[0]}x{picture.shape[1]} pixels",
            f"give at least {LEAST_FIELD_PX} on each side",
        )
    # Its matrices are small: beside other programs numpy's BLAS waits longer for its threads than they work.
    with threadpool_limits(1, user_api="blas"):
        return _Search(grey_of(picture), pixel_um, index, read, limits or SearchLimits()).run(near_um)


def shows_specimen(picture: NDArray[Any]) -> bool:
    """Tell whether a picture of a field is more than bare glass with some dirt."""
    grey = grey_of(picture)
    by = max(1.0, max(grey.shape) / _CHECK_SIDE_PX)
    small, _ = _at_pitch(grey, 1.0, by)
    return bool(specimen_mask(small).mean() >= _LEAST_SPECIMEN)


class _Search:
    """One field's search, as it stands or mirrored."""

    def __init__(
        self, grey: Grey, pixel_um: float, index: FieldIndex, read: Reader, limits: SearchLimits
    ) -> None:
        self._grey, self._pixel_um, self._index, self._read, self._limits = grey, pixel_um, index, read, limits
        self._field_um = grey.shape[1] * pixel_um, grey.shape[0] * pixel_um

    def run(self, near_um: tuple[float, float] | None) -> FieldPlace:
        check_um = max(self._index.pixel_um / 2, max(self._field_um) / _CHECK_SIDE_PX)
        small, drawn_um = _at_pitch(self._grey, self._pixel_um, check_um)
        if specimen_mask(small).mean() < _LEAST_SPECIMEN:
            return FieldPlace("blank", "the field shows no specimen: it is blank or far out of focus", FieldEvidence())
        known, places = self._places(self._grey, small, drawn_um)
        if not places or not self._holds(places[0]):
            return self._nowhere(known, places, small, drawn_um)
        return self._judged(known, places, near_um)

    def _places(self, grey: Grey, small: Grey, check_um: float) -> tuple[int, list[CheckedPlace]]:
        """Return how many landmarks the field has, and the places they propose, the best correlation first."""
        index = self._index
        coarse, coarse_um = _at_pitch(grey, self._pixel_um, index.pixel_um)
        # Pixels grow about their corner; the picture's µm start at the centre of its own first pixel.
        wanted = landmarks_of(coarse, coarse_um, origin_um=(_shift(coarse_um, self._pixel_um),) * 2, density=_DENSITY)
        if len(wanted) > _MOST_WANTED:
            wanted = wanted.where(np.linspace(0, len(wanted) - 1, _MOST_WANTED).astype(np.intp))
        proposed = hypotheses(
            wanted, index.landmarks, nearest(wanted, index.landmarks, _LIKE), field_um=self._field_um,
            pixel_um=index.pixel_um, most=_PLACES,
        )
        # What too few landmarks speak for is not looked at: chance brings a few together at several places.
        believed = [each for each in proposed if each.agreeing >= self._limits.least_agreeing]
        if not believed:
            return len(wanted), [CheckedPlace(each.to_mosaic, each.agreeing, 0.0, 0.0) for each in proposed[:1]]
        even = evened(small)
        start = Affine(np.array([[1, 0, _shift(check_um, self._pixel_um)], [0, 1, _shift(check_um, self._pixel_um)]]))
        checked = []
        for each in believed:
            place = check_place(even, check_um, each.to_mosaic.after(start), each.agreeing, self._read, refine=True)
            checked.append(place)
        back = start.inverse()
        moved = [
            CheckedPlace(each.to_mosaic.after(back), each.agreeing, each.correlation, each.covered, each.beside)
            for each in checked
        ]
        return len(wanted), sorted(moved, key=lambda each: -each.correlation)

    def _holds(self, place: CheckedPlace) -> bool:
        limits = self._limits
        return (
            place.agreeing >= limits.least_agreeing and place.correlation >= limits.least_correlation
            and place.covered >= limits.least_covered
            and abs(_scale(place.to_mosaic) - 1) <= limits.scale_tolerance
        )

    def _nowhere(self, known: int, places: list[CheckedPlace], small: Grey, check_um: float) -> FieldPlace:
        """Return why there is no place: mirrored, or nothing like it in the mosaic."""
        best = places[0] if places else None
        evidence = FieldEvidence(known) if best is None else _evidence(known, best, -1.0)
        flipped = np.ascontiguousarray(self._grey[:, ::-1])
        _, mirrored = self._places(flipped, np.ascontiguousarray(small[:, ::-1]), check_um)
        if mirrored and self._holds(mirrored[0]):
            return FieldPlace(
                "not_found", "the field is a mirror image of a place in the mosaic; switch off mirroring in the camera "
                "app, or turn the slide over", evidence,
            )
        if known < self._limits.least_agreeing:
            return FieldPlace(
                "not_found", f"the field shows too little to know a place by ({known} landmarks)", evidence
            )
        return FieldPlace(
            "not_found", f"no place in the mosaic shows this field (at most {evidence.agreeing} of {known} landmarks "
            f"agree{f', correlation {evidence.correlation:.2f}' if evidence.covered else ''})", evidence,
        )

    def _judged(
        self, known: int, places: list[CheckedPlace], near_um: tuple[float, float] | None
    ) -> FieldPlace:
        limits, side = self._limits, max(self._field_um)
        standing = [place for place in places if self._holds(place)]
        best = standing[0]
        alike = [place for place in standing if place.correlation >= limits.rival_share * best.correlation]
        if near_um is not None and len(alike) > 1:
            near = [place for place in alike if np.hypot(*(np.array(self._centre(place)) - near_um)) <= side]
            if len(near) == 1:
                best, alike = near[0], near
        elsewhere = max((place.correlation for place in places if place is not best), default=-1.0)
        evidence = _evidence(known, best, max(best.beside, elsewhere))
        if len(alike) > 1:
            return FieldPlace("ambiguous", f"{len(alike)} places in the mosaic look like this field", evidence)
        if best.beside >= limits.rival_share * best.correlation:
            return FieldPlace(
                "ambiguous", "the field repeats itself: another shift of it fits about as well "
                f"(correlation {best.beside:.2f} beside {best.correlation:.2f})", evidence,
            )
        turn = best.to_mosaic.matrix
        angle = float(np.degrees(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])))
        return FieldPlace(
            "found", "", evidence, best.to_mosaic.after(Affine.similarity(self._pixel_um, 0)), self._centre(best),
            angle, _scale(best.to_mosaic),
        )

    def _centre(self, place: CheckedPlace) -> tuple[float, float]:
        middle = (np.array(self._field_um) - self._pixel_um) / 2
        x_um, y_um = place.to_mosaic.apply(middle)
        return float(x_um), float(y_um)


def _at_pitch(grey: Grey, pixel_um: float, wanted_um: float) -> tuple[Grey, float]:
    """Return a picture at about a pitch, and its exact pitch (the mean of both axes)."""
    rows, columns = grey.shape
    size = max(1, round(columns * pixel_um / wanted_um)), max(1, round(rows * pixel_um / wanted_um))
    if size == (columns, rows):
        return grey, pixel_um
    shrinks = size[0] < columns
    drawn = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(drawn, dtype=np.float32), pixel_um * (columns / size[0] + rows / size[1]) / 2


def _shift(coarse_um: float, pixel_um: float) -> float:
    return (coarse_um - pixel_um) / 2


def _scale(to_mosaic: Affine) -> float:
    return float(np.sqrt(abs(np.linalg.det(to_mosaic.matrix[:, :2]))))


def _evidence(known: int, place: CheckedPlace, rival: float) -> FieldEvidence:
    return FieldEvidence(known, place.agreeing, place.correlation, rival, place.covered)
