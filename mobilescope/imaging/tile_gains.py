"""Tiles brought to one brightness and colour: a factor per tile and channel that their overlaps agree on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK_PX = 8
_LARGE_BLOCK_PX = 16
_LARGE_SIDE_PX = 1024
# Differences (root of mean square) that no eye sees are left alone, so that tiles of a steady lamp keep their values.
_LEAST_DIFFERENCE = 0.006
_SIGNIFICANT = 3.0
_STRONGEST = np.log(1.5)
# How far tiles are held at their own brightness: a factor of this size costs as much as such a difference left over.
_PRIOR_SIGMA = 0.3
_SIGMA = 0.01
_LEAST_BLOCKS = 6
# Blocks of one place, in two pictures, differ by less than this about their common ratio; others by much more.
_ALIKE = 0.03
_DARKEST = 2.0

Thumbnail = NDArray[np.float32]


def block_px(tile_shape: tuple[int, ...]) -> int:
    """Return the side of a thumbnail's blocks."""
    return _BLOCK_PX if max(tile_shape[:2]) <= _LARGE_SIDE_PX else _LARGE_BLOCK_PX


def thumbnail(pixels: NDArray[np.generic]) -> Thumbnail:
    """Return means over square blocks, shape (rows // block, columns // block, channels)."""
    block = block_px(pixels.shape)
    rows, columns = (max(1, length // block) for length in pixels.shape[:2])
    whole = pixels[:rows * block, :columns * block]
    small = cv2.resize(np.ascontiguousarray(whole), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32).reshape(rows, columns, -1)


def solve_gains(
    thumbnails: Sequence[Thumbnail], block: int, positions_px: NDArray[np.float64], pairs: Sequence[tuple[int, int]],
    unseen_pairs: Sequence[tuple[int, int]] = (),
) -> NDArray[np.float32] | None:
    """Return the factor of each tile and channel, or None where the tiles agree already.

    Least squares over the logarithms of the ratios in the overlaps, each tile held near 1 and bounded.

    Parameters
    ----------
    thumbnails : sequence of ndarray
        From `thumbnail`, one per tile.
    block : int
        Side of their blocks in px.
    positions_px : ndarray, shape (tiles, 2)
        (row, column) of each tile's pixel (0, 0).
    pairs : sequence of tuple of int
        Tiles that overlap.
    unseen_pairs : sequence of tuple of int
        Tiles that should overlap according to the stage: as on glass, they count where both show the same.

    Returns
    -------
    ndarray, shape (tiles, channels), float32, or None
    """
    channels = thumbnails[0].shape[2] if thumbnails else 1
    ends, ratios, errors = [], [], []
    for (first, second), most_spread in [(pair, np.inf) for pair in pairs] + [(pair, _ALIKE) for pair in unseen_pairs]:
        step = (positions_px[second] - positions_px[first]) / block
        found = _ratio(thumbnails[first], thumbnails[second], step)
        if found is not None and found[1] <= most_spread:
            ends.append((first, second))
            ratios.append(found[0])
            errors.append(found[1] / found[2] ** 0.5)
    usual = float(np.square(ratios).mean()) ** 0.5 if ratios else 0.0
    if usual <= max(_LEAST_DIFFERENCE, _SIGNIFICANT * float(np.square(errors).mean()) ** 0.5 if errors else 0.0):
        return None
    count = len(thumbnails)
    incidence = np.zeros((len(ends), count))
    numbers = np.arange(len(ends))
    incidence[numbers, [first for first, _ in ends]] = 1
    incidence[numbers, [second for _, second in ends]] = -1
    pull = incidence.T / (_SIGMA**2 + np.square(errors))
    normal = pull @ incidence + np.eye(count) / _PRIOR_SIGMA**2
    logarithms = np.linalg.solve(normal, -pull @ np.reshape(ratios, (-1, channels)))
    gains: NDArray[np.float32] = np.exp(np.clip(logarithms, -_STRONGEST, _STRONGEST)).astype(np.float32)
    return gains


def _ratio(
    first: Thumbnail, second: Thumbnail, step: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, int] | None:
    """Return the logarithm of first over second at the places that both show, per channel, its spread, the blocks."""
    rows, columns = first.shape[:2]
    top, left = max(0, int(np.ceil(step[0]))), max(0, int(np.ceil(step[1])))
    bottom = min(rows, int(np.floor(step[0])) + second.shape[0])
    right = min(columns, int(np.floor(step[1])) + second.shape[1])
    if (bottom - top) * (right - left) < _LEAST_BLOCKS or bottom <= top or right <= left:
        return None
    mine = first[top:bottom, left:right]
    place = np.array([[1.0, 0.0, left - step[1]], [0.0, 1.0, top - step[0]]])
    theirs = cv2.warpAffine(
        second, place, (right - left, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).reshape(mine.shape)
    means = [np.maximum(part.mean(axis=(0, 1), dtype=np.float64), _DARKEST) for part in (mine, theirs)]
    ratio: NDArray[np.float64] = np.log(means[0] / means[1])
    # Blocks at the borders and between show a little more or less than their partners.
    blocks = np.log(np.maximum(mine, _DARKEST) / np.maximum(theirs, _DARKEST))
    return ratio, float(blocks.std(axis=(0, 1)).max()), blocks[..., 0].size
