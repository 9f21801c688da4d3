"""A plan is held against the instrument before anything moves; what can't be carried out is refused by name."""

from __future__ import annotations

from collections.abc import Sequence

from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.errors import LimitError, PlanError
from mobilescope.core.protocols import BenchtopMicroscope, BoundedStage, ChannelSwitch


def check_runs(runs: Sequence[SlideRun], microscope: BenchtopMicroscope, switch: ChannelSwitch | None) -> None:
    """Refuse runs that leave the stage's range or ask for channels that are not there.

    Raises
    ------
    LimitError
        Names the first tile outside.
    PlanError
        Names the channel, or the stack that is higher than the focus drive's range.
    """
    for run in runs:
        _check_places(run, microscope)
        _check_stack(run, microscope)
        for channel in run.channels:
            refusal = (
                "this microscope has no channels" if switch is None
                else switch.refusal(channel.name, channel.exposure_ms, channel.colour, channel.brightness)
            )
            if refusal:
                raise PlanError(
                    f"slide {run.slide}: channel {channel.name!r} can't be had: {refusal}", "change the plan"
                )


def _check_places(run: SlideRun, microscope: BenchtopMicroscope) -> None:
    stage = microscope.stage
    if not isinstance(stage, BoundedStage):
        return
    ranges = dict(zip("xy", stage.xy_range_um(), strict=True))
    for stop in run.area.positions():
        for axis, value in (("x", stop.x_um), ("y", stop.y_um)):
            low, high = ranges[axis]
            if not low <= value <= high:
                raise LimitError(
                    f"slide {run.slide}, tile row {stop.row} column {stop.column} at "
                    f"({stop.x_um:.1f}, {stop.y_um:.1f}) µm: {axis} lies outside the stage's range "
                    f"{low:g} to {high:g} µm; nothing was moved",
                    "change the plan's region",
                )


def _check_stack(run: SlideRun, microscope: BenchtopMicroscope) -> None:
    low, high = microscope.stage.z_range_um()
    offsets = run.offsets_um.values()
    height_um = max(0.0, *offsets) - min(0.0, *offsets)
    if height_um > high - low:
        raise PlanError(
            f"slide {run.slide}: the stack is {height_um:g} µm high, the focus drive's range {high - low:g} µm",
            "take fewer planes or smaller steps",
        )
