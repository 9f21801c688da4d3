"""Which tiles should overlap, by where the stage says that they lie."""

from __future__ import annotations

import numpy as np
import scipy.spatial
from numpy.typing import ArrayLike, NDArray

from mobilescope.core.errors import StitchingError

Points = NDArray[np.float64]

# Of what their tiles share with others, what a minor pair shares at most.
_MINOR_SHARE = 0.5


def checked_points(nominal_px: ArrayLike) -> Points:
    """Return nominal positions as float64, shape (tiles, 2), or say what is wrong with them."""
    nominal = np.asarray(nominal_px, dtype=np.float64)
    if nominal.ndim != 2 or nominal.shape[1] != 2 or not np.isfinite(nominal).all():
        raise StitchingError(f"nominal positions must be finite (row, column) pairs, got shape {nominal.shape}")
    return nominal


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
    nominal = checked_points(nominal_px)
    if len(nominal) < 2:
        return []
    shape = np.asarray(tile_shape, dtype=np.float64)
    # In units of the tile, overlapping tiles are closer than 1 along both axes.
    candidates = scipy.spatial.cKDTree(nominal / shape).query_pairs(1.0, p=np.inf, output_type="ndarray")
    overlap = shape - np.abs(nominal[candidates[:, 1]] - nominal[candidates[:, 0]])
    shared = (overlap >= minimum_overlap_px).all(axis=1)
    return sorted((int(min(pair)), int(max(pair))) for pair in candidates[shared])


def minor_pairs(nominal_px: Points, tile_shape: tuple[int, int], pairs: list[tuple[int, int]]) -> set[int]:
    """Return the numbers of the pairs that share much less than their tiles share with others, as corners do."""
    ends = np.array(pairs, dtype=int).reshape(-1, 2)
    shared = (np.asarray(tile_shape) - np.abs(nominal_px[ends[:, 1]] - nominal_px[ends[:, 0]])).prod(axis=1)
    most = np.zeros(len(nominal_px))
    for side in (0, 1):
        np.maximum.at(most, ends[:, side], shared)
    return set(np.flatnonzero(shared < _MINOR_SHARE * most[ends].min(axis=1)).tolist())
