"""The phone's picture laid under the label by shift, turn, scale and shear alone: R18's "raw" column."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import to_float
from mobilescope.imaging.warp import MapYX, lattice_points, pixel_grid, resample, sample_map

# A straight map leaves the capture by the lens's distortion at most; the border is continued that far.
_MARGIN_PX = 24
_MAP_SAMPLING = 8


def straight_picture(
    source: NDArray[np.uint16], map_xy: NDArray[np.float32], label_shape: tuple[int, int], *,
    warp: Literal["phone", "benchtop"],
) -> NDArray[np.float32]:
    """Return a capture on its label's grid, registered by an affine map only and resampled once.

    The affine map is the least-squares fit to the registration's own map, so that this picture differs from the
    registered one by the elastic part: by the phone's optical distortion.

    Parameters
    ----------
    source : ndarray, shape (rows, columns, 3), uint16, sRGB
        The developed capture (``warp="phone"``); the pair's own input, which is untouched (``warp="benchtop"``).
    map_xy : ndarray, shape (h, w, 2), float32
        The pair's map as `PairStore.map` gives it: (x, y) in the capture, or in the mosaic, of each input pixel.
    label_shape : tuple of int
        Rows and columns of the label.

    Returns
    -------
    ndarray, shape (*label_shape, 3), float32 0–1
    """
    map_yx = np.ascontiguousarray(map_xy[..., ::-1])
    rows, _ = map_yx.shape[:2]
    # Where the label's pixels lie among the input's.
    points = lattice_points(label_shape, rows / label_shape[0])
    affine = _fitted_affine(map_yx)
    if warp == "phone":
        at = points @ affine[:, :2].T + affine[:, 2]
    else:
        # What the label shows at a point is what the elastic map found there; the affine map seeks it elsewhere.
        shift = sample_map(map_yx - pixel_grid((map_yx.shape[0], map_yx.shape[1])), points)
        at = (points + shift - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    padded = np.pad(source, ((_MARGIN_PX, _MARGIN_PX), (_MARGIN_PX, _MARGIN_PX), (0, 0)), mode="edge")
    picture, _ = resample(padded, (at + _MARGIN_PX).astype(np.float32), interpolation="cubic")
    return to_float(picture)


def _fitted_affine(map_yx: MapYX) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that takes (row, column) of the input to the map's points, by least squares."""
    part = (slice(None, None, _MAP_SAMPLING), slice(None, None, _MAP_SAMPLING))
    places = pixel_grid((map_yx.shape[0], map_yx.shape[1]))[part].reshape(-1, 2).astype(np.float64)
    design = np.column_stack([places, np.ones(len(places))])
    solution, *_ = np.linalg.lstsq(design, map_yx[part].reshape(-1, 2).astype(np.float64), rcond=None)
    return np.asarray(solution.T)
