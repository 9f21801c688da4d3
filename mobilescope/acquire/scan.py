"""A benchtop slide scan: walk the grid, keep the focus, hand each tile to the sink; resumable tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilescope.acquire.autofocus import autofocus
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope, CaptureSink
from mobilescope.imaging.colour import decode_8bit
from mobilescope.plans.grids import FieldGrid, GridPosition

_FLAT_FRAMES = 8


@dataclass(frozen=True)
class FocusPolicy:
    """When and how far to search: a wide search first, narrow ones around the prediction after."""

    first_half_range_um: float = 20.0
    half_range_um: float = 4.0
    every: int = 1


def take_flat_field(microscope: BenchtopMicroscope, sink: CaptureSink, blank_slide: str) -> None:
    """Picture a clear field, so that vignetting and lamp colour can be divided out; once per session."""
    if sink.has_flat_field("benchtop"):
        return
    microscope.mount(blank_slide)
    total = np.zeros((*microscope.frame_shape, 3), dtype=np.float32)
    for _ in range(_FLAT_FRAMES):
        total += decode_8bit(microscope.snap().pixels)
    sink.add_flat_field("benchtop", total / np.float32(_FLAT_FRAMES))


def scan_slide(
    microscope: BenchtopMicroscope,
    sink: CaptureSink,
    slide: str,
    grid: FieldGrid,
    *,
    focus: FocusPolicy | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Scan the tiles of a grid that the sink does not have yet.

    A tile whose autofocus fails is taken at the z that its neighbours predict, and marked with the verdict.

    Raises
    ------
    CancelledError
        When asked to stop; every tile taken so far is kept.
    """
    policy, stop = focus or FocusPolicy(), stop or StopToken()
    microscope.mount(slide)
    height = _FocusPlane()
    for position in grid:
        stop.raise_if_requested(f"the scan of slide {slide!r}")
        if not sink.has_tile(slide, position.row, position.column):
            _take_tile(microscope, sink, slide, position, policy, height)
        on_progress(Progress(f"scan {slide}", position.index + 1, len(grid)))


def _take_tile(
    microscope: BenchtopMicroscope,
    sink: CaptureSink,
    slide: str,
    position: GridPosition,
    policy: FocusPolicy,
    height: _FocusPlane,
) -> None:
    stage = microscope.stage
    stage.move_xy(position.x_um, position.y_um)
    predicted = height.predict(position.x_um, position.y_um)
    if predicted is None or position.index % policy.every == 0:
        centre = stage.position().z_um if predicted is None else predicted
        half_range = policy.first_half_range_um if predicted is None else policy.half_range_um
        record = autofocus(microscope, centre_z_um=centre, half_range_um=half_range)
        if record.verdict == "focused":
            height.add(position.x_um, position.y_um, record.z_um)
        else:
            sink.add_event(
                "warning",
                f"slide {slide}, tile row {position.row} column {position.column}: "
                f"autofocus says {record.verdict}; taken at z = {record.z_um:.2f} µm",
            )
    else:
        stage.move_z(predicted)
        record = FocusRecord(verdict="predicted", z_um=predicted, score=0.0)
    sink.add_benchtop_tile(slide, position.row, position.column, position.index, microscope.snap(), record)


class _FocusPlane:
    """The plane through the z of focus found so far; the mean of the nearest while there are too few for a plane."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float, float]] = []

    def add(self, x_um: float, y_um: float, z_um: float) -> None:
        self._points.append((x_um, y_um, z_um))

    def predict(self, x_um: float, y_um: float) -> float | None:
        """Return the expected z, or None before the first focus."""
        if not self._points:
            return None
        points = np.array(self._points)
        distance = np.hypot(points[:, 0] - x_um, points[:, 1] - y_um)
        near = points[np.argsort(distance)[:8]]
        design = np.column_stack([np.ones(len(near)), near[:, 0] - x_um, near[:, 1] - y_um])
        if len(near) < 4 or np.linalg.matrix_rank(design, tol=1e-3 * float(np.abs(design).max())) < 3:
            return float(near[0, 2])
        solution, *_ = np.linalg.lstsq(design, near[:, 2], rcond=None)
        return float(solution[0])
