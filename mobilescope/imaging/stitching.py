"""Where the tiles of a scan lie: one robust least-squares layout from the pairs that were measured.

Tiles without a pair follow the stage, and are told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobilescope.core.errors import StitchingError
from mobilescope.imaging.neighbours import checked_points
from mobilescope.imaging.tile_graph import StageModel, TileGraph
from mobilescope.imaging.tile_pairs import PairShift

Points = NDArray[np.float64]

# No overlap is seen better than this: optics, focus and rolling noise differ from tile to tile.
_ERROR_FLOOR_PX = 0.02


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


@dataclass(frozen=True)
class TileVerdict:
    """How far one tile's place can be trusted.

    Attributes
    ----------
    links : int
        Accepted pairs that the tile is part of.
    residual_px : float or None
        Greatest distance between one of these pairs and the layout; None without any.
    mark : str
        "linked": tied by what is seen to the largest group of tiles. "stage": placed, alone or with its own group, by
        the fitted model of the stage. "blank": the same, and there is nothing to see on it.
    """

    links: int
    residual_px: float | None
    mark: Literal["linked", "stage", "blank"]


def tile_verdicts(layout: TileLayout, blank: Collection[int]) -> list[TileVerdict]:
    """Return the verdict on each tile of a layout, of which some are known to be blank."""
    residuals: list[list[float]] = [[] for _ in layout.positions_px]
    for pair in layout.pairs:
        if pair.accepted:
            step = layout.positions_px[pair.second] - layout.positions_px[pair.first]
            distance = float(np.hypot(*(step - pair.offset_px)))
            residuals[pair.first].append(distance)
            residuals[pair.second].append(distance)
    sizes = np.bincount(layout.component)
    largest = int(sizes.argmax())
    verdicts = []
    for tile, (own, component) in enumerate(zip(residuals, layout.component, strict=True)):
        linked = bool(own) and component == largest
        mark: Literal["linked", "stage", "blank"] = (
            "linked" if linked else "blank" if tile in blank and not own else "stage"
        )
        verdicts.append(TileVerdict(len(own), max(own, default=None), mark))
    return verdicts


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
    nominal = checked_points(nominal_px)
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
