"""The link between both frames found without a person: a few phone fields looked up on the benchtop's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.capture import captured
from mobilescope.acquire.pair_examining import PlaceFinder
from mobilescope.acquire.pairing import beyond_reach
from mobilescope.core.errors import RegistrationError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import PhoneCamera, PhoneCapture
from mobilescope.imaging.frame_link import PAIRED_UM, FrameLink, LinkPoint
from mobilescope.plans.field_lights import FieldLight
from mobilescope.plans.grids import FieldGrid, GridPosition

_WANTED, _MOST_TRIED = 4, 9
_COLOUR = (255, 255, 255)


def automatic_link(
    phone: PhoneCamera,
    finder: PlaceFinder,
    grid: FieldGrid,
    develop: Callable[[PhoneCapture], NDArray[Any]],
    slide: str,
    stop: StopToken,
) -> FrameLink:
    """Capture fields far from each other, find each without a place, and link the frames through them.

    Fields to which the phone scope can't go are not among them. Nothing is kept of these captures.

    Raises
    ------
    RegistrationError
        Less than three of the fields were found, or no three agree.
    CancelledError
        A stop was asked for.
    """
    points: list[LinkPoint] = []
    reached = [field for field in grid if not beyond_reach(phone, (field.x_um, field.y_um))]
    for number, field in enumerate(_far_apart(reached, _MOST_TRIED), start=1):
        stop.raise_if_requested(f"linking slide {slide!r}")
        capture = _captured(phone, field, f"slide {slide}, field {number} for the link")
        place = finder.place(develop(capture), 2 * capture.bayer_pixel_um)
        if place is not None:
            points.append(LinkPoint((field.x_um, field.y_um), place, PAIRED_UM))
        if len(points) >= _WANTED:
            break
    link = _agreeing(points)
    if link is None:
        raise RegistrationError(
            f"slide {slide}: {len(points)} fields were found on the benchtop's side, and no three of them agree; the "
            f"phone scope can go to {len(reached)} of the plan's {len(grid)}",
            "check focus and light, or give three places with --link x1,y1=X1,Y1",
        )
    return link


def _captured(phone: PhoneCamera, field: GridPosition, what: str) -> PhoneCapture:
    try:
        phone.illuminator.set_colour(*_COLOUR)
        return captured(phone, FieldLight(name="white", colour=_COLOUR), field.x_um, field.y_um, what)
    finally:
        phone.illuminator.off()


def _far_apart(fields: Sequence[GridPosition], count: int) -> list[GridPosition]:
    """Return up to ``count`` fields in an order in which each is as far as can be from those before it."""
    left, order = list(fields), list[GridPosition]()
    while left and len(order) < count:
        farthest = max(left, key=lambda each: min(
            (np.hypot(each.x_um - one.x_um, each.y_um - one.y_um) for one in order), default=-each.x_um - each.y_um
        ))
        order.append(farthest)
        left.remove(farthest)
    return order


def _agreeing(points: Sequence[LinkPoint]) -> FrameLink | None:
    """Return the link through most of the points: a field that was found in the wrong place contradicts the others."""
    for count in range(len(points), 2, -1):
        links = []
        for chosen in combinations(points, count):
            try:
                links.append(FrameLink.through(chosen))
            except UserError:
                continue
        if links:
            return min(links, key=lambda link: link.residual_um)
    return None
