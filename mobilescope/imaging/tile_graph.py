"""The least-squares problem behind a tile layout: measured offsets between tiles, and a stage that is trusted little.

Arrays in, arrays out; what a pair is and how it was measured is the business of `stitching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from numpy.typing import NDArray

Points = NDArray[np.float64]
Indices = NDArray[np.int_]

# A pair further than this from what its neighbours agree on is wrong, however small the usual residual is.
_RESIDUAL_FLOOR_PX = 1.0
# A pair that no other can check may disagree with the stage by this much, even where the stage looks perfect.
_STAGE_FLOOR_PX = 3.0
_OUTLIER_SIGMAS = 5.0
_STAGE_SIGMA_FLOOR_PX = 0.5
# Before any evidence: how far the stage's frame may be from the camera's (scale, rotation), and backlash from zero.
_FRAME_SIGMA = 0.02
_BACKLASH_SIGMA_PX = 20.0
_REWEIGHTINGS = 15
# Steps this small no longer change which pair is wrong.
_SETTLED_PX = 1e-3
_DENSE_TILES = 300
# Median and upper quartile of a two-dimensional normal error's length, in its standard deviations along one axis.
_MEDIAN_LENGTH = 1.1774
_UPPER_QUARTILE_LENGTH = 1.6651


@dataclass(frozen=True, eq=False)
class StageModel:
    """The stage's systematic error as a linear function of a few parameters.

    A tile's displacement from its nominal position is ``design[tile] @ parameters``: an affine map of the nominal
    position, plus an offset per group.

    Attributes
    ----------
    design : ndarray, shape (tiles, parameters), float64
    precision : ndarray, shape (parameters,), float64
        Inverse variance that holds each parameter near 0 until there is evidence.
    """

    design: Points
    precision: Points

    @classmethod
    def over(cls, nominal_px: Points, labels: Indices) -> Self:
        """Return the model for tiles at nominal (row, column), shape (tiles, 2), labelled 0 to groups - 1."""
        centred = nominal_px - nominal_px.mean(axis=0)
        groups = int(labels.max()) + 1
        # With one group its offset is the common shift, which only has to be kept from floating away.
        backlash = np.eye(groups)[labels] if groups > 1 else np.empty((len(nominal_px), 0))
        design = np.column_stack([centred, np.ones(len(nominal_px)), backlash])
        precision = np.full(design.shape[1], _BACKLASH_SIGMA_PX**-2.0)
        precision[:2] = _FRAME_SIGMA**-2.0
        precision[2] = 1e-6
        return cls(design, precision)


@dataclass(frozen=True, eq=False)
class TileGraph:
    """Tiles joined by measured offsets.

    Attributes
    ----------
    ends : ndarray, shape (pairs, 2), int
        First and second tile of each pair.
    excess_px : ndarray, shape (pairs, 2), float64
        (row, column) by which the measured offset exceeds the nominal one.
    weight : ndarray, shape (pairs,), float64
        Inverse variance of each measured offset, px⁻², above 0.
    """

    stage: StageModel
    ends: Indices
    excess_px: Points
    weight: Points

    def solve(self) -> tuple[Points, list[str]]:
        """Return the tiles' displacements from nominal, and for each pair why it was refused (empty if kept).

        Returns
        -------
        displacement_px : ndarray, shape (tiles, 2), float64
        reasons : list of str
        """
        reasons = [""] * len(self.ends)
        kept = np.ones(len(self.ends), dtype=bool)
        deviation_px, stage_sigma_px = self._against_stage()
        while True:
            numbers = np.flatnonzero(kept)
            part = TileGraph(self.stage, self.ends[kept], self.excess_px[kept], self.weight[kept])
            residual_px = part.residuals_px(part._robust(deviation_px[kept], stage_sigma_px))
            limit_px = max(_RESIDUAL_FLOOR_PX, _OUTLIER_SIGMAS * _usual_px(residual_px))
            stage_limit_px = max(_STAGE_FLOOR_PX, _OUTLIER_SIGMAS * 2**0.5 * stage_sigma_px)
            alone = part._unsupported() & (deviation_px[kept] > stage_limit_px)
            for k in np.flatnonzero(residual_px > limit_px):
                reasons[numbers[k]] = f"{residual_px[k]:.1f} px from where its neighbours agree"
            for k in np.flatnonzero(alone):
                reasons[numbers[k]] = (
                    f"no other pair supports it, and it is {deviation_px[numbers[k]]:.1f} px from the stage's"
                )
            before = int(kept.sum())
            kept = np.array([not reason for reason in reasons], dtype=bool)
            if int(kept.sum()) == before:
                return part._least_squares(part.weight, stage_sigma_px), reasons

    def residuals_px(self, displacement_px: Points) -> Points:
        """Return the distance between each measured offset and the layout's, shape (pairs,)."""
        difference = displacement_px[self.ends[:, 1]] - displacement_px[self.ends[:, 0]] - self.excess_px
        lengths: Points = np.hypot(difference[:, 0], difference[:, 1])
        return lengths

    def components(self) -> Indices:
        """Return the label of the connected group of each tile, shape (tiles,)."""
        tiles = len(self.stage.design)
        links = scipy.sparse.coo_array(
            (np.ones(len(self.ends)), (self.ends[:, 0], self.ends[:, 1])), shape=(tiles, tiles)
        )
        labels: Indices = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
        return labels

    def _against_stage(self) -> tuple[Points, float]:
        """Return each pair's distance from the stage's systematic error, and the stage's random error (one axis).

        Fitted to differences between neighbours, which a wrong pair can't spread over the tiles behind it.
        """
        if not len(self.ends):
            return np.empty(0), _STAGE_SIGMA_FLOOR_PX
        change = self.stage.design[self.ends[:, 1]] - self.stage.design[self.ends[:, 0]]
        lengths = np.hypot(*self.excess_px.T)
        sigma = _STAGE_SIGMA_FLOOR_PX
        for _ in range(_REWEIGHTINGS):
            sigma = max(_STAGE_SIGMA_FLOOR_PX, float(np.median(lengths)) / _MEDIAN_LENGTH)
            weight = _cauchy(lengths, 2 * sigma) / sigma**2
            normal = change.T @ (weight[:, None] * change) + np.diag(self.stage.precision)
            parameters = np.linalg.solve(normal, change.T @ (weight[:, None] * self.excess_px))
            before, lengths = lengths, np.hypot(*(self.excess_px - change @ parameters).T)
            if np.abs(lengths - before).max() < _SETTLED_PX:
                break
        return lengths, sigma / 2**0.5

    def _robust(self, deviation_px: Points, stage_sigma_px: float) -> Points:
        """Return displacements that wrong pairs hardly move, shape (tiles, 2).

        Starts by trusting pairs as far as they agree with the stage, then, scale by scale, with each other.
        """
        doubt_px, scale_px = deviation_px, 3 * max(_RESIDUAL_FLOOR_PX, stage_sigma_px)
        displacement_px = np.zeros((len(self.stage.design), 2))
        for _ in range(_REWEIGHTINGS):
            weight = self.weight * _cauchy(doubt_px, scale_px)
            before, displacement_px = displacement_px, self._least_squares(weight, stage_sigma_px)
            if np.abs(displacement_px - before).max() < _SETTLED_PX:
                break
            doubt_px = self.residuals_px(displacement_px)
            scale_px = max(_RESIDUAL_FLOOR_PX / 2, 3 * _usual_px(doubt_px), scale_px * 0.7)
        return displacement_px

    def _least_squares(self, weight: Points, stage_sigma_px: float) -> Points:
        """Return the displacements of least weighted error, the stage's parameters fitted along with them.

        Parameters
        ----------
        weight : ndarray, shape (pairs,)

        Returns
        -------
        ndarray, shape (tiles, 2), float64
        """
        design, anchor = self.stage.design, stage_sigma_px**-2
        tiles = len(design)
        first, second = self.ends.T
        pull = np.empty((tiles, 2))
        for axis in (0, 1):
            wanted = weight * self.excess_px[:, axis]
            pull[:, axis] = np.bincount(second, wanted, tiles) - np.bincount(first, wanted, tiles)
        diagonal = np.full(tiles, anchor)
        diagonal += np.bincount(first, weight, tiles) + np.bincount(second, weight, tiles)
        anchored = anchor * design
        solved = _solve(diagonal, self.ends, weight, np.column_stack([pull, anchored]))
        free, towards = solved[:, :2], solved[:, 2:]
        # The few stage parameters are eliminated to a small dense system, which keeps the large one sparse.
        normal = anchored.T @ (design - towards) + np.diag(self.stage.precision)
        displacement: Points = free + towards @ np.linalg.solve(normal, anchored.T @ free)
        return displacement

    def _unsupported(self) -> NDArray[np.bool_]:
        """Tell for each pair whether it is the only way between the tiles on its two sides, shape (pairs,).

        A depth-first walk: a pair is such a bridge if nothing behind it leads back to before it.
        """
        links: list[list[tuple[int, int]]] = [[] for _ in self.stage.design]
        for number, (first, second) in enumerate(self.ends.tolist()):
            links[first].append((second, number))
            links[second].append((first, number))
        bridge = np.zeros(len(self.ends), dtype=bool)
        entered = [-1] * len(links)
        earliest = [0] * len(links)
        clock = 0
        for root in range(len(links)):
            if entered[root] >= 0:
                continue
            entered[root] = earliest[root] = clock
            clock += 1
            walk = [(root, -1, iter(links[root]))]
            while walk:
                tile, came_by, rest = walk[-1]
                for following, number in rest:
                    if number == came_by:
                        continue
                    if entered[following] >= 0:
                        earliest[tile] = min(earliest[tile], entered[following])
                        continue
                    entered[following] = earliest[following] = clock
                    clock += 1
                    walk.append((following, number, iter(links[following])))
                    break
                else:
                    walk.pop()
                    if walk:
                        before = walk[-1][0]
                        earliest[before] = min(earliest[before], earliest[tile])
                        bridge[came_by] = earliest[tile] > entered[before]
        return bridge


