"""The guided paired session: field by field a phone picture, its place on the benchtop, a verdict, kept or taken again.

A field's link is stored last and commits it. What is left to do follows from the stored links alone: a capture without
one is what a kill, or an earlier day, left to be found on the benchtop.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.capture import captured, set_light
from mobilescope.acquire.pair_examining import FieldExaminer, Finding, Remedy
from mobilescope.core.errors import DeviceError, LimitError, UserError
from mobilescope.core.pair_link import PairLink, field_name
from mobilescope.core.phone_picture import AttendedPhone
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import PhoneCamera, PhoneCapture
from mobilescope.imaging.frame_link import FrameLink, LinkPoint
from mobilescope.plans.field_lights import FieldLight

Point = tuple[float, float]
Picture = NDArray[Any]
FieldKey = tuple[int, int]

_NOWHERE = (math.nan, math.nan)
_NEARER = "choose another field, or check the link between both frames"


@dataclass(frozen=True)
class PlannedField:
    """A field to be paired: its place in the plan's grid, and its centre in the benchtop's frame."""

    row: int
    column: int
    x_um: float
    y_um: float

    @property
    def key(self) -> FieldKey:
        """Row and column."""
        return self.row, self.column

    @property
    def name(self) -> str:
        """What people call it."""
        return field_name(self.row, self.column)


@dataclass(frozen=True, eq=False)
class PendingCapture:
    """A stored capture that was not found on the benchtop yet; ``picture`` develops it."""

    index: int
    row: int
    column: int
    phone_um: Point
    pixel_um: float
    picture: Callable[[], Picture]


class Choice(Enum):
    """What is to be done with a field that was refused."""

    RETAKE = "retake"
    KEEP = "keep"
    SKIP = "skip"
    END = "end"


class Operator(Protocol):
    """The person who walks through the slide, or what stands in for one."""

    def tell(self, text: str) -> None:
        """Say something."""

    def choose(self, what: str, reason: str, advice: str) -> Choice:
        """Decide about a field that was refused as often as is tried without asking."""


class PairSink(Protocol):
    """Where a paired session is kept. Each call returns when what it was given can no longer be lost to a crash."""

    def add_phone_capture(
        self, slide: str, index: int, row: int, column: int, capture: PhoneCapture, *, channel: str = ""
    ) -> None:
        """Keep a capture; ``channel`` names the further light of the plan that it was taken in."""

    def has_capture(self, slide: str, row: int, column: int, channel: str = "") -> bool:
        """Tell whether a field's capture is there already, and of its latest take."""

    def add_pair_link(self, link: PairLink) -> None:
        """Keep a field's link, which commits the pair; its capture and tiles are there already."""

    def next_capture_index(self, slide: str) -> int:
        """Return a number that no capture of a slide has."""

    def capture_digests(self) -> set[str]:
        """Return the SHA-256 of every frame and JPEG that is kept."""

    def add_event(self, level: str, text: str) -> None:
        """Keep a line of the run's log."""


@dataclass(frozen=True)
class PairOptions:
    """How to pair: how often a refused field is taken again unasked, and the light it is taken in.

    Further ``lights`` are those of the plan: a field that has some, and is taken again in white, is in them too.
    """

    retakes: int = 2
    colour: tuple[int, int, int] = (255, 255, 255)
    lights: tuple[FieldLight, ...] = ()


@dataclass
class WalkResult:
    """What became of a walk over one slide: the links it added, fields it left with the reason, the link it ended with.

    ``advice`` says what to do about a refused field, by its row and column.
    """

    links: list[PairLink] = field(default_factory=list)
    left: dict[FieldKey, str] = field(default_factory=dict)
    advice: dict[FieldKey, str] = field(default_factory=dict)
    link: FrameLink | None = None


