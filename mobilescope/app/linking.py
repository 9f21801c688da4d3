"""The link between both frames found without a person: a few phone fields looked up on the benchtop's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.capture import captured
from mobilescope.acquire.pair_examining import PlaceFinder
from mobilescope.core.errors import RegistrationError, UserError
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
) -> FrameLink:
    """Capture fields far from each other, find each without a place, and link the frames through them.

    Nothing is kept of these captures.

    Raises
    ------
    RegistrationError
        Less than three of the fields were found, or no three agree.
    """
    points: list[LinkPoint] = []
    for number, stop in enumerate(_far_apart(list(grid))[:_MOST_TRIED]):
        capture = _captured(phone, stop, f"slide {slide}, field {number + 1} for the link")
        place = finder.place(develop(capture), 2 * capture.bayer_pixel_um)
        if place is not None:
            points.append(LinkPoint((stop.x_um, stop.y_um), place, PAIRED_UM))
        if len(points) >= _WANTED:
            break
    link = _agreeing(points)
    if link is None:
        raise RegistrationError(
            f"slide {slide}: {len(points)} fields were found on the benchtop's side, and no three of them agree",
            "check focus and light, or give three places with --link x1,y1=X1,Y1",
        )
    return link


def _captured(phone: PhoneCamera, stop: GridPosition, what: str) -> PhoneCapture:
    try:
        phone.illuminator.set_colour(*_COLOUR)
        return captured(phone, FieldLight(name="white", colour=_COLOUR), stop.x_um, stop.y_um, what)
    finally:
        phone.illuminator.off()


def _far_apart(stops: Sequence[GridPosition]) -> list[GridPosition]:
    """Return the stops in an order in which each is as far as can be from those before it."""
    left, order = list(stops), [min(stops, key=lambda stop: stop.x_um + stop.y_um)]
    left.remove(order[0])
    while left:
        farthest = max(
            left, key=lambda stop: min(np.hypot(stop.x_um - one.x_um, stop.y_um - one.y_um) for one in order)
        )
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
