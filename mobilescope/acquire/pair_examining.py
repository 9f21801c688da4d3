"""One phone picture held against the benchtop: where it lies, whether it is the field that was meant, and how good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.slide_run import UNFOCUSED
from mobilescope.core.errors import InputImageError, LimitError, MirroredError, RegistrationError
from mobilescope.core.geometry import Affine, RegionUm
from mobilescope.core.pair_link import MAX_LINK_TILES, QUALITY_NAMES, Source
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.quality import GateThresholds, judge, judge_focus, specimen_mask, typical_detail
from mobilescope.imaging.registration import Registration, register

Point = tuple[float, float]

# How far around the place where a field should lie it is looked for: in standard deviations, within bounds.
_SIGMAS, _LEAST_MARGIN_UM, _MOST_MARGIN_UM = 3.0, 30.0, 150.0
_WIDER = 3.0
# Beside the bounds, what a picture may be larger than its nominal size or turned.
_ROOM = 1.06
# A field that lies further from its place than this share of its side is another one.
_ANOTHER_FIELD = 0.35
_LEAST_SPECIMEN = 0.01
# A tile that lies under less of the field than this does not spoil it.
_LEAST_SHARE = 0.02
_MAP_STEP = 8


@dataclass(frozen=True)
class TileUnder:
    """One benchtop tile: its cell of the scan's grid, where the stage said that it lies, and its mark."""

    row: int
    column: int
    region: RegionUm
    mark: str


@dataclass(frozen=True, eq=False)
class BenchtopView:
    """A part of the benchtop's picture of a slide.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns, 3), uint8
    origin_um : tuple of float
        Stage position (x, y) of the centre of pixel (0, 0).
    tiles : tuple of TileUnder
        What it is made of.
    """

    pixels: NDArray[np.uint8]
    origin_um: Point
    pixel_size_um: float
    source: Source
    tiles: tuple[TileUnder, ...]


class BenchtopSide(Protocol):
    """What the benchtop has seen of a slide, or can see."""

    def covers(self, region: RegionUm) -> bool:
        """Tell whether a region can be viewed without taking a picture."""

    def view(self, region: RegionUm) -> BenchtopView:
        """Return what lies in a region, taking it first where it may.

        Raises
        ------
        RegistrationError
            It is not to be had.
        LimitError
            The stage can't go there; nothing was moved.
        """


class PlaceFinder(Protocol):
    """Finds a picture on a slide without being told where to look."""

    def place(self, picture: NDArray[Any], pixel_um: float) -> Point | None:
        """Return where a picture's centre lies in the benchtop's frame, (x, y) in µm; None where it does not."""


class Remedy(Enum):
    """What may mend a refused field."""

    NOTHING = "nothing"
    RETAKE = "retake"
    MOVE = "move"
    TURN_OVER = "turn over"
    OTHER_FIELD = "other field"
    RESCAN = "rescan"


@dataclass(frozen=True)
class Finding:
    """What came of one picture.

    ``found_um`` is None where it was not found; the other names are those of `PairLink`. ``advice`` is for the person.
    """

    accepted: bool
    reason: str = ""
    advice: str = ""
    remedy: Remedy = Remedy.NOTHING
    found_um: Point | None = None
    picture_to_um: Affine | None = None
    quality: dict[str, float] | None = None
    source: Source = ""
    tiles: tuple[tuple[int, int], ...] = ()


