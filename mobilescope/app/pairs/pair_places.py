"""Where a session's captures lie on the benchtop: by what a paired session found, else by the link, else as planned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mobilescope.core.geometry import Affine
from mobilescope.core.pair_link import PairLink
from mobilescope.core.protocols import PositionUm
from mobilescope.data.link_records import current_fields
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session


@dataclass(frozen=True)
class PlacedCapture:
    """A capture whose position is where it is to be looked for, and where its field was planned, in the same frame.

    ``turn_deg`` is by how much pictures lie turned in that frame, x towards y; 0 where no pair tells.
    """

    capture: CaptureRecord
    planned_um: tuple[float, float]
    turn_deg: float = 0.0


def placed_captures(session: Session, slide: str) -> list[PlacedCapture]:
    """Return a slide's captures with their places in the benchtop's frame.

    Of a field that was taken again after it was refused, only the latest capture is among them.
    """
    links = session.pair_links(slide)
    by_index = {link.index: link for link in links}
    superseded = set(by_index) - {link.index for link in current_fields(links)}
    last = next((link for link in reversed(links) if link.accepted), None)
    return [
        _placed(capture, by_index.get(capture.index), last) for capture in session.captures(slide)
        if capture.index not in superseded
    ]


def _placed(capture: CaptureRecord, link: PairLink | None, last: PairLink | None) -> PlacedCapture:
    at, turn_deg = capture.position, _turn_deg(link, last)
    if link is not None:
        place = link.found_um if np.isfinite(link.found_um).all() else link.planned_um
        return PlacedCapture(replace(capture, position=PositionUm(*place, at.z_um)), link.planned_um, turn_deg)
    if last is None:
        return PlacedCapture(capture, (at.x_um, at.y_um))
    x_um, y_um = Affine(np.array(last.link).reshape(2, 3)).apply((at.x_um, at.y_um))
    return PlacedCapture(
        replace(capture, position=PositionUm(float(x_um), float(y_um), at.z_um)), (float(x_um), float(y_um)), turn_deg
    )


def _turn_deg(*links: PairLink | None) -> float:
    """Return how a picture lies turned by the first link that knows, 0 where none does."""
    for link in links:
        if link is not None and np.isfinite(link.picture_to_um).all():
            right_x, _, _, right_y, *_ = link.picture_to_um
            return math.degrees(math.atan2(right_y, right_x))
    return 0.0
