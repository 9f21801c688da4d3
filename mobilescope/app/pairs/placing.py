"""Where in its slide's mosaic a capture is to be registered: around its position, or where a search finds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pairs.finding import MosaicFinder
from mobilescope.core.errors import RegistrationError
from mobilescope.core.geometry import Affine, RegionUm
from mobilescope.data.files import file_state
from mobilescope.data.records import CaptureRecord

SEARCH_MARGIN_UM = 45.0
# A found place is right to a micrometre; the lens bends the field by little more.
_FOUND_MARGIN_UM = 15.0
# A worker goes through a session slide by slide.
_FINDERS_KEPT = 2


@dataclass(frozen=True)
class Placement:
    """The part of the mosaic to register with, what of the field may be evaluated, and figures of how it was found."""

    region: RegionUm
    cell: RegionUm | None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """A mosaic to look through; ``content`` is what of the slide may be evaluated, None for all of it."""

    mosaic: Path
    content: RegionUm | None


def has_position(capture: CaptureRecord) -> bool:
    """Tell whether a capture says where it was taken."""
    return math.isfinite(capture.position.x_um) and math.isfinite(capture.position.y_um)


def nominal_placement(
    capture: CaptureRecord, cell: RegionUm | None, shape: tuple[int, int], pitch_um: float, turn_deg: float = 0.0
) -> Placement:
    """Return the surroundings of the position of a capture that may lie turned; RegistrationError where it has none."""
    if not has_position(capture):
        raise RegistrationError("the capture's position is not known", "let it be searched for in the mosaic")
    at, (rows, columns) = capture.position, shape
    from_middle = Affine.similarity(1.0, 0.0, -(columns - 1) / 2, -(rows - 1) / 2)
    lies = _around(Affine.similarity(pitch_um, turn_deg, at.x_um, at.y_um).after(from_middle), shape)
    return Placement(lies.grown(SEARCH_MARGIN_UM), cell)


def searched_placement(
    capture: CaptureRecord, picture: NDArray[np.generic], pitch_um: float, search: Search
) -> Placement:
    """Look for a capture in its whole mosaic.

    What may be evaluated then is all of the field that lies within the slide's content, however it is turned.

    Raises
    ------
    RegistrationError
        It is not there, or there are several places that look alike.
    """
    near_um = (capture.position.x_um, capture.position.y_um) if has_position(capture) else None
    place = _finder(search.mosaic).find(picture, pitch_um, near_um)
    if place.to_mosaic_um is None or place.centre_um is None:
        raise RegistrationError(place.reason)
    lies = _around(place.to_mosaic_um, (picture.shape[0], picture.shape[1]))
    figures = {
        "place_x_um": place.centre_um[0], "place_y_um": place.centre_um[1], "place_rotation_deg": place.rotation_deg,
        "place_correlation": place.evidence.correlation, "place_landmarks": float(place.evidence.agreeing),
    }
    cell = lies if search.content is None else lies.intersection(search.content)
    return Placement(lies.grown(_FOUND_MARGIN_UM), cell, figures)


def _around(to_um: Affine, shape: tuple[int, int]) -> RegionUm:
    """Return the rectangle of the stage around a picture of (rows, columns), from the outer edges of its pixels."""
    rows, columns = shape
    corners = to_um.apply([(x, y) for x in (-0.5, columns - 0.5) for y in (-0.5, rows - 0.5)])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return RegionUm(float(left), float(top), float(right - left), float(bottom - top))


def _finder(mosaic: Path) -> MosaicFinder:
    """Return what finds fields in the mosaic that stands there now; a worker may outlive one that is stitched anew.

    The index needs no such care: it is held in memory, and is that of the mosaic's own digest.
    """
    return _opened(mosaic, file_state(mosaic))


@lru_cache(maxsize=_FINDERS_KEPT)
def _opened(mosaic: Path, _state: tuple[Any, ...]) -> MosaicFinder:
    return MosaicFinder.open(mosaic)
