"""A paired session over the slides of a plan: what is left of each, the link between both frames, and the walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.pair_examining import FieldExaminer, PlaceFinder
from mobilescope.acquire.pairing import (
    Operator,
    PairedWalk,
    PairOptions,
    PendingCapture,
    PlannedField,
    WalkResult,
    beyond_reach,
)
from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.scan import take_flat_fields
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.acquire.stored_links import link_from
from mobilescope.app.acquisition.acquiring import field_grid, keep_phone_light, known_files, run_of_tiles, slide_run
from mobilescope.app.acquisition.slide_content import slide_content
from mobilescope.app.instruments.channels import channel_switch
from mobilescope.app.instruments.instrument import Instruments
from mobilescope.app.paired_sessions.linking import automatic_link
from mobilescope.app.paired_sessions.pair_benchtop import SessionSide, TakeTiles, tile_taker
from mobilescope.app.pictures.developing import develop_capture, develop_fresh
from mobilescope.core.errors import UserError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.pair_link import SUGGESTED_ROW, PairLink
from mobilescope.core.phone_picture import AttendedPhone
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.link_records import current_fields
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.field_suggestions import suggest_fields
from mobilescope.imaging.frame_link import FrameLink, LinkPoint
from mobilescope.imaging.quality import GateThresholds
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.job import JobPlan, SlidePlan

# Beside a field, what of the benchtop is taken ahead of time where the slide has to be moved in between.
_AHEAD_UM = 60.0

FinderOf = Callable[[Path, str], PlaceFinder | None]


@dataclass(frozen=True)
class PairRequest:
    """What is asked of a paired session.

    Attributes
    ----------
    points : tuple of LinkPoint
        Places seen on both instruments, where a person gave some.
    automatic : bool
        Find a few fields on the benchtop's side first, without a link.
    stored_only : bool
        Pair the captures that the session has; the instruments are left alone.
    retake : bool
        Take fields again that were refused.
    suggest : int
        How many fields to have beside the plan's, where specimen is and nothing was paired yet.
    clear_field : bool
        Whether a clear field can be put under the benchtop's objective before tiles are taken.
    """

    points: tuple[LinkPoint, ...] = ()
    automatic: bool = False
    stored_only: bool = False
    retake: bool = False
    suggest: int = 0
    retakes: int = 2
    clear_field: bool = True


@dataclass
class PairingRun:
    """What a run left, by slide; ``link`` of a slide is None where it was not come to."""

    slides: dict[str, WalkResult] = field(default_factory=dict)


class SessionPairing:
    """Pairs the slides of a plan into a session that is open for writing.

    Parameters
    ----------
    operator : Operator
        Who decides about fields that are refused.
    finder_of : callable
        Makes what finds a picture on a slide of a session without a place; it may return None.
    focus : callable, optional
        Brings a place of the phone's frame into focus.
    """

    def __init__(
        self,
        writer: SessionWriter,
        plan: JobPlan,
        instruments: Instruments,
        operator: Operator,
        request: PairRequest,
        finder_of: FinderOf,
        *,
        focus: Callable[[tuple[float, float]], object] | None = None,
        thresholds: GateThresholds | None = None,
        on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> None:
        self._writer, self._plan, self._instruments, self._operator = writer, plan, instruments, operator
        self._request, self._finder_of, self._thresholds = request, finder_of, thresholds
        self._focus, self._on_progress, self._stop = focus, on_progress, stop or StopToken()
        self.run = PairingRun()

    def pair(self, slides: Sequence[str] = ()) -> PairingRun:
        """Pair what is left of the plan's slides, or of some of them; the same call goes on after whatever ended it."""
        chosen = [self._plan.slide(name) for name in slides] or list(self._plan.slides)
        with Session.open(self._writer.path) as session:
            links = [link for slide in session.slides for link in session.pair_links(slide.name)]
            captured = any(session.captures(slide.name) for slide in chosen)
        if self._request.stored_only and not captured:
            names = ", ".join(slide.name for slide in chosen)
            raise UserError(
                f"{self._writer.path} has no captures of {names} to pair", "capture or ingest them first"
            )
        number = 1 + max((link.run for link in links), default=-1)
        if not self._request.stored_only:
            keep_phone_light(self._writer, self._instruments)
        for slide in chosen:
            self._pair_slide(slide, number)
        return self.run

    def _pair_slide(self, slide: SlidePlan, number: int) -> None:
        request, path = self._request, self._writer.path
        pending = self._pending(slide.name)
        fields = [] if request.stored_only else self._fields_left(slide, pending)
        if not pending and not fields and not request.suggest:
            return
        if request.stored_only:
            side = SessionSide(path, slide.name, None)
        else:
            run = slide_run(slide, self._instruments)
            side = SessionSide(path, slide.name, run.area.grid, take=self._taker(run))
        if request.stored_only and pending and not side.has_mosaic and not self._has_tiles(slide.name):
            raise UserError(
                f"slide {slide.name!r} of {path} was not scanned, and its captures can't be found on nothing",
                "scan it first",
            )
        finder = self._finder_of(path, slide.name)
        examiner = FieldExaminer(side, finder=finder, thresholds=self._thresholds, details=self._details())
        live = bool(fields) or (request.suggest > 0 and not request.stored_only)
        finding = live and request.automatic and not request.points
        if finding and finder is None:
            raise UserError(
                f"slide {slide.name!r} has no mosaic to find the phone's fields in", "scan and stitch it first, or "
                "give three places with --link x1,y1=X1,Y1"
            )
        link = None if finding else self._known_link(slide, number)
        if live:
            self._attend_phone()
            self._look_ahead(side, fields, link)
            self._instruments.phone.mount(slide.mounted)
        if link is None:
            assert finder is not None
            link = automatic_link(
                self._instruments.phone, finder, self._grid(slide), develop_fresh, slide.name, self._stop
            )
            self._say_link(slide.name, "fields found on the benchtop's side", link)
        walk = PairedWalk(
            slide.name, self._instruments.phone, self._writer, examiner, link, self._operator, develop_fresh,
            run=number, focus=self._focus, options=PairOptions(
                retakes=request.retakes, lights=() if slide.capture is None else slide.capture.lights
            ),
            on_progress=self._on_progress, stop=self._stop,
        )
        self.run.slides[slide.name] = walk.result
        walk.pair_stored(pending)
        if request.stored_only:
            return
        walk.pair_fields(self._fields_left(slide, []) if pending else fields)
        if request.suggest:
            walk.pair_fields(self._suggested(slide))

    def _pending(self, slide: str) -> list[PendingCapture]:
        """Return the captures that have no link: of an earlier day, or of a run that was killed."""
        with Session.open(self._writer.path) as session:
            linked = {link.index for link in session.pair_links(slide)}
            captures = [capture for capture in session.captures(slide) if capture.index not in linked]
        return [
            PendingCapture(
                capture.index, capture.row, capture.column, (capture.position.x_um, capture.position.y_um),
                2 * capture.pixel_size_um, self._stored_picture(capture),
            ) for capture in captures
        ]

    def _stored_picture(self, capture: CaptureRecord) -> Callable[[], NDArray[Any]]:
        def picture() -> NDArray[Any]:
            with Session.open(self._writer.path) as session:
                return develop_capture(session, capture)

        return picture

    def _fields_left(self, slide: SlidePlan, pending: Sequence[PendingCapture]) -> list[PlannedField]:
        """Return the plan's fields that have no link, and, where they are to be taken again, those refused."""
        if slide.capture is None:
            return []
        done = {(capture.row, capture.column) for capture in pending}
        for link in self._current(slide.name):
            if link.accepted or not self._request.retake or link.run == self._number_now(slide.name):
                done.add((link.row, link.column))
        return [
            PlannedField(stop.row, stop.column, stop.x_um, stop.y_um)
            for stop in self._grid(slide) if (stop.row, stop.column) not in done
        ]

    def _grid(self, slide: SlidePlan) -> FieldGrid:
        return field_grid(slide, *self._instruments.phone.field_of_view_um)

    def _current(self, slide: str) -> list[PairLink]:
        with Session.open(self._writer.path) as session:
            return current_fields(session.pair_links(slide))

    def _number_now(self, slide: str) -> int:
        """Return the number of this run where it has paired something of a slide already; else one that none has."""
        result = self.run.slides.get(slide)
        return result.links[0].run if result is not None and result.links else -1

    def _details(self) -> list[float]:
        """Return how much of the fine detail arrived in the pairs that the session has."""
        with Session.open(self._writer.path) as session:
            links = [link for slide in session.slides for link in session.pair_links(slide.name)]
        good = [link.quality for link in links if link.accepted]
        return [quality["detail_transfer"] for quality in good if "detail_transfer" in quality]

    def _has_tiles(self, slide: str) -> bool:
        with Session.open(self._writer.path) as session:
            return bool(session.mosaic_tiles(slide))

    def _taker(self, run: SlideRun) -> TakeTiles:
        def runner_of(part: SlideRun) -> ScanRunner:
            # The few tiles of the field at hand are taken to the end; many, taken ahead, can be stopped between.
            stop = self._stop if self._instruments.changed_by_hand else None
            return run_of_tiles(self._writer, self._instruments, part, stop=stop)

        def before() -> None:
            if self._request.clear_field:
                take_flat_fields(
                    self._instruments.benchtop, self._writer, self._instruments.blank_slide, run.channels or (None,),
                    channel_switch(self._instruments),
                )

        return tile_taker(runner_of, run, before)

    def _attend_phone(self) -> None:
        phone = self._instruments.phone
        if isinstance(phone, AttendedPhone):
            with Session.open(self._writer.path) as session:
                phone.know(known_files(session))
            phone.heed(self._stop)

    def _look_ahead(self, side: SessionSide, fields: Sequence[PlannedField], link: FrameLink | None) -> None:
        """Take the tiles of all fields first where a person would have to move the slide for each."""
        if not self._instruments.changed_by_hand:
            return
        places = [(each.x_um, each.y_um) for each in fields]
        if link is not None:
            places = [place for place in places if not beyond_reach(self._instruments.phone, link.on_phone(place))]
        size = self._instruments.phone.field_of_view_um
        side.prepare([RegionUm.centred(*place, *size).grown(_AHEAD_UM) for place in places])

    def _known_link(self, slide: SlidePlan, number: int) -> FrameLink:
        """Return the link that was given, else what the session's own pairs say."""
        if self._request.points:
            link = FrameLink.through(self._request.points)
            self._say_link(slide.name, "places", link)
            return link
        with Session.open(self._writer.path) as session:
            stored = session.pair_links(slide.name)
        return link_from(stored, FrameLink.nominal(slide.centre_um), number)

    def _say_link(self, slide: str, made_of: str, link: FrameLink) -> None:
        text = (
            f"slide {slide}: link through {len(link.points)} {made_of}: residual {link.residual_um:.1f} µm, turned by "
            f"{link.turn_deg:.1f}°{', mirrored' if link.mirrored else ''}"
        )
        self._operator.tell(text)
        self._writer.add_event("info", text)

    def _suggested(self, slide: SlidePlan) -> list[PlannedField]:
        """Return further fields where specimen is and nothing was paired or planned yet."""
        content = slide_content(self._writer.path, slide.name)
        if content is None:
            return []
        size = self._instruments.phone.field_of_view_um
        links = self._current(slide.name)
        centres = [link.found_um if np.isfinite(link.found_um).all() else link.planned_um for link in links]
        planned = [] if slide.capture is None else [
            (stop.x_um, stop.y_um) for stop in self._grid(slide)
        ]
        taken = [RegionUm.centred(*centre, *size) for centre in (*centres, *planned)]
        number = 1 + max((link.column for link in links if link.row == SUGGESTED_ROW), default=-1)
        wanted = max(0, self._request.suggest - number)
        places = suggest_fields(content.content, taken, size, wanted)
        if len(places) < wanted:
            self._operator.tell(
                f"slide {slide.name}: {len(places)} of {wanted} more fields suggested: nowhere else the benchtop saw a "
                "whole field with specimen that is free"
            )
        return [PlannedField(SUGGESTED_ROW, number + count, *place) for count, place in enumerate(places)]
