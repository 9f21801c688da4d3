"""What the pairs of earlier runs, stored in a session, say of the link between both instruments' frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobilescope.core.geometry import Affine
from mobilescope.core.pair_link import PairLink
from mobilescope.imaging.frame_link import FrameLink, LinkPoint


def link_from(links: Sequence[PairLink], start: FrameLink, run: int) -> FrameLink:
    """Return what a session's accepted pairs say of the link; what earlier runs say holds loosely.

    Each run began with a link of its own, which may rest on places that a person named: few pairs tell no turn.
    """
    link = start
    for number in sorted({entry.run for entry in links}):
        of_run = [entry for entry in links if entry.run == number]
        link = replace(link, to_benchtop=Affine(np.array(of_run[0].link).reshape(2, 3)))
        for entry in of_run:
            if is_linking(entry):
                link = link.improved(LinkPoint(entry.phone_um, entry.found_um))
        if number < run and link.points:
            link = replace(link.loosened(), points=())
    return link


def is_linking(pair: PairLink) -> bool:
    """Tell whether a pair shows a place in both frames: it was accepted, and the phone scope was sent somewhere."""
    return pair.accepted and math.isfinite(pair.phone_um[0])
