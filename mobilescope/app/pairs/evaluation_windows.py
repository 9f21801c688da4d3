"""Evaluation windows that share no place of a slide, also of fields that no plan laid out.

Cells of a plan's grid meet at their edges. A field that was taken by hand, or found where none was planned, has its own
rectangle alone: it gives way to the plan's fields, and two of its kind part halfway, so that each keeps what is nearer,
unless they are one field that was taken twice.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pairs.aligning import large_enough
from mobilescope.data.pair_record import PairRecord, Window
from mobilescope.data.pair_writer import PairWriter
from mobilescope.imaging.lattices import largest_window

# (left, top, right, bottom) in pixels of the slide's mosaic.
Box = tuple[float, float, float, float]
_ROUNDING_PX = 1e-6
# Fields that share more of the smaller one are one field: halves of it, and then halves of those, would be of no use.
_ONE_FIELD = 0.5


def part_windows(writer: PairWriter) -> None:
    """Cut the windows of accepted pairs that lie over each other, once all pairs are in the file."""
    slides: dict[str, dict[int, PairRecord]] = {}
    for index, record in enumerate(writer.records()):
        if record.accepted and record.window is not None and any(record.window):
            slides.setdefault(record.slide, {})[index] = record
    for records in slides.values():
        loose = [index for index, record in records.items() if _is_unplanned(record)]
        if loose:
            _part_slide(writer, records, loose)


def _part_slide(writer: PairWriter, records: dict[int, PairRecord], loose: list[int]) -> None:
    boxes = {index: _box(writer, index, record) for index, record in records.items()}
    left = {index: boxes[index] for index in loose}
    for index in loose:
        for other in boxes:
            if other not in left:
                left[index] = beside(left[index], boxes[other])
    for one, other in combinations(loose, 2):
        left[one], left[other] = parted(left[one], left[other])
    for index in loose:
        if left[index] != boxes[index]:
            writer.set_window(index, large_enough(_window_within(writer, index, records[index], left[index])))


def _is_unplanned(record: PairRecord) -> bool:
    return record.row < 0 or "place_x_um" in record.quality


def beside(box: Box, fixed: Box) -> Box:
    """Return the largest rectangle of a box that leaves a fixed one alone."""
    if not _overlap(box, fixed):
        return box
    left, top, right, bottom = box
    sides = (
        (left, top, max(left, fixed[0]), bottom), (min(right, fixed[2]), top, right, bottom),
        (left, top, right, max(top, fixed[1])), (left, min(bottom, fixed[3]), right, bottom),
    )
    return max(sides, key=_area)


def parted(one: Box, other: Box) -> tuple[Box, Box]:
    """Return two boxes, cut in the middle of what they share, along the axis on which they share less.

    Of two that share most, the first stays as it is.
    """
    if not _overlap(one, other):
        return one, other
    shared = [(max(one[axis], other[axis]), min(one[axis + 2], other[axis + 2])) for axis in (0, 1)]
    across, down = (high - low for low, high in shared)
    if across * down > _ONE_FIELD * min(_area(one), _area(other)):
        return one, beside(other, one)
    axis = 0 if across <= down else 1
    middle = sum(shared[axis]) / 2
    if one[axis] + one[axis + 2] > other[axis] + other[axis + 2]:
        return _cut(one, axis, middle), _cut(other, axis + 2, middle)
    return _cut(one, axis + 2, middle), _cut(other, axis, middle)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _cut(box: Box, edge: int, at: float) -> Box:
    edges = list(box)
    edges[edge] = at
    return edges[0], edges[1], edges[2], edges[3]


def _overlap(one: Box, other: Box) -> bool:
    return all(
        min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis]) > _ROUNDING_PX for axis in (0, 1)
    )


def _box(writer: PairWriter, index: int, record: PairRecord) -> Box:
    """Return where a pair's window lies in the mosaic, of one that lies askew the upright box around it."""
    top, bottom, left, right = record.bounds
    if record.warp == "phone":
        (x, y), factor = _lattice_edge(writer, record), writer.grid.value
        return x + left * factor, y + top * factor, x + right * factor, y + bottom * factor
    lies_xy = writer.map(index)
    inner, half = lies_xy[top:bottom, left:right], _half_px(lies_xy)
    (x_low, y_low), (x_high, y_high) = inner.min(axis=(0, 1)) - half, inner.max(axis=(0, 1)) + half
    return float(x_low), float(y_low), float(x_high), float(y_high)


def _window_within(writer: PairWriter, index: int, record: PairRecord, box: Box) -> Window:
    """Return the largest part of a pair's window that lies in a box."""
    top, bottom, left, right = record.bounds
    step = writer.grid.even_step_px
    if record.warp == "phone":
        (x, y), factor = _lattice_edge(writer, record), writer.grid.value
        columns = _inside(box[0] - x, box[2] - x, factor, left, right, step)
        rows = _inside(box[1] - y, box[3] - y, factor, top, bottom, step)
        return *rows, *columns
    lies_xy = writer.map(index)
    half = _half_px(lies_xy)
    mask = np.zeros(record.shape, dtype=np.bool_)
    mask[top:bottom, left:right] = (
        (lies_xy[top:bottom, left:right] >= np.array(box[:2]) + half)
        & (lies_xy[top:bottom, left:right] <= np.array(box[2:]) - half)
    ).all(axis=-1)
    return largest_window(mask, step)


def _lattice_edge(writer: PairWriter, record: PairRecord) -> tuple[float, float]:
    """Return the place (x, y) of the outer corner of a resampled input's first pixel."""
    half = writer.grid.value / 2
    return record.origin_px[0] - half, record.origin_px[1] - half


def _inside(low: float, high: float, factor: float, first: int, end: int, step: int) -> tuple[int, int]:
    """Return the input pixels between two places that start and end at whole steps, none outside of an old window."""
    start = max(first, int(np.ceil(low / factor - _ROUNDING_PX)))
    start += -start % step
    stop = min(end, int(np.floor(high / factor + _ROUNDING_PX)))
    return start, max(start, stop - stop % step)


def _half_px(lies_xy: NDArray[np.float32]) -> float:
    """Return how far, in the mosaic's pixels, an input pixel reaches from its centre however it is turned."""
    return float(np.hypot(*np.median(np.abs(np.diff(lies_xy[:, ::8], axis=0)), axis=(0, 1)))) * float(np.sqrt(0.5))
