"""The part of a large image that shows a small one's field, found before anything is registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pairs.finding import MosaicFinder
from mobilescope.app.pictures.images import Picture
from mobilescope.core.errors import RegistrationError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress

# A fixed image with so many times the moving one's area is searched before it is registered with.
_MUCH_LARGER = 9.0
_MARGIN = 0.06


@dataclass(frozen=True, eq=False)
class FixedWindow:
    """A window of the fixed image, (row, column) of its first pixel, and how it was found."""

    pixels: NDArray[Any]
    first_px: tuple[int, int]
    place: dict[str, float]


def window_of(
    moving: NDArray[Any], moving_um: float, fixed: Picture, fixed_path: Path, fixed_um: float, *,
    on_progress: ProgressListener = ignore_progress, stop: StopToken | None = None,
) -> FixedWindow:
    """Return the whole fixed image, or where it is much larger the part of it that shows the moving one's field.

    Raises
    ------
    RegistrationError
        The fixed image does not show the field, or in several places.
    """
    rows, columns = fixed.shape[:2]
    ratio = rows * columns * fixed_um**2 / (moving.shape[0] * moving.shape[1] * moving_um**2)
    if ratio < _MUCH_LARGER:
        return FixedWindow(fixed.read(), (0, 0), {})
    with MosaicFinder.open(fixed_path, pixel_size_um=fixed_um, on_progress=on_progress, stop=stop) as finder:
        finder.warn_unsaved()
        place = finder.find(moving, moving_um)
    if place.to_mosaic_um is None:
        raise RegistrationError(place.reason)
    height, width = moving.shape[:2]
    corners_px = place.to_mosaic_um.apply([(x, y) for x in (0, width - 1) for y in (0, height - 1)]) / fixed_um
    low, high = corners_px.min(axis=0), corners_px.max(axis=0)
    room = _MARGIN * float((high - low).max())
    left, top = np.clip(np.floor(low - room), 0, (columns - 1, rows - 1)).astype(int)
    right, bottom = np.clip(np.ceil(high + room), 0, (columns - 1, rows - 1)).astype(int)
    pixels = fixed.source.read(int(top), int(left), int(bottom - top + 1), int(right - left + 1))
    return FixedWindow(pixels, (int(top), int(left)), {
        "row_px": float(corners_px[:, 1].mean()), "column_px": float(corners_px[:, 0].mean()),
        "rotation_deg": place.rotation_deg, "scale": place.scale, "correlation": place.score,
        "landmarks": float(place.evidence.agreeing),
    })
