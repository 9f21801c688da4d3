"""Evaluation windows of fields that no plan laid out: no place of a slide lies in two."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from mobilescope.app.pairs.evaluation_windows import beside, part_windows, parted
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore

SIZE, FACTOR = 160, 2.5


@pytest.mark.parametrize(("box", "fixed", "left"), [
    ((0, 0, 10, 10), (20, 0, 30, 10), (0, 0, 10, 10)),
    ((0, 0, 10, 10), (10, 0, 20, 10), (0, 0, 10, 10)),
    ((0, 0, 10, 10), (7, 2, 20, 20), (0, 0, 7, 10)),
    ((0, 0, 10, 10), (-5, -5, 12, 4), (0, 4, 10, 10)),
    ((0, 0, 10, 10), (3, 3, 4, 4), (4, 0, 10, 10)),
])
def test_a_field_leaves_the_plans_fields_alone(box, fixed, left):
    assert beside(box, fixed) == left


def test_a_field_within_one_of_the_plan_has_nothing_left():
    left, top, right, bottom = beside((2, 2, 8, 8), (0, 0, 10, 10))
    assert (right - left) * (bottom - top) == 0


@pytest.mark.parametrize(("one", "other", "after"), [
    ((0, 0, 10, 10), (12, 0, 22, 10), ((0, 0, 10, 10), (12, 0, 22, 10))),
    ((0, 0, 10, 10), (6, 1, 16, 11), ((0, 0, 8, 10), (8, 1, 16, 11))),
    ((6, 1, 16, 11), (0, 0, 10, 10), ((8, 1, 16, 11), (0, 0, 8, 10))),
    ((0, 0, 10, 10), (1, -6, 11, 4), ((0, 2, 10, 10), (1, -6, 11, 2))),
    ((0, 0, 10, 10), (0, 0, 10, 10), ((0, 0, 10, 10), (0, 0, 0, 10))),
    ((0, 0, 10, 10), (2, 1, 12, 11), ((0, 0, 10, 10), (10, 1, 12, 11))),
])
def test_two_fields_part_halfway_where_they_share_least_and_one_that_was_taken_twice_counts_once(one, other, after):
    assert parted(one, other) == after


def pair(writer, origin_px, *, turn_deg=0.0, window=(0, SIZE, 0, SIZE), **changes):
    """Add a pair; of one that is turned, the input is the phone's own lattice, 2.5 pixels of the mosaic apart."""
    warp, lies_xy = "phone", np.zeros((SIZE, SIZE, 2), np.float32)
    if turn_deg:
        warp, angle = "benchtop", np.radians(turn_deg)
        row, column = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
        along = np.array([np.cos(angle), np.sin(angle)])
        lies_xy = FACTOR * (column[..., None] * along + row[..., None] * np.array([-along[1], along[0]]))
        lies_xy = (lies_xy + np.asarray(origin_px) + FACTOR * (SIZE - 1) / 2).astype(np.float32)
        origin_px = tuple(lies_xy[0, 0])
    fields = {
        "slide": "s", "role": "blind", "capture": 0, "row": -2, "column": 0, "accepted": True, "reason": "",
        "quality": {}, "warp": warp, "origin_px": origin_px, "window": window, "displacement_map": lies_xy,
    } | changes
    return writer.add(np.zeros((SIZE, SIZE, 3), np.uint16), np.zeros((400, 400, 3), np.uint8), **fields)


def windows(path, *pairs):
    """Write pairs, part their windows, and return what they are then; no pixel of one lies on one of another."""
    with PairWriter(path, {"factor": FACTOR}) as writer:
        for origin_px, options in pairs:
            pair(writer, origin_px, **options)
        part_windows(writer)
    with PairStore.open(path) as store:
        shown = [store.records[index] for index in range(len(pairs))]
        lattices = [lattice(store, index) for index in range(len(pairs))]
    for (one, at), (other, there) in permutations(zip(shown, lattices, strict=True), 2):
        if one.slide == other.slide and one.accepted and other.accepted and other.window and one.window:
            assert not lies_in(one.bounds, at, other.bounds, there).any()
    return [record.bounds for record in shown]


def lattice(store, index):
    """Return first place and steps of a pair's pixels in the mosaic: 2 x 3, from (column, row, 1) to (x, y)."""
    record = store.records[index]
    if record.warp == "phone":
        return np.array([[FACTOR, 0, record.origin_px[0]], [0, FACTOR, record.origin_px[1]]])
    lies = store.map(index).astype(np.float64)
    first = lies[0, 0]
    return np.column_stack([(lies[0, -1] - first) / (SIZE - 1), (lies[-1, 0] - first) / (SIZE - 1), first])


def lies_in(window, at, others, there):
    """Tell of points all over a window's pixels whether they lie in another pair's window."""
    top, bottom, left, right = window
    row, column = np.mgrid[top - 0.49:bottom - 0.5:0.49, left - 0.49:right - 0.5:0.49]
    x_y = np.tensordot(at, np.stack([column, row, np.ones_like(row)]), 1)
    column, row = np.tensordot(np.linalg.inv(there[:, :2]), x_y - there[:, 2, None, None], 1)
    top, bottom, left, right = others
    return (row > top - 0.5) & (row < bottom - 0.5) & (column > left - 0.5) & (column < right - 0.5)


def test_fields_by_hand_share_no_place_and_keep_all_that_is_theirs_alone(tmp_path):
    shown = windows(tmp_path / "p.h5", ((0.0, 0.0), {}), ((250.0, 30.0), {}), ((900.0, 0.0), {}))
    # They share 150 px of the mosaic, 60 of the input: 30 go from each.
    assert shown == [(0, 160, 0, 130), (0, 160, 30, 160), (0, 160, 0, 160)]


def test_a_field_of_the_plan_keeps_its_cell(tmp_path):
    cell = (0, 160, 10, 150)
    shown = windows(
        tmp_path / "p.h5", ((0.0, 0.0), {"row": 0, "window": cell}),
        ((200.0, 13.0), {"row": 3, "quality": {"place_x_um": 1.0}}),
    )
    assert shown == [cell, (0, 160, 70, 160)]


def test_turned_fields_that_were_not_resampled_share_no_place(tmp_path):
    shown = windows(
        tmp_path / "p.h5", ((0.0, 0.0), {"turn_deg": 12.0}), ((220.0, 40.0), {"turn_deg": 12.0}),
    )
    for top, bottom, left, right in shown:
        assert min(bottom - top, right - left) >= 64
        assert [edge % 2 for edge in (top, bottom, left, right)] == [0] * 4


def test_what_is_refused_has_no_window_or_is_of_another_slide_takes_nothing(tmp_path):
    empty = (0, 0, 0, 0)
    shown = windows(
        tmp_path / "p.h5", ((0.0, 0.0), {}), ((10.0, 0.0), {"accepted": False, "reason": "blurred"}),
        ((20.0, 0.0), {"slide": "t"}), ((30.0, 0.0), {"window": empty}), ((40.0, 0.0), {"window": None}),
    )
    assert shown == [(0, 160, 0, 160)] * 3 + [empty, (0, 160, 0, 160)]


def test_of_one_field_that_was_taken_three_times_nothing_counts_twice(tmp_path):
    shown = windows(tmp_path / "p.h5", *(((offset, 0.0), {}) for offset in (0.0, 3.0, -4.0)))
    assert shown == [(0, 160, 0, 160), (0, 0, 0, 0), (0, 0, 0, 0)]
