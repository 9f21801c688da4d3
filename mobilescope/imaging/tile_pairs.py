"""Neighbouring tiles measured against each other: strips cut as tiles arrive, compared side by side in threads.

Every pair keeps its trust figure and, where it was refused, the reason.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.imaging.blankness import is_blank
from mobilescope.imaging.neighbours import Points, checked_points, minor_pairs, neighbour_pairs
from mobilescope.imaging.pair_shift import PairShift as PairShift
from mobilescope.imaging.pair_shift import without_chance_among_repetition
from mobilescope.imaging.phase import Grey, Shift, phase_shift, significance, texture_to_noise
from mobilescope.imaging.quick_shift import NOISE_SIGNIFICANCE, NOTHING_BUT_NOISE, patch_texture, quick_shift

# Below this there is more that differs between two pictures of a place than that agrees.
MINIMUM_CORRELATION = 0.3
# Overlaps of unrelated tissue reach 33 (see `phase.significance`), whatever their size.
MINIMUM_SIGNIFICANCE = 40.0
# Edges and corners of tissue that fix a shift along one direction only stand out by their error.
MAXIMUM_ERROR_PX = 0.5
# A rival peak this close to the best one means that the content repeats within the search.
AMBIGUITY_RATIO = 0.8
MINIMUM_TEXTURE_TO_NOISE = 1.5
MINIMUM_OVERLAP_PX = 8
# What the quick measurement must show to be believed without the thorough one.
_PLAIN_CORRELATION = 0.5
_PLAIN_SIGNIFICANCE = 2 * MINIMUM_SIGNIFICANCE
_PLAIN_AMBIGUITY_RATIO = 0.65
_PLAIN_ERROR_PX = 0.2
_MOST_WORKERS = 8
# Smaller strips are done before threads have agreed on whose turn it is.
_WORTH_A_THREAD_PX = 150_000


@dataclass(frozen=True)
class Survey:
    """What a visit to all tiles found.

    Attributes
    ----------
    pairs : tuple of PairShift
        One per pair that was measured, refused ones included, in the order of `neighbour_pairs`.
    blank : frozenset of int
        Tiles that show nothing but noise, neither alone nor together with a neighbour.
    """

    pairs: tuple[PairShift, ...]
    blank: frozenset[int]


def survey_tiles(
    load_grey: Callable[[int], NDArray[Any]],
    nominal_px: ArrayLike,
    tile_shape: tuple[int, int],
    *,
    max_shift_px: int,
    on_progress: ProgressListener = ignore_progress,
    workers: int | None = None,
) -> Survey:
    """Measure the offset of every pair of neighbours, and tell the tiles that are blank.

    Tiles are visited from top to bottom. Each is loaded once, some ahead of their turn, and cut at once into the
    strips that its neighbours need, so that no more than the strips of about two rows are held. Corners, of which
    there are as many as edges, are measured only where a tile has less than two good edges, or no two of them in a
    row lead across the corner.

    Parameters
    ----------
    load_grey : callable
        Returns tile ``index``, shape ``tile_shape``, real numbers on any linear scale; called from several threads.
    nominal_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0) according to the stage.
    max_shift_px : int
        Greatest error of a nominal offset between two neighbours, along each axis.
    on_progress : callable
        Told after each tile; an exception raised there stops the work.
    workers : int, optional
        Threads; as many as there are cores, 8 at most, unless given.

    Returns
    -------
    Survey

    Raises
    ------
    InputImageError
        If a tile has another shape than ``tile_shape``.
    """
    nominal = checked_points(nominal_px)
    pairs = neighbour_pairs(nominal, tile_shape, MINIMUM_OVERLAP_PX)
    cutter = _Cutter(load_grey, nominal, tile_shape, max_shift_px, pairs)
    visits = [int(tile) for tile in np.lexsort((nominal[:, 1], nominal[:, 0]))]
    workers = workers or min(_MOST_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        board = _Board(pool, cutter, minor_pairs(nominal, tile_shape, pairs), most_waiting=8 * workers)
        try:
            for done, (tile, strips) in enumerate(_cut_ahead(pool, cutter, visits, 2 * workers), start=1):
                board.take(tile, strips)
                on_progress(Progress("measuring overlaps", done, len(visits)))
            return board.finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def measure_pairs(
    load_grey: Callable[[int], NDArray[Any]], nominal_px: ArrayLike, tile_shape: tuple[int, int], *, max_shift_px: int,
    on_progress: ProgressListener = ignore_progress,
) -> list[PairShift]:
    """Return the pairs of `survey_tiles`."""
    survey = survey_tiles(load_grey, nominal_px, tile_shape, max_shift_px=max_shift_px, on_progress=on_progress)
    return list(survey.pairs)


Strips = dict[int, NDArray[Any]]


class _Cutter:
    """Loads tiles and cuts them into the strips that their pairs need."""

    def __init__(
        self, load_grey: Callable[[int], NDArray[Any]], nominal_px: Points, tile_shape: tuple[int, int],
        max_shift_px: int, pairs: list[tuple[int, int]],
    ) -> None:
        self.pairs = pairs
        self.max_shift_px = max_shift_px
        steps = [np.rint(nominal_px[second] - nominal_px[first]) for first, second in pairs]
        self.expected = [(int(step[0]), int(step[1])) for step in steps]
        self.partners: list[list[int]] = [[] for _ in nominal_px]
        for number, ends in enumerate(pairs):
            for tile in ends:
                self.partners[tile].append(number)
        self.blank: set[int] = set()
        self._load_grey = load_grey
        self._tile_shape = tuple(tile_shape)

    def cut(self, tile: int) -> Strips:
        """Return the strips of a tile by the number of their pair; copies, since a view keeps the tile alive."""
        grey = self._load_grey(tile)
        if grey.shape != self._tile_shape:
            raise InputImageError(f"tile {tile} has shape {grey.shape}, the others {self._tile_shape}")
        if is_blank(grey):
            self.blank.add(tile)
        strips = {}
        for number in self.partners[tile]:
            sign = 1 if tile == self.pairs[number][0] else -1
            rows, columns = (
                _strip(sign * int(step), length, self.max_shift_px)
                for step, length in zip(self.expected[number], self._tile_shape, strict=True)
            )
            strips[number] = grey[rows, columns].copy()
        return strips

    def measure(self, number: int, strips: tuple[NDArray[Any], NDArray[Any]]) -> PairShift:
        """Return a pair's offset from its strips, that of its first tile first."""
        first, second = (strip.astype(np.float32, copy=False) for strip in strips)
        return measure_pair(self.pairs[number], (first, second), self.expected[number], self.max_shift_px)

    def refuse(self, number: int, reason: str) -> PairShift:
        """Return a pair that is not measured."""
        row, column = self.expected[number]
        return PairShift(*self.pairs[number], (float(row), float(column)), 0.0, float(self.max_shift_px), False, reason)


