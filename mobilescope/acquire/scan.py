"""A benchtop slide scan: the flat field, and one slide's grid; the rest is `runner`'s."""

from __future__ import annotations

import numpy as np

from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope, CaptureSink, ChannelSwitch
from mobilescope.imaging.colour import decode_8bit
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import ChannelPlan, FocusPlan
from mobilescope.plans.tile_areas import TileArea

_FLAT_FRAMES = 8


def take_flat_field(
    microscope: BenchtopMicroscope,
    sink: CaptureSink,
    blank_slide: str,
    *,
    channel: ChannelPlan | None = None,
    switch: ChannelSwitch | None = None,
) -> None:
    """Picture a clear field, so that vignetting and lamp colour can be divided out; once per session.

    Parameters
    ----------
    channel, switch : ChannelPlan, ChannelSwitch, optional
        The light to picture it in, and what switches to it and back; the microscope's own light without.
    """
    if sink.has_flat_field("benchtop"):
        return
    microscope.mount(blank_slide)
    total = np.zeros((*microscope.frame_shape, 3), dtype=np.float32)
    try:
        if channel is not None and switch is not None:
            switch.select(channel.name, channel.exposure_ms, channel.colour, channel.brightness)
        for _ in range(_FLAT_FRAMES):
            total += decode_8bit(microscope.snap().pixels)
    finally:
        if channel is not None and switch is not None:
            switch.rest()
    sink.add_flat_field("benchtop", total / np.float32(_FLAT_FRAMES))


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