class FieldExaminer:
    """Examines the pictures of one slide.

    Parameters
    ----------
    finder : PlaceFinder, optional
        Asked where a picture is not found where it should be.
    details : sequence of float
        ``detail_transfer`` of the session's accepted pairs so far.
    """

    def __init__(
        self, side: BenchtopSide, *, finder: PlaceFinder | None = None, thresholds: GateThresholds | None = None,
        details: Sequence[float] = (),
    ) -> None:
        self._side, self._finder, self._thresholds = side, finder, thresholds
        self._details = list(details)
        self._turn_rad = 0.0

    def examine(self, picture: NDArray[Any], pixel_um: float, expected_um: Point, sigma_um: float) -> Finding:
        """Find a developed picture near a place of the benchtop's frame, known to ``sigma_um``, and judge it.

        Of a picture whose place is not known (not a number), the finder alone is asked.
        """
        if float(specimen_mask(luminance(to_float(picture))).mean()) < _LEAST_SPECIMEN:
            return Finding(
                False, "the phone's picture is blank", "check focus and light, or choose a field with specimen",
                Remedy.OTHER_FIELD,
            )
        size_um = picture.shape[1] * pixel_um, picture.shape[0] * pixel_um
        try:
            view, registration = self._located(picture, pixel_um, size_um, expected_um, sigma_um)
        except MirroredError as error:
            return Finding(False, error.cause, error.remedy, Remedy.TURN_OVER)
        except (RegistrationError, InputImageError) as error:
            return Finding(False, error.cause, error.remedy, Remedy.MOVE)
        except LimitError as error:
            advice = "choose another field, or scan less around it"
            return Finding(False, f"the benchtop can't go there: {error.cause}", advice, Remedy.OTHER_FIELD)
        return self._judged(view, registration, pixel_um, size_um, expected_um, sigma_um)

    def _located(
        self, picture: NDArray[Any], pixel_um: float, size_um: Point, expected_um: Point, sigma_um: float
    ) -> tuple[BenchtopView, Registration]:
        """Register the picture around its place, then further around, then wherever the finder says."""
        if not math.isfinite(expected_um[0]):
            return self._looked_up(picture, pixel_um, size_um, RegistrationError(
                "nobody knows where the picture was taken", "stitch the slide, then it is looked for in the mosaic"
            ))
        margin = min(max(_SIGMAS * sigma_um, _LEAST_MARGIN_UM), _MOST_MARGIN_UM)
        try:
            return self._registered(picture, pixel_um, self._region(expected_um, size_um, margin))
        except MirroredError:
            raise
        except RegistrationError as error:
            first = error
        wide = self._region(expected_um, size_um, _WIDER * margin)
        if self._side.covers(wide):
            try:
                return self._registered(picture, pixel_um, wide)
            except MirroredError:
                raise
            except RegistrationError:
                pass
        return self._looked_up(picture, pixel_um, size_um, first)

    def _looked_up(
        self, picture: NDArray[Any], pixel_um: float, size_um: Point, otherwise: RegistrationError
    ) -> tuple[BenchtopView, Registration]:
        """Register the picture where the finder says that it lies; raise an error where it does not."""
        place = None if self._finder is None else self._finder.place(picture, pixel_um)
        if place is None:
            raise otherwise
        return self._registered(picture, pixel_um, self._region(place, size_um, _LEAST_MARGIN_UM))

    def _registered(
        self, picture: NDArray[Any], pixel_um: float, region: RegionUm
    ) -> tuple[BenchtopView, Registration]:
        view = self._side.view(region)
        return view, register(
            picture, view.pixels, moving_pixel_um=pixel_um, fixed_pixel_um=view.pixel_size_um
        )

    def _region(self, centre_um: Point, size_um: Point, margin_um: float) -> RegionUm:
        """Return where a picture of a size, turned as the last one was, may lie."""
        cos, sin = abs(math.cos(self._turn_rad)), abs(math.sin(self._turn_rad))
        width, height = size_um[0] * cos + size_um[1] * sin, size_um[0] * sin + size_um[1] * cos
        return RegionUm.centred(*centre_um, _ROOM * width, _ROOM * height).grown(margin_um)

    def _judged(
        self, view: BenchtopView, registration: Registration, pixel_um: float, size_um: Point, expected_um: Point,
        sigma_um: float,
    ) -> Finding:
        to_um = _picture_to_um(registration, view)
        rows, columns = registration.moving_shape
        x_um, y_um = (float(value) for value in to_um.apply(((columns - 1) / 2, (rows - 1) / 2)))
        self._turn_rad = math.atan2(to_um.matrix[1, 0], to_um.matrix[0, 0])
        footprint = self._region((x_um, y_um), size_um, 0.0)
        shares = {tile: _share(tile.region, footprint) for tile in view.tiles}
        under = [tile for tile in sorted(shares, key=lambda tile: -shares[tile]) if shares[tile] > _LEAST_SHARE]
        measured = asdict(registration.quality)
        found = Finding(
            True, found_um=(x_um, y_um), picture_to_um=to_um, source=view.source,
            quality={name: float(measured[name]) for name in QUALITY_NAMES if name in measured},
            tiles=tuple(sorted((tile.row, tile.column) for tile in under[:MAX_LINK_TILES])),
        )
        missed = x_um - expected_um[0], y_um - expected_um[1]
        if math.hypot(*missed) > max(4 * sigma_um, _ANOTHER_FIELD * min(size_um)):
            return replace(
                found, accepted=False, reason=f"this is another field: {_way(missed)} of the one that was meant",
                advice=f"move the phone scope's view {_way((-missed[0], -missed[1]))}", remedy=Remedy.MOVE,
            )
        blurred = next((tile for tile in under if UNFOCUSED in tile.mark.split(",")), None)
        if blurred is not None:
            return replace(
                found, accepted=False, remedy=Remedy.RESCAN,
                reason=f"the benchtop's tile row {blurred.row} column {blurred.column} is out of focus",
                advice="check slide and objective, and scan that place again",
            )
        verdict = judge(registration.quality, self._thresholds)
        typical = typical_detail(self._details)
        if verdict.accepted and typical is not None:
            verdict = judge_focus(registration.quality.detail_transfer, typical, self._thresholds)
        if verdict.accepted:
            self._details.append(registration.quality.detail_transfer)
            return found
        return replace(
            found, accepted=False, reason=verdict.reason, advice=_advice(verdict.reason), remedy=Remedy.RETAKE
        )


def _picture_to_um(registration: Registration, view: BenchtopView) -> Affine:
    """Return the affine that comes nearest to a registration's map, from the picture's (x, y) to the stage's µm."""
    rows, columns = registration.moving_shape
    row, column = np.mgrid[0:rows:_MAP_STEP, 0:columns:_MAP_STEP]
    lies = registration.map_yx[::_MAP_STEP, ::_MAP_STEP].reshape(-1, 2)[:, ::-1].astype(np.float64)
    um = np.asarray(view.origin_um) + lies * view.pixel_size_um
    design = np.column_stack([column.ravel(), row.ravel(), np.ones(row.size)])
    solution, *_ = np.linalg.lstsq(design, um, rcond=None)
    return Affine(solution.T)


def _share(tile: RegionUm, footprint: RegionUm) -> float:
    common = tile.intersection(footprint)
    return 0.0 if common is None else common.width_um * common.height_um / (footprint.width_um * footprint.height_um)


def _way(away_um: Point) -> str:
    """Return a distance in words, x to the right and y down in the image."""
    x_um, y_um = away_um
    return f"{abs(x_um):.0f} µm {'right' if x_um > 0 else 'left'} and {abs(y_um):.0f} µm {'down' if y_um > 0 else 'up'}"


def _advice(reason: str) -> str:
    if "blurred" in reason:
        return "focus the phone scope and take it again"
    if "saturated" in reason:
        return "lower the light or the exposure and take it again"
    if "blank" in reason:
        return "choose a field with more specimen"
    return "take it again"