def _cut_ahead(
    pool: ThreadPoolExecutor, cutter: _Cutter, visits: Sequence[int], ahead: int
) -> Iterator[tuple[int, Strips]]:
    """Yield each tile with its strips in order, the next ones being loaded meanwhile."""
    coming: deque[tuple[int, Future[Strips]]] = deque()
    for tile in visits:
        coming.append((tile, pool.submit(cutter.cut, tile)))
        if len(coming) > ahead:
            ready, strips = coming.popleft()
            yield ready, strips.result()
    while coming:
        ready, strips = coming.popleft()
        yield ready, strips.result()


class _Board:
    """Brings the strips of a pair together, has them measured, and asks for corners where edges don't do."""

    def __init__(self, pool: ThreadPoolExecutor, cutter: _Cutter, minor: set[int], most_waiting: int) -> None:
        self._pool, self._cutter, self._minor, self._most_waiting = pool, cutter, minor, most_waiting
        self._waiting: Strips = {}
        self._minors: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._running: deque[tuple[int, Future[PairShift]]] = deque()
        self._measured: dict[int, PairShift] = {}
        self._open = [sum(number not in minor for number in numbers) for numbers in cutter.partners]
        self._linked: list[set[int]] = [set() for _ in cutter.partners]
        self._empty: set[int] = set()

    def take(self, tile: int, strips: Strips) -> None:
        """Take the strips of the next tile."""
        for number, strip in strips.items():
            if number not in self._waiting:
                self._waiting[number] = strip
                continue
            other = self._waiting.pop(number)
            both = (strip, other) if tile == self._cutter.pairs[number][0] else (other, strip)
            if number in self._minor:
                self._minors[number] = both
            else:
                self._start(number, both)
        self._collect(self._most_waiting)
        self._decide()

    def finish(self) -> Survey:
        """Return what was found, once all is done."""
        self._collect(0)
        self._decide()
        self._collect(0)
        pairs = without_chance_among_repetition([self._measured[number] for number in sorted(self._measured)])
        linked = {tile for pair in pairs if pair.accepted for tile in (pair.first, pair.second)}
        return Survey(pairs, frozenset(self._cutter.blank - linked))

    def _start(self, number: int, strips: tuple[NDArray[Any], NDArray[Any]]) -> None:
        future: Future[PairShift] = Future()
        empty = self._empty.intersection(self._cutter.pairs[number])
        if empty:
            reason = f"no texture: tile {min(empty)} had nothing in common with another neighbour"
            future.set_result(self._cutter.refuse(number, reason))
        elif strips[0].size < _WORTH_A_THREAD_PX:
            future.set_result(self._cutter.measure(number, strips))
        else:
            future = self._pool.submit(self._cutter.measure, number, strips)
        self._running.append((number, future))

    def _collect(self, leave: int) -> None:
        """Take in what is done, and wait until no more than so many are left."""
        while self._running and (len(self._running) > leave or self._running[0][1].done()):
            number, future = self._running.popleft()
            pair = self._measured[number] = future.result()
            if not pair.accepted:
                # Alone, a picture of fine texture looks like noise; beside its neighbour's it would not have.
                self._empty.update(self._cutter.blank.intersection((pair.first, pair.second)))
            if number in self._minor:
                continue
            self._open[pair.first] -= 1
            self._open[pair.second] -= 1
            if pair.accepted:
                self._linked[pair.first].add(pair.second)
                self._linked[pair.second].add(pair.first)

    def _decide(self) -> None:
        """Have those corners measured that are needed, and forget the others, once their tiles' edges are known."""
        for number in [k for k in self._minors if not any(self._open[tile] for tile in self._cutter.pairs[k])]:
            strips = self._minors.pop(number)
            mine, theirs = (self._linked[tile] for tile in self._cutter.pairs[number])
            tied = min(len(mine), len(theirs)) >= 2 and mine & theirs
            if not tied and not any(map(self._is_empty, self._cutter.pairs[number], strips)):
                self._start(number, strips)

    def _is_empty(self, tile: int, strip: NDArray[Any]) -> bool:
        """Tell whether there is nothing in the corner of a tile whose edges have shown nothing to either side.

        Alone, a picture of fine texture looks like noise.
        """
        blank = tile in self._cutter.blank and not self._linked[tile]
        return blank and patch_texture(strip.astype(np.float32)) < NOTHING_BUT_NOISE