class PairedWalk:
    """Walks through the fields of one slide.

    Parameters
    ----------
    link : FrameLink
        Between the phone scope's frame and the benchtop's; each accepted pair improves it.
    develop : callable
        Makes a picture of a capture, whose pixels are twice ``bayer_pixel_um`` apart.
    run : int
        Number of this run in the session.
    focus : callable, optional
        Brings a place of the phone's frame into focus, before it is captured.
    """

    def __init__(
        self,
        slide: str,
        phone: PhoneCamera,
        sink: PairSink,
        examiner: FieldExaminer,
        link: FrameLink,
        operator: Operator,
        develop: Callable[[PhoneCapture], Picture],
        *,
        run: int = 0,
        focus: Callable[[Point], object] | None = None,
        options: PairOptions | None = None,
        on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> None:
        self._slide, self._phone, self._sink, self._examiner = slide, phone, sink, examiner
        self._operator, self._develop, self._run, self._focus = operator, develop, run, focus
        self._options, self._on_progress, self._stop = options or PairOptions(), on_progress, stop or StopToken()
        self.result = WalkResult(link=link)
        self._link = link
        self._counts = {"accepted": 0, "refused": 0}
        self._done = self._total = 0

    def pair_stored(self, captures: Sequence[PendingCapture]) -> None:
        """Find captures that are stored already on the benchtop; CancelledError when asked to stop."""
        self._total += len(captures)
        for capture in captures:
            self._stop.raise_if_requested(f"pairing slide {self._slide!r}")
            started = time.monotonic()
            planned = PlannedField(capture.row, capture.column, *self._link.on_benchtop(capture.phone_um))
            finding = self._examined(capture.picture(), capture.pixel_um, planned, capture.phone_um)
            self._keep(planned, capture.phone_um, capture.index, finding, attempts=1, started=started)
            self._show()

    def pair_fields(self, fields: Sequence[PlannedField]) -> None:
        """Capture fields and find each on the benchtop; the light goes off whatever happens.

        Fields to which the phone scope can't go are left out before it moves.

        Raises
        ------
        CancelledError
            When asked to stop, or when the person ends the walk; every pair so far is kept.
        UserError
            The slide lies upside down on one of the instruments.
        DeviceError
            Phone, light or stage failed as often as is tried.
        """
        self._total += len(fields)
        for planned in [planned for planned in fields if self._is_within_reach(planned)]:
            self._stop.raise_if_requested(f"pairing slide {self._slide!r}")
            self._pair(planned)
            self._show()

    def _is_within_reach(self, planned: PlannedField) -> bool:
        reason = beyond_reach(self._phone, self._link.on_phone((planned.x_um, planned.y_um)))
        if reason:
            self._leave_out_of_reach(planned, reason)
            self._show()
        return not reason

    def _pair(self, planned: PlannedField) -> None:
        what = self._named(planned)
        started, attempts, unasked = time.monotonic(), 0, self._options.retakes
        while True:
            attempts += 1
            # The link may have become better since the last attempt.
            phone_um = self._link.on_phone((planned.x_um, planned.y_um))
            try:
                capture = self._captured(what, phone_um)
            except LimitError as error:
                # The link has learned since it was asked whether the phone scope can go there.
                return self._leave_out_of_reach(planned, error.cause)
            except DeviceError as error:
                self._sink.add_event("warning", f"{what}: {error.cause}")
                if attempts > self._options.retakes:
                    raise
                self._operator.tell(f"{what}: {error.cause}; taken again")
                continue
            finding = self._seen_before(capture)
            fresh = finding is None
            if finding is None:
                pixel_um = 2 * capture.bayer_pixel_um
                finding = self._examined(self._develop(capture), pixel_um, planned, phone_um)
            if not finding.accepted:
                self._operator.tell(f"{what}: {finding.reason}; {finding.advice}")
                if finding.remedy in (Remedy.RETAKE, Remedy.MOVE, Remedy.TURN_OVER) and attempts <= unasked:
                    continue
                self._refuse_upside_down(finding)
                choice = self._operator.choose(what, finding.reason, finding.advice)
                if choice is Choice.RETAKE:
                    continue
                if choice is Choice.END:
                    self._stop.request()
                if choice is not Choice.KEEP or not fresh:
                    return self._leave(planned, finding.reason, finding.advice)
            earlier = [light for light in self._options.lights if self._has_light(planned, light)]
            index = self._sink.next_capture_index(self._slide)
            self._sink.add_phone_capture(self._slide, index, planned.row, planned.column, capture)
            self._keep(planned, phone_um, index, finding, attempts=attempts, started=started)
            return self._take_lights(planned, phone_um, index, earlier) if earlier else None

    def _has_light(self, planned: PlannedField, light: FieldLight) -> bool:
        return self._sink.has_capture(self._slide, planned.row, planned.column, light.name)

    def _take_lights(self, planned: PlannedField, phone_um: Point, index: int, lights: Iterable[FieldLight]) -> None:
        """Take a field's further lights again, which show what stood under the phone at the take before."""
        illuminator = self._phone.illuminator
        try:
            for light in lights:
                what = f"{self._named(planned)} in light {light.name}"
                set_light(illuminator, light)
                capture = captured(self._phone, light, *phone_um, what)
                self._sink.add_phone_capture(
                    self._slide, index, planned.row, planned.column, capture, channel=light.name
                )
        except DeviceError as error:
            # The pair is whole without them, and they count as missing.
            self._sink.add_event("warning", f"{what}: {error.cause}")
            self._operator.tell(f"{what}: {error.cause}; 'mobilescope capture' takes the lights that are missing")
        finally:
            illuminator.off()

    def _named(self, planned: PlannedField) -> str:
        return f"slide {self._slide}, {planned.name}"

    def _leave(self, planned: PlannedField, reason: str, advice: str) -> None:
        self._sink.add_event("warning", f"{self._named(planned)} was left: {reason}")
        self.result.left[planned.key] = reason
        self.result.advice[planned.key] = advice

    def _leave_out_of_reach(self, planned: PlannedField, reason: str) -> None:
        self._operator.tell(f"{self._named(planned)} is left out: {reason}")
        self._leave(planned, f"the phone scope can't go there: {reason}", _NEARER)

    def _captured(self, what: str, phone_um: Point) -> PhoneCapture:
        """Capture a field, with the light on for no longer; the phone goes there, or a person brings it there."""
        light = self._phone.illuminator
        try:
            light.set_colour(*self._options.colour)
            if self._focus is not None:
                self._focus(phone_um)
            return captured(self._phone, FieldLight(name="white", colour=self._options.colour), *phone_um, what)
        finally:
            light.off()

    def _seen_before(self, capture: PhoneCapture) -> Finding | None:
        """Refuse a picture that is kept already: a phone that sends its last one again."""
        if not self._sink.capture_digests().intersection(digests_of(capture)):
            return None
        return Finding(
            False, "the phone gave a picture that was taken before", "check that the phone takes a new one each time",
            Remedy.RETAKE,
        )

    def _examined(self, picture: Picture, pixel_um: float, planned: PlannedField, phone_um: Point) -> Finding:
        expected_um = planned.x_um, planned.y_um
        return self._examiner.examine(picture, pixel_um, expected_um, self._link.sigma_um(phone_um))

    def _refuse_upside_down(self, finding: Finding) -> None:
        if finding.remedy is Remedy.TURN_OVER and not self._counts["accepted"]:
            raise UserError(
                f"slide {self._slide}: {finding.reason}: it lies upside down on one of the instruments",
                f"{finding.advice}, then run the same command again",
            )

    def _keep(
        self, planned: PlannedField, phone_um: Point, index: int, finding: Finding, *, attempts: int, started: float
    ) -> None:
        """Commit a field, then learn from it where the next ones lie."""
        planned_um = (planned.x_um, planned.y_um)
        if not math.isfinite(planned.x_um):  # a capture from elsewhere, of which nobody knows where it was taken
            planned_um = finding.found_um or _NOWHERE
        link = PairLink(
            slide=self._slide, index=index, row=planned.row, column=planned.column, time_s=time.time(),
            phone_um=phone_um, planned_um=planned_um, found_um=finding.found_um or _NOWHERE,
            picture_to_um=_six(finding.picture_to_um), link=_six(self._link.to_benchtop),
            link_residual_um=self._link.residual_um, link_points=len(self._link.points),
            verdict="accepted" if finding.accepted else "refused", reason=finding.reason,
            quality=finding.quality or {}, source=finding.source, tiles=finding.tiles, attempts=attempts,
            seconds=time.monotonic() - started, run=self._run,
        )
        self._sink.add_pair_link(link)
        self.result.links.append(link)
        self._counts[link.verdict] += 1
        if finding.accepted and finding.found_um is not None and math.isfinite(phone_um[0]):
            self._link = self._link.improved(LinkPoint(phone_um, finding.found_um))
            self.result.link = self._link
        elif not finding.accepted:
            self.result.advice[planned.key] = finding.advice

    def _show(self) -> None:
        self._done += 1
        note = f"{self._counts['accepted']} accepted, {self._counts['refused']} refused"
        self._on_progress(Progress(f"pair {self._slide}", self._done, self._total, note))


def beyond_reach(phone: PhoneCamera, place_um: Point) -> str:
    """Say why a phone scope can't go to a place of its frame; empty where it can, or where nothing limits it."""
    if isinstance(phone, AttendedPhone):
        try:
            phone.check_fields([place_um])
        except LimitError as error:
            return error.cause
    return ""


def digests_of(capture: PhoneCapture) -> set[str]:
    """Return the SHA-256 of a capture's raw frame and of its JPEG, of those that it has."""
    parts = [] if capture.bayer is None else [np.ascontiguousarray(capture.bayer).tobytes()]
    if capture.jpeg:
        parts.append(capture.jpeg)
    return {hashlib.sha256(part).hexdigest() for part in parts}


def _six(affine: Any) -> tuple[float, ...]:
    return (math.nan,) * 6 if affine is None else tuple(float(value) for value in affine.matrix.ravel())