def _solve(diagonal: Points, ends: Indices, weight: Points, right: Points) -> Points:
    """Solve with the matrix of a graph: the diagonal, and minus the weight where a pair joins two tiles."""
    (first, second), tiles = ends.T, len(diagonal)
    if tiles <= _DENSE_TILES:  # quicker than a sparse factor
        matrix = np.bincount(first * tiles + second, -weight, tiles * tiles).reshape(tiles, tiles)
        matrix += matrix.T
        matrix.flat[::tiles + 1] = diagonal
        dense: Points = scipy.linalg.solve(
            matrix, right, assume_a="pos", overwrite_a=True, overwrite_b=True, check_finite=False
        )
        return dense
    everyone = np.arange(tiles)
    rows, columns = np.concatenate([first, second, everyone]), np.concatenate([second, first, everyone])
    sparse = scipy.sparse.csc_array(
        (np.concatenate([-weight, -weight, diagonal]), (rows, columns)), shape=(tiles, tiles)
    )
    solution: Points = scipy.sparse.linalg.splu(sparse, permc_spec="MMD_AT_PLUS_A").solve(right)
    return solution


def _usual_px(lengths_px: Points) -> float:
    """Return the standard deviation along one axis of the errors that three of four pairs keep within.

    Wrong pairs are few. Where more than a quarter disagree it is the picture that is distorted, and they are right.
    """
    return float(np.quantile(lengths_px, 0.75)) / _UPPER_QUARTILE_LENGTH if len(lengths_px) else 0.0


def _cauchy(lengths_px: Points, scale_px: float) -> Points:
    """Return the weight of errors of the given lengths: 1 for none, falling with the square beyond the scale."""
    weight: Points = 1 / (1 + (lengths_px / scale_px) ** 2)
    return weight