def _strip(step: int, length: int, margin: int) -> slice:
    """Return the part of a tile's axis that a neighbour ``step`` px further on may share."""
    return slice(max(0, step - margin), min(length, length + step + margin))


def measure_pair(
    pair: tuple[int, int], strips: tuple[Grey, Grey], expected: tuple[int, int], max_shift_px: int
) -> PairShift:
    """Return the offset of one pair from the strips that may overlap, with the verdict on it."""
    # Where the first tile's strip begins, less where the second one's does.
    begin = [max(0, step - max_shift_px) - max(0, -step - max_shift_px) for step in expected]
    middle = expected[0] - begin[0], expected[1] - begin[1]
    nominal_offset = float(expected[0]), float(expected[1])

    def offset(shift: Shift) -> tuple[float, float]:
        return shift.dy_px + begin[0], shift.dx_px + begin[1]

    def at_edge(shift: Shift) -> bool:
        return max(abs(shift.dy_px - middle[0]), abs(shift.dx_px - middle[1])) > max_shift_px - 1

    quick = quick_shift(*strips, max_shift_px=max_shift_px, expected_px=middle)
    if quick is not None:
        shift, certainty = quick.shift, significance(quick.shift.correlation, quick.shift.overlap_px)
        if (
            shift.correlation > _PLAIN_CORRELATION and certainty > _PLAIN_SIGNIFICANCE
            and shift.runner_up < _PLAIN_AMBIGUITY_RATIO * shift.correlation
            and shift.error_px < _PLAIN_ERROR_PX and not at_edge(shift)
        ):
            return PairShift(*pair, offset(shift), shift.correlation, shift.error_px, True, "")
        # A single picture can't tell fine texture from noise, two pictures of a place can.
        if certainty < NOISE_SIGNIFICANCE and quick.texture < MINIMUM_TEXTURE_TO_NOISE:
            return _refused(pair, nominal_offset, shift, max_shift_px, quick.texture)
    shift = phase_shift(*strips, max_shift_px=max_shift_px, expected_px=middle)
    certainty = significance(shift.correlation, shift.overlap_px)
    if shift.correlation < MINIMUM_CORRELATION or certainty < MINIMUM_SIGNIFICANCE:
        return _refused(pair, nominal_offset, shift, max_shift_px, min(texture_to_noise(strip) for strip in strips))
    reason, undecided = "", True
    if shift.runner_up > AMBIGUITY_RATIO * shift.correlation:
        reason = f"ambiguous: another shift correlates {shift.runner_up:.2f}, this one {shift.correlation:.2f}"
    elif shift.error_px > MAXIMUM_ERROR_PX:
        reason = f"poorly determined: the offset may be {shift.error_px:.1f} px wrong"
    else:
        undecided = False
    if not reason and at_edge(shift):
        reason = f"at the edge of the search of {max_shift_px} px"
    return PairShift(*pair, offset(shift), shift.correlation, shift.error_px, not reason, reason, undecided)


def _refused(
    pair: tuple[int, int], nominal_offset: tuple[float, float], shift: Shift, max_shift_px: int, texture: float
) -> PairShift:
    """Return a pair in which nothing was found that could not be chance."""
    reason = (
        _no_texture(texture) if texture < MINIMUM_TEXTURE_TO_NOISE
        else f"correlation {shift.correlation:.2f} over {shift.overlap_px} px may be chance"
    )
    return PairShift(*pair, nominal_offset, shift.correlation, float(max_shift_px), False, reason)


def _no_texture(texture: float) -> str:
    return f"no texture: {texture:.1f} times the noise"
