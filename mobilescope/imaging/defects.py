"""Pixels of a sensor that don't follow the light: found in dark frames and clear fields, replaced in raw pictures.

Each site of the 2×2 mosaic is judged among its own kind, so that colours and their levels never mix. In a JPEG they are
smeared by what the phone makes of them; there, halved pixels are judged, and `halving` replaces them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]

_SPREADS = 8.0
# A hot pixel stands out of the dark by this part of the range at least, a dead one differs so much from its neighbours.
_LEAST_HOT = 0.005
_LEAST_DEAD = 0.30
# Of a smear in a JPEG only the strong part is worth what replacing it loses; measured, docs/benchmarks.md.
_LEAST_HOT_SMEAR = 0.03
_LEAST_DEAD_SMEAR = 0.20
# More than this part of a sensor is no defect of single pixels.
GREATEST_SHARE = 0.01
_AROUND = tuple((row, column) for row in (-2, 0, 2) for column in (-2, 0, 2) if row or column)
# OpenCV takes medians of floats over this side at most.
_SIDE = 5


def hot_pixels(dark: NDArray[Any], *, black_level: float, white_level: float) -> Places:
    """Return the pixels that shine in the dark.

    Parameters
    ----------
    dark : ndarray, shape (rows, columns)
        Mean of dark frames, counts.

    Returns
    -------
    ndarray, shape (n, 2), int
        (row, column), in the order of rows.
    """
    least = _LEAST_HOT * (white_level - black_level)
    found = np.zeros(dark.shape, dtype=np.bool_)
    for site, plane in _planes(dark):
        above = plane - cv2.medianBlur(plane, _SIDE)
        found[site] = above > max(least, _SPREADS * _spread(above))
    return np.argwhere(found)


def dead_pixels(clear: NDArray[Any], *, black_level: float) -> Places:
    """Return the pixels that answer the light of a clear field too little or too much; as `hot_pixels` does."""
    found = np.zeros(clear.shape, dtype=np.bool_)
    for site, plane in _planes(clear):
        plane -= np.float32(black_level)
        around = cv2.medianBlur(plane, _SIDE)
        share = plane / np.maximum(around, np.float32(1), out=around) - 1
        found[site] = np.abs(share) > max(_LEAST_DEAD, _SPREADS * _spread(share))
    return np.argwhere(found)


def defects_of(
    dark: NDArray[Any] | None, clear: NDArray[Any] | None, *, black_level: float, white_level: float
) -> tuple[Places, Places]:
    """Return hot pixels, and those that are dead without being hot; of means that are not known, none."""
    hot = dead = np.empty((0, 2), dtype=np.intp)
    if dark is not None:
        hot = hot_pixels(dark, black_level=black_level, white_level=white_level)
    if clear is not None:
        known = set(map(tuple, hot))
        found = dead_pixels(clear, black_level=black_level)
        dead = found[[tuple(place) not in known for place in found]] if len(found) else found
    return hot, dead


def smears_of(dark: NDArray[np.float32] | None, clear: NDArray[np.float32] | None) -> tuple[Places, Places]:
    """Return the pixels that defects spoil in pictures that the phone developed itself, as `defects_of` does.

    Parameters
    ----------
    dark, clear : ndarray, shape (rows, columns, 3), float32
        Mean linear light, 0–1, as `halved_light` gives it.
    """
    hot = dead = np.zeros((0, 0), dtype=np.bool_)
    if dark is not None:
        hot = np.zeros(dark.shape[:2], dtype=np.bool_)
        for plane, around in _colours(dark):
            above = plane - around
            hot |= above > max(_LEAST_HOT_SMEAR, _SPREADS * _spread(above))
    if clear is not None:
        dead = np.zeros(clear.shape[:2], dtype=np.bool_)
        for plane, around in _colours(clear):
            share = plane / np.maximum(around, np.float32(1e-3)) - 1
            dead |= np.abs(share) > max(_LEAST_DEAD_SMEAR, _SPREADS * _spread(share))
    return np.argwhere(hot), np.argwhere(dead if dark is None or clear is None else dead & ~hot)


def without_defects(bayer: NDArray[np.uint16], places: Places) -> NDArray[np.uint16]:
    """Return a frame whose pixels at ``places`` are the median of their sound neighbours of the same site.

    A pixel without a sound neighbour keeps its value.
    """
    if not len(places):
        return bayer
    rows, columns = bayer.shape
    defect = np.zeros((rows, columns), dtype=np.bool_)
    defect[places[:, 0], places[:, 1]] = True
    near = places[:, None, :] + np.array(_AROUND)
    inside = (near >= 0).all(axis=-1) & (near < (rows, columns)).all(axis=-1)
    row, column = (np.where(inside, near[..., axis], 0) for axis in (0, 1))
    usable = inside & ~defect[row, column]
    values = np.where(usable, bayer[row, column], np.nan)
    mended = usable.any(axis=1)
    result = bayer.copy()
    at = places[mended]
    result[at[:, 0], at[:, 1]] = np.round(np.nanmedian(values[mended], axis=1)).astype(np.uint16)
    return result


def _planes(frame: NDArray[Any]) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Yield the pixels of each site of the mosaic, and where they stand."""
    for row in (0, 1):
        for column in (0, 1):
            site = slice(row, None, 2), slice(column, None, 2)
            yield site, np.ascontiguousarray(frame[site], dtype=np.float32)


def _colours(light: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield each colour's plane, and the same without what is smaller than the neighbourhood of a pixel."""
    for channel in range(3):
        plane = np.ascontiguousarray(light[..., channel])
        yield plane, np.asarray(cv2.medianBlur(plane, _SIDE), dtype=np.float32)


def _spread(plane: NDArray[Any]) -> float:
    """Return the standard deviation of a plane, as the median distance from the median of some pixels tells it."""
    step = max(1, min(plane.shape) // 512)
    values = plane[::step, ::step]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
