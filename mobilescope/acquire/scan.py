"""A benchtop slide scan: the flat fields, and one slide's grid; the rest is `runner`'s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope, CaptureSink, ChannelSwitch
from mobilescope.imaging.colour import decode_8bit
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import ChannelPlan, FocusPlan
from mobilescope.plans.tile_areas import TileArea

_FLAT_FRAMES = 8


def take_flat_fields(
    microscope: BenchtopMicroscope,
    sink: CaptureSink,
    blank_slide: str,
    channels: Sequence[ChannelPlan | None] = (None,),
    switch: ChannelSwitch | None = None,
) -> None:
    """Picture a clear field, so that vignetting and lamp colour can be divided out; once for each channel of a session.

    Parameters
    ----------
    channels : sequence of ChannelPlan or None
        The lights to picture it in, no two of a name; None is the microscope's own light.
    switch : ChannelSwitch, optional
        What switches to the channels and back.
    """
    missing = [
        channel for channel in channels
        if not sink.has_flat_field("benchtop", "" if channel is None else channel.name)
    ]
    if missing:
        microscope.mount(blank_slide)
    for channel in missing:
        if channel is None or switch is None:
            sink.add_flat_field("benchtop", _clear_field(microscope))
            continue
        try:
            switch.select(channel.name, channel.exposure_ms, channel.colour, channel.brightness)
            clear = _clear_field(microscope)
        finally:
            switch.rest()
        sink.add_flat_field("benchtop", clear, channel.name)


def _clear_field(microscope: BenchtopMicroscope) -> NDArray[np.float32]:
    """Return the mean of several pictures in linear light, (rows, columns, 3)."""
    total = np.zeros((*microscope.frame_shape, 3), dtype=np.float32)
    for _ in range(_FLAT_FRAMES):
        total += decode_8bit(microscope.snap().pixels)
    return total / np.float32(_FLAT_FRAMES)


def scan_slide(
    microscope: BenchtopMicroscope,
    sink: CaptureSink,
    slide: str,
    grid: FieldGrid,
    *,
    focus: FocusPlan | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Scan the tiles of a grid that the sink does not have yet; see `ScanRunner` for what can be raised.

    A tile whose autofocus fails is taken at the z that its neighbours predict, marked, and taken again at the end.
    """
    run = SlideRun(slide, TileArea(grid), focus=focus or FocusPlan())
    ScanRunner(microscope, sink, [run], on_progress=on_progress, stop=stop).run()
