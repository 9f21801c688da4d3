"""Where the tiles of a scan lie: neighbours measured pair by pair, then one robust least-squares layout.

Every pair keeps its trust figure and, where it was refused, the reason; tiles without a pair follow the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.spatial
from numpy.typing import ArrayLike, NDArray

from mobilescope.core.errors import InputImageError, StitchingError
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.imaging.phase import Grey, phase_shift, significance, texture_to_noise
from mobilescope.imaging.tile_graph import StageModel, TileGraph

Points = NDArray[np.float64]

# Below this there is more that differs between two pictures of a place than that agrees.
MINIMUM_CORRELATION = 0.3
# Overlaps of unrelated tissue reach 33 (see `phase.significance`), whatever their size.
MINIMUM_SIGNIFICANCE = 40.0
# Edges and corners of tissue that fix a shift along one direction only stand out by their error.
MAXIMUM_ERROR_PX = 0.5
# No overlap is seen better than this: optics, focus and rolling noise differ from tile to tile.
_ERROR_FLOOR_PX = 0.02
# A rival peak this close to the best one means that the content repeats within the search.
AMBIGUITY_RATIO = 0.9
MINIMUM_TEXTURE_TO_NOISE = 1.5
MINIMUM_OVERLAP_PX = 16


@dataclass(frozen=True)
class PairShift:
    """The measured offset of one tile against a neighbour.

    Attributes
    ----------
    offset_px : tuple of float
        (row, column) of the second tile's pixel (0, 0) in the first tile's frame; the nominal one where nothing
        was found.
    correlation : float
        Pearson correlation of the flattened overlap after the shift, -1 to 1.
    error_px : float
        Standard error of the offset along its worse direction; the search's radius where nothing was found.
    accepted : bool
        Whether the layout may lean on this pair.
    reason : str
        Why it was refused; empty for an accepted pair.
    """

    first: int
    second: int
    offset_px: tuple[float, float]
    correlation: float
    error_px: float
    accepted: bool
    reason: str


@dataclass(frozen=True, eq=False)
class TileLayout:
    """Positions of all tiles in the mosaic.

    Attributes
    ----------
    positions_px : ndarray, shape (tiles, 2), float64
        (row, column) of each tile's pixel (0, 0); the least row and column are 0.
    pairs : tuple of PairShift
        As given, with the inconsistent ones now refused.
    residual_px : tuple of float or None
        Median and maximum distance between accepted offsets and the layout; None without an accepted pair.
    isolated : tuple of int
        Tiles without an accepted pair, placed by the stage's prediction.
    component : tuple of int
        Per tile, the label of the group that accepted pairs connect it to. Tiles of different groups lie where
        they do relative to each other on the word of the stage alone.
    """

    positions_px: Points
    pairs: tuple[PairShift, ...]
    residual_px: tuple[float, float] | None
    isolated: tuple[int, ...]
    component: tuple[int, ...]


def neighbour_pairs(
    nominal_px: ArrayLike, tile_shape: tuple[int, int], minimum_overlap_px: int
) -> list[tuple[int, int]]:
    """Return the pairs of tiles that should overlap.

    Diagonal neighbours count: where edges fall on empty glass, a shared corner may be all that ties two tiles.

    Parameters
    ----------
    nominal_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0) according to the stage.
    tile_shape : tuple of int
        Rows and columns of a tile.
    minimum_overlap_px : int
        Least nominal overlap along both axes.

    Returns
    -------
    list of tuple of int
        (first, second) with first < second, in ascending order.
    """
    nominal = _checked_points(nominal_px)
    if len(nominal) < 2:
        return []
    shape = np.asarray(tile_shape, dtype=np.float64)
    # In units of the tile, overlapping tiles are closer than 1 along both axes.
    candidates = scipy.spatial.cKDTree(nominal / shape).query_pairs(1.0, p=np.inf, output_type="ndarray")
    overlap = shape - np.abs(nominal[candidates[:, 1]] - nominal[candidates[:, 0]])
    shared = (overlap >= minimum_overlap_px).all(axis=1)
    return sorted((int(min(pair)), int(max(pair))) for pair in candidates[shared])


def measure_pairs(
    load_grey: Callable[[int], Grey],
    nominal_px: ArrayLike,
    tile_shape: tuple[int, int],
    *,
    max_shift_px: int,
    on_progress: ProgressListener = ignore_progress,
) -> list[PairShift]:
    """Measure the offset of every pair of neighbours.

    Tiles are visited from top to bottom. Each is loaded once and cut at once into the strips that its neighbours
    need, so that no more than the strips of about one row are held.

    Parameters
    ----------
    load_grey : callable
        Returns tile ``index`` as float32, shape ``tile_shape``, any linear scale.
    nominal_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0) according to the stage.
    max_shift_px : int
        Greatest error of a nominal offset between two neighbours, along each axis.
    on_progress : callable
        Told after each tile; an exception raised there stops the work.

    Returns
    -------
    list of PairShift
        One per neighbouring pair, refused ones included, in the order of `neighbour_pairs`.

    Raises
    ------
    InputImageError
        If a tile has another shape than ``tile_shape``.
    """
    nominal = _checked_points(nominal_px)
    partners: dict[int, list[int]] = {}
    pairs = neighbour_pairs(nominal, tile_shape, MINIMUM_OVERLAP_PX)
    for number, (first, second) in enumerate(pairs):
        partners.setdefault(first, []).append(number)
        partners.setdefault(second, []).append(number)
    waiting: dict[int, Grey] = {}
    measured: dict[int, PairShift] = {}
    visits = [int(tile) for tile in np.lexsort((nominal[:, 1], nominal[:, 0])) if int(tile) in partners]
    for done, tile in enumerate(visits, start=1):
        grey = load_grey(tile)
        if grey.shape != tuple(tile_shape):
            raise InputImageError(f"tile {tile} has shape {grey.shape}, the others {tuple(tile_shape)}")
        for number in partners[tile]:
            first, second = pairs[number]
            expected = np.rint(nominal[second] - nominal[first]).astype(int)
            sign = 1 if tile == first else -1
            rows, columns = (
                _strip(sign * int(step), length, max_shift_px)
                for step, length in zip(expected, tile_shape, strict=True)
            )
            # A copy, since a view would keep the whole tile alive.
            strip = grey[rows, columns].astype(np.float32, copy=True)
            if number not in waiting:
                waiting[number] = strip
                continue
            other = waiting.pop(number)
            strips = (strip, other) if tile == first else (other, strip)
            measured[number] = _measure(pairs[number], strips, expected, max_shift_px)
        on_progress(Progress("measuring overlaps", done, len(visits)))
    return [measured[number] for number in range(len(pairs))]


def _strip(step: int, length: int, margin: int) -> slice:
    """Return the part of a tile's axis that a neighbour ``step`` px further on may share."""
    return slice(max(0, step - margin), min(length, length + step + margin))


