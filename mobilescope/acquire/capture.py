"""Phone captures at nominal positions, in one light or several, with the light on only while they are taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from mobilescope.acquire.light_level import check_dark, check_lit
from mobilescope.core.errors import DeviceError, PlanError
from mobilescope.core.phone_picture import AttendedPhone
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import CapturedField, CaptureSink, Illuminator, PhoneCamera, PhoneCapture
from mobilescope.imaging.frame_link import FrameLink
from mobilescope.plans.field_lights import FieldLight
from mobilescope.plans.grids import FieldGrid, GridPosition
from mobilescope.plans.illumination import Pattern

_CHECK_CABLE = "check the ring's cable and supply, then run the same command again"


@runtime_checkable
class PatternIlluminator(Illuminator, Protocol):
    """A light that can light a part of its pixels."""

    def show(self, pattern: Pattern) -> None:
        """Show a pattern; pixels outside it are dark."""


def capture_fields(
    phone: PhoneCamera,
    sink: CaptureSink,
    slide: str,
    grid: FieldGrid,
    *,
    mounted: str | None = None,
    colour: tuple[int, int, int] = (255, 255, 255),
    lights: Sequence[FieldLight] = (),
    link: FrameLink | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Capture the fields of a grid that the sink does not have yet; the light goes off whatever happens.

    Each field is taken in ``colour``, which is what is compared with the benchtop, then in those of ``lights`` that
    are due there. Before the first capture every light is shown once, so that one that can't be had stops nothing
    half way. ``mounted`` is the name of the slide to put on the phone scope, where it is another one. The grid's places
    are the benchtop's where a ``link`` tells how the phone scope's frame lies there, else the phone scope's own.

    Raises
    ------
    CancelledError
        When asked to stop; every capture taken so far is kept.
    LimitError
        A field lies outside a real phone scope's stage; nothing was moved.
    DeviceError
        The light was out at a capture, or on in the dark; that capture is not kept.
    UserError
        A light that this ring can't show.
    """
    stop = stop or StopToken()
    main = FieldLight(name="white", colour=colour) if any(colour) else FieldLight(name="white", pattern="dark")
    steps = [(position, channel, light) for position in grid for channel, light in (
        ("", main), *((light.name, light) for light in lights if light.is_due(position.index)),
    )]
    # By its place, since a paired session numbers captures as they come and `ingest` those of no field.
    left = [step for step in steps if not sink.has_capture(slide, step[0].row, step[0].column, step[1])]
    if not left:
        return
    if isinstance(phone, AttendedPhone):
        phone.heed(stop)
        places = (_place(sink, slide, position, link) for position, _, _ in left)
        phone.check_fields((at.x_um, at.y_um) for at in places)
    phone.mount(mounted or slide)
    try:
        if lights:
            try_lights(phone.illuminator, {channel: light for _, channel, light in left}.values())
        shown: FieldLight | None = None
        for done, (position, channel, light) in enumerate(left, start=len(steps) - len(left) + 1):
            stop.raise_if_requested(f"capturing slide {slide!r}")
            if light != shown:
                set_light(phone.illuminator, light)
                shown = light
            at = _place(sink, slide, position, link)
            capture = captured(phone, light, at.x_um, at.y_um, f"field {position.index} of slide {slide!r}")
            sink.add_phone_capture(slide, at.index, position.row, position.column, capture, channel=channel)
            on_progress(Progress(f"capture {slide}", done, len(steps), channel))
    finally:
        phone.illuminator.off()


def _place(sink: CaptureSink, slide: str, position: GridPosition, link: FrameLink | None) -> CapturedField:
    """Return a field's number and its place in the phone scope's frame: those of its capture, where there is one."""
    known = sink.captured_field(slide, position.row, position.column)
    if known is not None:
        return known
    planned_um = position.x_um, position.y_um
    place_um = planned_um if link is None else link.on_phone(planned_um)
    return CapturedField(sink.free_capture_index(slide, position.index), *place_um)


def captured(phone: PhoneCamera, light: FieldLight, x_um: float, y_um: float, what: str) -> PhoneCapture:
    """Return a capture in a light that is shown already; DeviceError where it was another light, or darkness."""
    capture = phone.capture(x_um, y_um)
    if light.is_dark:
        if capture.light.on:
            raise DeviceError(f"the light was on when {what} was captured in the dark", _CHECK_CABLE)
        check_dark(capture, what)
    else:
        if not capture.light.on:
            raise DeviceError(f"the light was out when {what} was captured", _CHECK_CABLE)
        check_lit(capture, what)
    return capture


def try_lights(illuminator: Illuminator, lights: Iterable[FieldLight]) -> None:
    """Show each light once, so that one that can't be had stops nothing half way; the last one stays on."""
    for light in lights:
        set_light(illuminator, light)


def set_light(illuminator: Illuminator, light: FieldLight) -> None:
    """Show a light and make sure that it is; DeviceError where it is not, PlanError where it can't be."""
    if light.is_dark:
        # Told to show black, a ring that was not open yet is opened, and answers for its darkness.
        illuminator.set_colour(0, 0, 0)
        illuminator.off()
        if illuminator.state().on:
            raise DeviceError("the light did not go off for the dark frame", _CHECK_CABLE)
        return
    if light.is_uniform:
        illuminator.set_colour(*light.shown, light.brightness)
    elif isinstance(illuminator, PatternIlluminator):
        illuminator.show(light.as_pattern())
    else:
        raise PlanError(
            f"light {light.name} is a {light.pattern}, and this light has no patterns", "leave it out of the plan"
        )
    if not illuminator.state().on:
        raise DeviceError(f"light {light.name} did not come on", _CHECK_CABLE)
