"""What a paired session needs of its instruments: a focus for the phone, a finder, and where the link begins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mobilescope.acquire.pair_examining import PlaceFinder
from mobilescope.acquire.phone_focus import PhoneFocus
from mobilescope.app.mosaics.mosaicking import has_mosaic
from mobilescope.app.paired_sessions.pair_operator import ask_for_points
from mobilescope.app.pairs.finding import MosaicFinder
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.app.terminal.console import say
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import UserError
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import PhoneCamera
from mobilescope.data.layout import mosaic_path
from mobilescope.data.session import Session
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.imaging.frame_link import LinkPoint


def phone_focus(phone: PhoneCamera) -> PhoneFocus:
    """Return what focuses a phone scope with its own pictures; UserError where nothing moves its focus."""
    stage = phone.focus_stage if isinstance(phone, RealPhone) else None
    if stage is None:
        raise UserError(
            "--focus needs a motorised [stage] under a phone that is triggered from here", "focus by hand, without it"
        )
    return PhoneFocus(phone, stage, develop_fresh)


def starting_points(
    config: InstrumentConfig, session: Path, slides: Sequence[str], *, yes: bool
) -> tuple[bool, tuple[LinkPoint, ...]]:
    """Return where the link comes from when none was given: whether it is to be found, and places a person names.

    The twin's frames are one. A real phone scope's link is what the session's pairs say; else it is found where all
    slides are stitched; else a person is asked.
    """
    if config.phone.kind == "twin" or _has_pairs(session, slides):
        return False, ()
    if all(has_mosaic(session, slide) for slide in slides):
        return True, ()
    if yes or not sys.stdin.isatty():
        raise UserError(
            "nothing links the phone scope's frame with the benchtop's",
            "give three places with --link x1,y1=X1,Y1, or scan and stitch first, then the link is found",
        )
    return False, ask_for_points()


def _has_pairs(session: Path, slides: Sequence[str]) -> bool:
    with Session.open(session) as opened:
        return all(any(link.accepted for link in opened.pair_links(slide)) for slide in slides)


class MosaicPlaces:
    """Finds phone pictures in a slide's mosaic. Implements `PlaceFinder`; the index is made when first asked."""

    def __init__(self, mosaic: Path, stop: StopToken | None = None) -> None:
        self._mosaic, self._stop = mosaic, stop
        self._finder: MosaicFinder | None = None

    def place(self, picture: NDArray[Any], pixel_um: float) -> tuple[float, float] | None:
        """Return where a picture's centre lies on the benchtop's stage; None where it is not in the mosaic.

        Making the index, which may take long, ends with a CancelledError where a stop is asked for.
        """
        if self._finder is None:
            say("indexing the mosaic, once, to find fields in it")
            self._finder = MosaicFinder.open(self._mosaic, stop=self._stop)
            if self._finder.unsaved:
                say(f"the index could not be kept, the next run makes it again: {self._finder.unsaved}")
        return self._finder.find(picture, pixel_um).centre_um


def place_finder(session: Path, slide: str, *, stop: StopToken | None = None) -> PlaceFinder | None:
    """Return what finds a phone picture in a slide's mosaic without a place; None where it was not stitched."""
    return MosaicPlaces(mosaic_path(session, slide), stop) if has_mosaic(session, slide) else None
