"""Where a field may lie: each pair of like landmarks votes for a place, a turn and a scale; the votes that agree count.

Chance spreads its votes over the whole mosaic and all turns, so that a handful in one place stands out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import Affine
from mobilescope.imaging.landmarks import Landmarks

_TURNS = 12
_SCALE_STEP = 1.35
# The pixel sizes may be off by a quarter, and each landmark's size by about as much.
_MOST_SCALE = 1.7
_LEAST_VOTES = 3
# Landmarks agree with a place within so many index pixels, and within so many degrees of its turn.
_NEAR_PX = 3.0
_TURN_DEG = 30.0
_AFFINE_FROM = 12
# Cells overlap: one whose votes were mostly looked at is another view of the same place.
_SEEN_SHARE = 0.5
_MOST_CELLS = 400


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A place that landmarks speak for: the map from the picture's µm to the mosaic's, and how many agree with it."""

    to_mosaic: Affine
    agreeing: int


@dataclass(frozen=True, eq=False)
class _Votes:
    """One for each pair of like landmarks: who, for which known one, and the turn and the centre that it speaks for."""

    wanted: NDArray[np.intp]
    source_um: NDArray[np.float64]
    target_um: NDArray[np.float64]
    turn_rad: NDArray[np.float64]
    scale: NDArray[np.float64]
    centre_um: NDArray[np.float64]

    def where(self, chosen: NDArray[Any]) -> _Votes:
        return _Votes(
            self.wanted[chosen], self.source_um[chosen], self.target_um[chosen], self.turn_rad[chosen],
            self.scale[chosen], self.centre_um[chosen],
        )

    def __len__(self) -> int:
        return len(self.wanted)


def hypotheses(
    wanted: Landmarks, known: Landmarks, like: NDArray[np.intp], *, field_um: tuple[float, float], pixel_um: float,
    most: int,
) -> list[Hypothesis]:
    """Return the places with the most agreeing landmarks, best first.

    Parameters
    ----------
    like : ndarray, shape (wanted, k), intp
        For each wanted landmark the known ones that look like it.
    field_um : tuple of float
        Width and height of the picture, whose first pixel's centre lies at (0, 0).
    pixel_um : float
        Pitch at which the landmarks were found.
    """
    votes = _votes(wanted, known, like, field_um)
    if len(votes) < _LEAST_VOTES:
        return []
    cell_um = max(field_um) / 4
    found: list[Hypothesis] = []
    looked_at = np.zeros(len(votes), np.bool_)
    for members in _fullest(votes, cell_um):
        if looked_at[members].mean() > _SEEN_SHARE:
            continue
        looked_at[members] = True
        hypothesis = _fitted(votes, members, _NEAR_PX * pixel_um)
        if hypothesis is not None and not any(_same(hypothesis, other, field_um, cell_um) for other in found):
            found.append(hypothesis)
            if len(found) == 2 * most:
                break
    return sorted(found, key=lambda each: -each.agreeing)[:most]


def _votes(wanted: Landmarks, known: Landmarks, like: NDArray[np.intp], field_um: tuple[float, float]) -> _Votes:
    who = np.repeat(np.arange(len(wanted)), like.shape[1])
    other = like.ravel()
    scale = known.size_um[other].astype(np.float64) / wanted.size_um[who]
    kept = (scale < _MOST_SCALE) & (scale > 1 / _MOST_SCALE)
    who, other, scale = who[kept], other[kept], scale[kept]
    turn = np.deg2rad(known.angle_deg[other].astype(np.float64) - wanted.angle_deg[who])
    source, target = wanted.xy_um[who].astype(np.float64), known.xy_um[other].astype(np.float64)
    out = (np.array(field_um) / 2 - source) * scale[:, None]
    cos, sin = np.cos(turn), np.sin(turn)
    centre = target + np.stack([cos * out[:, 0] - sin * out[:, 1], sin * out[:, 0] + cos * out[:, 1]], axis=1)
    return _Votes(who, source, target, turn, scale, centre)


def _fullest(votes: _Votes, cell_um: float) -> list[NDArray[np.intp]]:
    """Return the votes in each of the fullest cells of place, turn and scale; cells overlap by half."""
    low = votes.centre_um.min(axis=0)
    along = np.column_stack([
        (votes.centre_um - low) / cell_um + 1, votes.turn_rad / (2 * np.pi) * _TURNS,
        np.log(votes.scale) / np.log(_SCALE_STEP) + 10,
    ])
    base = np.floor(along - 0.5).astype(np.int64)
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    cells = (base[:, None, :] + corners).reshape(-1, 4)
    cells[:, 2] %= _TURNS
    size = cells.max(axis=0) + 2
    keys = np.ravel_multi_index(tuple(cells.T), tuple(size))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    fullest = np.argsort(-counts, kind="stable")[:_MOST_CELLS]
    owners = np.repeat(np.arange(len(votes)), len(corners))
    order = np.argsort(inverse, kind="stable")
    edges = np.concatenate([[0], np.cumsum(counts)])
    return [owners[order[edges[each]:edges[each + 1]]] for each in fullest if counts[each] >= _LEAST_VOTES]


def _fitted(votes: _Votes, members: NDArray[np.intp], near_um: float) -> Hypothesis | None:
    """Return the place that most of a cell's votes agree on, and which of all votes agree with it."""
    chosen = votes.where(members)
    matrix, inside = cv2.estimateAffinePartial2D(
        chosen.source_um, chosen.target_um, method=cv2.RANSAC, ransacReprojThreshold=near_um, maxIters=500
    )
    if matrix is None or inside.sum() < _LEAST_VOTES:
        return None
    agreeing = 0
    for _ in range(2):
        turn = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
        off = np.linalg.norm(votes.source_um @ matrix[:, :2].T + matrix[:, 2] - votes.target_um, axis=1)
        askew = np.abs((votes.turn_rad - turn + np.pi) % (2 * np.pi) - np.pi)
        near = np.flatnonzero((off < near_um) & (askew < np.deg2rad(_TURN_DEG)))
        agreeing = len(np.unique(votes.wanted[near]))
        if agreeing < _LEAST_VOTES:
            return None
        source, target = votes.source_um[near], votes.target_um[near]
        if agreeing >= _AFFINE_FROM:
            solved, *_ = np.linalg.lstsq(np.column_stack([source, np.ones(len(source))]), target, rcond=None)
            matrix = solved.T
        else:
            again, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.LMEDS)
            matrix = matrix if again is None else again
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if not 1 / _MOST_SCALE < scale < _MOST_SCALE or not np.isfinite(matrix).all():
        return None
    return Hypothesis(Affine(np.asarray(matrix, dtype=np.float64)), agreeing)


def _same(first: Hypothesis, second: Hypothesis, field_um: tuple[float, float], cell_um: float) -> bool:
    """Tell whether two hypotheses mean one place and turn: they put the field's corners near each other."""
    width, height = field_um
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    apart = np.linalg.norm(first.to_mosaic.apply(corners) - second.to_mosaic.apply(corners), axis=1)
    return bool(np.median(apart) < cell_um)
