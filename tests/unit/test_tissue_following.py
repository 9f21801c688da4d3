"""A scan that follows the tissue takes all of it, its border, and little else."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.acquire.tissue_following import TissueFront


def follow(tissue, start, *, max_tiles=10_000, known=()):
    """Walk over a mask; return the cells in the order of the visit."""
    front = TissueFront(tissue.shape, start, max_tiles)
    for cell in known:
        front.report(cell, specimen=bool(tissue[cell]))
    order = list(known)
    while (cell := front.next()) is not None:
        assert cell not in order
        order.append(cell)
        front.report(cell, specimen=bool(tissue[cell]))
    return order


@pytest.fixture
def snake():
    """A shape that no spiral around its end can enclose at once."""
    mask = np.zeros((12, 20), bool)
    mask[2, 2:18] = mask[2:10, 17] = mask[9, 5:18] = True
    return mask


def test_connected_tissue_is_taken_whole_with_its_border_alone(snake):
    visited = set(follow(snake, (2, 2)))
    assert {tuple(cell) for cell in np.argwhere(snake)} <= visited
    for row, column in visited:
        assert snake[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].any()


def test_it_looks_for_tissue_from_a_clear_start_in_a_spiral():
    mask = np.zeros((9, 9), bool)
    mask[7, 7] = True
    order = follow(mask, (4, 4))
    rings = [max(abs(row - 4), abs(column - 4)) for row, column in order[: order.index((7, 7)) + 1]]
    assert rings == sorted(rings)
    assert {(row, column) for row in (6, 7, 8) for column in (6, 7, 8)} <= set(order)


def test_a_clear_slide_is_searched_to_the_limit_and_no_further():
    clear = np.zeros((30, 30), bool)
    assert len(follow(clear, (3, 3), max_tiles=17)) == 17
    assert len(follow(clear, (3, 3))) == 900


def test_what_the_limit_leaves_out_is_counted(snake):
    front = TissueFront(snake.shape, (2, 2), 20)
    while (cell := front.next()) is not None:
        assert front.left_out == 0
        front.report(cell, specimen=bool(snake[cell]))
    assert front.left_out >= 1
    whole = TissueFront(snake.shape, (2, 2), 10_000)
    while (cell := whole.next()) is not None:
        whole.report(cell, specimen=bool(snake[cell]))
    assert whole.left_out == 0


def test_tissue_that_goes_on_for_ever_ends_at_the_limit_and_at_the_bounds():
    assert len(follow(np.ones((50, 50), bool), (25, 25), max_tiles=100)) == 100
    assert len(follow(np.ones((4, 5), bool), (0, 0))) == 20


@pytest.mark.parametrize("cut", [1, 5, 23, 40])
def test_a_walk_that_was_cut_goes_on_as_if_it_had_not_been(snake, cut):
    whole = follow(snake, (2, 2), max_tiles=70)
    shuffled = list(np.random.default_rng(cut).permutation(np.array(whole[:cut])))
    again = follow(snake, (2, 2), max_tiles=70, known=[tuple(int(v) for v in cell) for cell in shuffled])
    assert again[cut:] == whole[cut:]