def _measure(
    pair: tuple[int, int], strips: tuple[Grey, Grey], expected: NDArray[np.int_], max_shift_px: int
) -> PairShift:
    """Return the offset of one pair from the strips that may overlap, with the verdict on it."""
    starts = np.array([
        [max(0, sign * int(step) - max_shift_px) for step in expected] for sign in (1, -1)
    ])
    centre = expected - starts[0] + starts[1]
    shift = phase_shift(*strips, max_shift_px=max_shift_px, expected_px=(int(centre[0]), int(centre[1])))
    offset = (float(shift.dy_px + starts[0, 0] - starts[1, 0]), float(shift.dx_px + starts[0, 1] - starts[1, 1]))
    certainty = significance(shift.correlation, shift.overlap_px)
    reason = ""
    if shift.correlation < MINIMUM_CORRELATION or certainty < MINIMUM_SIGNIFICANCE:
        # Asked only now: a single picture can't tell fine texture from noise, two pictures of a place can.
        texture = min(texture_to_noise(strip) for strip in strips)
        reason = (
            f"no texture: {texture:.1f} times the noise" if texture < MINIMUM_TEXTURE_TO_NOISE
            else f"correlation {shift.correlation:.2f} over {shift.overlap_px} px may be chance"
        )
        nominal_offset = (float(expected[0]), float(expected[1]))
        return PairShift(*pair, nominal_offset, shift.correlation, float(max_shift_px), False, reason)
    if shift.runner_up > AMBIGUITY_RATIO * shift.correlation:
        reason = f"ambiguous: another shift correlates {shift.runner_up:.2f}, this one {shift.correlation:.2f}"
    elif shift.error_px > MAXIMUM_ERROR_PX:
        reason = f"poorly determined: the offset may be {shift.error_px:.1f} px wrong"
    elif np.abs(np.subtract(offset, expected)).max() > max_shift_px - 1:
        reason = f"at the edge of the search of {max_shift_px} px"
    return PairShift(*pair, offset, shift.correlation, shift.error_px, not reason, reason)


