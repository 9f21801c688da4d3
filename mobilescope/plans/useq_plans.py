"""useq-schema's plans (`useq.MDASequence`) translated into plans of this software; what can't be carried out is named.

useq knows no slides: all its positions lie on the one that is mounted, each with a name of its own in the session.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import useq
import yaml
from pydantic import ValidationError

from mobilescope.core.errors import ConfigError, PlanError
from mobilescope.plans.job import JobPlan, SlidePlan
from mobilescope.plans.scan_plans import ChannelPlan, ZStackPlan

_SNAKE, _STRAIGHT = "row_wise_snake", "row_wise"
# Tolerance of "equally spaced" and "same overlap", µm and fraction.
_SAME = 1e-6


def load_useq(path: Path) -> useq.MDASequence:
    """Read a `useq.MDASequence` from YAML or JSON; a malformed one is a ConfigError naming file and key."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}", "check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}", "give a useq-schema file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML or JSON: {' '.join(str(error).split())}", "mend it") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{path} holds no plan", "give a useq-schema MDASequence")
    # useq-schema itself passes over keys that it doesn't know; a typo must not.
    unknown = sorted(set(given) - set(useq.MDASequence.model_fields) - {"uid"})
    if unknown:
        raise ConfigError(
            f"{path}: unknown key {unknown[0]!r}", f"known keys: {', '.join(sorted(useq.MDASequence.model_fields))}"
        )
    try:
        return useq.MDASequence.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key or 'file'}: {first['msg']}", "mend that key") from error


def translate(sequence: useq.MDASequence, *, slide: str, source: str = "the useq plan") -> JobPlan:
    """Return the job that a sequence asks for.

    Parameters
    ----------
    slide : str
        Name for the slide; with several stage positions each becomes ``slide-position``.

    Raises
    ------
    PlanError
        The sequence asks for something that a scan can't do: time points, random points, autofocus by hardware, well
        plates, absolute z, uneven stacks, an axis order in which the stage goes back for every channel.
    """
    refuse = _Refusal(source)
    if sequence.time_plan is not None:
        refuse("time_plan", "a scan takes each tile once")
    if sequence.autofocus_plan is not None:
        refuse("autofocus_plan", "the focus is searched in the images")
    if sequence.setup is not None:
        refuse("setup", "give the instrument's settings in the instrument file")
    if isinstance(sequence.stage_positions, useq.WellPlatePlan):
        refuse("stage_positions (well plate)", "give positions or a grid")
    _check_order(sequence, refuse)
    options = _options(sequence, refuse)
    positions: list[Any] = list(sequence.stage_positions) or [None]
    slides = []
    for number, position in enumerate(positions):
        name = slide if len(positions) == 1 else f"{slide}-{_plain(position.name if position else None, number)}"
        scan = _region(position, sequence.grid_plan, refuse)
        centre = (position.x or 0.0, position.y or 0.0) if position is not None else (0.0, 0.0)
        mounted = None if name == slide else slide
        slides.append({"name": name, "mount": mounted, "role": "training", "scan": scan | options, "centre_um": centre})
    try:
        return JobPlan(slides=tuple(SlidePlan.model_validate(entry) for entry in slides))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        given = f"{first['msg']} (got {first['input']!r})"
        raise PlanError(f"{source}: {where}: {given}", "mend that in the plan") from error


