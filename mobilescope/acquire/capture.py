"""Phone captures at nominal positions, with the light on only while they are taken."""

from __future__ import annotations

from mobilescope.core.errors import DeviceError
from mobilescope.core.phone_picture import AttendedPhone
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import CaptureSink, PhoneCamera
from mobilescope.plans.grids import FieldGrid


def capture_fields(
    phone: PhoneCamera,
    sink: CaptureSink,
    slide: str,
    grid: FieldGrid,
    *,
    mounted: str | None = None,
    colour: tuple[int, int, int] = (255, 255, 255),
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Capture the fields of a grid that the sink does not have yet; the light goes off whatever happens.

    ``mounted`` is the name of the slide to put on the phone scope, where it is another one.

    Raises
    ------
    CancelledError
        When asked to stop; every capture taken so far is kept.
    DeviceError
        The light was out at a capture, which is not kept then.
    """
    stop = stop or StopToken()
    if all(sink.has_capture(slide, position.index) for position in grid):
        return
    if isinstance(phone, AttendedPhone):
        phone.heed(stop)
    phone.mount(mounted or slide)
    try:
        phone.illuminator.set_colour(*colour)
        for position in grid:
            stop.raise_if_requested(f"capturing slide {slide!r}")
            if not sink.has_capture(slide, position.index):
                capture = phone.capture(position.x_um, position.y_um)
                if any(colour) and not capture.light.on:
                    raise DeviceError(
                        f"the light was out when field {position.index} of slide {slide!r} was captured",
                        "check the ring's cable and supply, then run the same command again",
                    )
                sink.add_phone_capture(slide, position.index, position.row, position.column, capture)
            on_progress(Progress(f"capture {slide}", position.index + 1, len(grid)))
    finally:
        phone.illuminator.off()