def solve_layout(
    nominal_px: ArrayLike, pairs: Sequence[PairShift], *, group: Sequence[int] | None = None
) -> TileLayout:
    """Place all tiles so that they agree with the measured pairs, and with the stage where there are none.

    Weighted least squares over the whole graph of pairs; pairs that contradict their neighbours, or that stand
    alone and contradict the stage, are refused one after another. The stage is a weak prior: an affine map from
    its frame to the image's plus one offset per group, both fitted to the tiles that the pairs connect.

    Parameters
    ----------
    nominal_px : array, shape (tiles, 2), float
        (row, column) of each tile's pixel (0, 0) according to the stage.
    pairs : sequence of PairShift
        From `measure_pairs`; those not accepted are kept as they are and not used.
    group : sequence of int, optional
        One label per tile. Tiles of one label share the stage's systematic error; rows walked to the left and
        rows walked to the right differ by the backlash.

    Returns
    -------
    TileLayout

    Raises
    ------
    StitchingError
        If there is no tile, or a pair or label does not fit the number of tiles.
    """
    nominal = _checked_points(nominal_px)
    labels = np.zeros(len(nominal), dtype=int) if group is None else np.unique(group, return_inverse=True)[1]
    if len(nominal) == 0 or len(labels) != len(nominal):
        raise StitchingError(f"a layout of {len(nominal)} tiles was asked for with {len(labels)} group labels")
    if any(not 0 <= tile < len(nominal) for pair in pairs for tile in (pair.first, pair.second)):
        raise StitchingError(f"a pair names a tile outside the {len(nominal)} tiles of the layout")
    chosen = np.array([number for number, pair in enumerate(pairs) if pair.accepted], dtype=int)
    ends = np.array([(pairs[k].first, pairs[k].second) for k in chosen], dtype=int).reshape(-1, 2)
    offset_px = np.array([pairs[k].offset_px for k in chosen], dtype=np.float64).reshape(-1, 2)
    graph = TileGraph(
        stage=StageModel.over(nominal, labels),
        ends=ends,
        excess_px=offset_px - (nominal[ends[:, 1]] - nominal[ends[:, 0]]),
        weight=np.array(
            [(pairs[k].correlation / max(pairs[k].error_px, _ERROR_FLOOR_PX)) ** 2 for k in chosen], dtype=np.float64
        ),
    )
    displacement_px, reasons = graph.solve()
    verdicts = list(pairs)
    for k, reason in zip(chosen, reasons, strict=True):
        if reason:
            verdicts[k] = replace(pairs[k], accepted=False, reason=reason)
    kept = np.array([not reason for reason in reasons], dtype=bool)
    agreed = replace(graph, ends=graph.ends[kept], excess_px=graph.excess_px[kept], weight=graph.weight[kept])
    residual_px = agreed.residuals_px(displacement_px)
    positions_px = nominal + displacement_px
    return TileLayout(
        positions_px=positions_px - positions_px.min(axis=0),
        pairs=tuple(verdicts),
        residual_px=(float(np.median(residual_px)), float(residual_px.max())) if len(residual_px) else None,
        isolated=tuple(int(tile) for tile in np.setdiff1d(np.arange(len(nominal)), agreed.ends)),
        component=tuple(int(label) for label in agreed.components()),
    )


def _checked_points(nominal_px: ArrayLike) -> Points:
    """Return nominal positions as float64, shape (tiles, 2), or say what is wrong with them."""
    nominal = np.asarray(nominal_px, dtype=np.float64)
    if nominal.ndim != 2 or nominal.shape[1] != 2 or not np.isfinite(nominal).all():
        raise StitchingError(f"nominal positions must be finite (row, column) pairs, got shape {nominal.shape}")
    return nominal