class _Refusal:
    """Raises the PlanError that names what a plan asks for and can't have."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __call__(self, what: str, why: str) -> None:
        raise PlanError(f"{self._source}: {what} can't be carried out", why)


def _check_order(sequence: useq.MDASequence, refuse: _Refusal) -> None:
    used = [axis for axis in sequence.axis_order if axis in "pgcz" and sequence.sizes.get(axis, 0) > 1]
    stage = [number for number, axis in enumerate(used) if axis in "pg"]
    light = [number for number, axis in enumerate(used) if axis in "cz"]
    if stage and light and max(stage) > min(light):
        refuse(
            f"axis_order {''.join(sequence.axis_order)!r}",
            "every channel and plane of a tile is taken before the stage moves on: use an order such as 'tpgcz'",
        )
    if "c" in used and "z" in used and used.index("c") > used.index("z"):
        refuse(f"axis_order {''.join(sequence.axis_order)!r}", "a stack is taken channel by channel: put c before z")


def _options(sequence: useq.MDASequence, refuse: _Refusal) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if sequence.channels:
        options["channels"] = tuple(_channel(channel, refuse) for channel in sequence.channels)
    if sequence.z_plan is not None:
        stack = _stack(sequence.z_plan, refuse)
        if stack is not None:
            options["z"] = stack
    return options


def _channel(channel: useq.Channel, refuse: _Refusal) -> ChannelPlan:
    for key, plain in (("do_stack", True), ("z_offset", 0.0), ("acquire_every", 1), ("camera", None)):
        if getattr(channel, key) != plain:
            refuse(f"channel {channel.config!r} with {key}", f"leave {key} out")
    try:
        return ChannelPlan(name=channel.config, exposure_ms=channel.exposure)
    except ValidationError as error:
        raise PlanError(f"channel {channel.config!r}: {error.errors()[0]['msg']}", "choose another name") from error


def _stack(plan: Any, refuse: _Refusal) -> ZStackPlan | None:
    if isinstance(plan, useq.ZTopBottom | useq.ZAbsolutePositions):
        refuse(type(plan).__name__, "planes are taken around the focus found: use ZRangeAround or ZAboveBelow")
    offsets = sorted(float(offset) for offset in plan)
    if len(offsets) == 1 and abs(offsets[0]) < _SAME:
        return None
    steps = [after - before for before, after in pairwise(offsets)]
    if not steps or max(steps) - min(steps) > _SAME or len(offsets) % 2 == 0:
        refuse(f"a z plan with the planes {offsets}", "give an odd number of equally spaced planes")
    return ZStackPlan(planes=len(offsets), step_um=steps[0], centre_um=offsets[len(offsets) // 2])


def _region(position: Any, shared: Any, refuse: _Refusal) -> dict[str, Any]:
    """Return the scan table of a position: its own grid, the sequence's, or a single tile."""
    grid = shared
    if position is not None:
        if position.z is not None:
            refuse(f"z of position {position.name or ''}".rstrip(), "the focus is searched; leave z out")
        if position.properties:
            refuse("properties of a position", "give them in the instrument file")
        if position.sequence is not None:
            own = position.sequence
            if own.channels or own.z_plan or own.time_plan or own.stage_positions:
                refuse("a position's own sequence with more than a grid", "give channels and z for all positions")
            grid = own.grid_plan or shared
    if grid is None:
        return {"rows": 1, "columns": 1, "overlap": 0.1}
    if isinstance(grid, useq.RandomPoints | useq.RelativePosition):
        refuse(type(grid).__name__, "give a grid, edges or a polygon")
    if grid.mode.value not in (_SNAKE, _STRAIGHT):
        refuse(f"the order {grid.mode.value!r} of a grid", f"use {_SNAKE} or {_STRAIGHT}")
    if grid.fov_width is not None or grid.fov_height is not None:
        refuse("fov_width or fov_height", "the field's size follows from the camera; leave them out")
    horizontal, vertical = (float(value) / 100 for value in grid.overlap)
    if abs(horizontal - vertical) > _SAME:
        refuse("an overlap that differs in x and y", "give one overlap")
    table: dict[str, Any] = {"overlap": horizontal, "serpentine": grid.mode.value == _SNAKE}
    if getattr(grid, "relative_to", None) is not None and grid.relative_to.value != "center":
        refuse(f"relative_to {grid.relative_to.value!r}", "use center")
    return table | _extent(grid, position, refuse)


def _extent(grid: Any, position: Any, refuse: _Refusal) -> dict[str, Any]:
    if isinstance(grid, useq.GridRowsColumns):
        return {"rows": grid.rows, "columns": grid.columns}
    if isinstance(grid, useq.GridWidthHeight):
        x, y = ((position.x or 0.0), (position.y or 0.0)) if position is not None else (0.0, 0.0)
        return {
            "region": "rectangle",
            "rectangle_um": (x - grid.width / 2, y - grid.height / 2, grid.width, grid.height),
        }
    if isinstance(grid, useq.GridFromEdges):
        # useq's y grows upwards, so top and bottom are ordered here by value.
        left, right = sorted((grid.left, grid.right))
        low, high = sorted((grid.top, grid.bottom))
        return {"region": "rectangle", "rectangle_um": (left, low, right - left, high - low)}
    if grid.offset or grid.convex_hull:
        refuse("offset or convex_hull of a polygon", "give the polygon's final corners")
    return {"region": "polygon", "corners_um": tuple((float(x), float(y)) for x, y in grid.vertices)}


def _plain(name: str | None, number: int) -> str:
    """Return a position's name as a slide's name can hold it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") if name else f"p{number:03d}"
