"""Objects of the twin's truth that an enhanced picture lost, or shows where there is nothing.

An object counts as seen where its stain's absorption stands out in a picture. Cells that absorb green (red cells,
tissue) and nuclei, parasites and platelets that absorb red are looked for in the channel they absorb.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.imaging.colour import srgb_decode
from mobilescope.twin.specimens.base import SpecimenObject

CHANNEL = {"red_cell": 1, "trypanosome": 0, "leucocyte": 0, "platelet": 0, "nucleus": 0}
_DENSITY = {0: 0.16, 1: 0.10}
_LEAST_AREA_UM2 = {"red_cell": 12.0, "trypanosome": 4.0, "leucocyte": 12.0, "platelet": 1.5, "nucleus": 6.0}
_FOUND_PART = 0.5
_SMOOTHING_UM = 0.4
_TOLERANCE_UM = 1.2


@dataclass
class ObjectCount:
    """How many objects the benchtop shows, how many of those a picture lost, and how many it invented."""

    shown: int = 0
    lost: int = 0
    invented: int = 0

    def add(self, other: ObjectCount) -> None:
        self.shown += other.shown
        self.lost += other.lost
        self.invented += other.invented


def optical_density(picture: NDArray[np.floating], channel: int, pixel_um: float) -> NDArray[np.float32]:
    """Return the absorption of one channel, log10, against the picture's own clear field (its 98th percentile)."""
    light = cv2.GaussianBlur(srgb_decode(picture[..., channel]), (0, 0), _SMOOTHING_UM / pixel_um)
    clear = np.percentile(light, 98)
    return np.log10(clear / np.maximum(light, 1e-3)).astype(np.float32)


def count_objects(
    label: NDArray[np.floating],
    picture: NDArray[np.floating],
    objects: list[SpecimenObject],
    *,
    origin_um: tuple[float, float],
    pixel_um: float,
) -> dict[str, ObjectCount]:
    """Compare a picture with its benchtop label, object by object of the truth.

    Parameters
    ----------
    label, picture : ndarray, shape (rows, columns, 3), float 0-1, sRGB-encoded
    origin_um : tuple
        Specimen position (x, y) of the centre of pixel (0, 0).
    """
    counts: dict[str, ObjectCount] = {}
    margin = round(_TOLERANCE_UM / pixel_um)
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    for channel in (0, 1):
        kinds = [kind for kind, used in CHANNEL.items() if used == channel]
        present = [entry for entry in objects if entry.kind in kinds]
        if not present:
            continue
        threshold = _DENSITY[channel]
        label_density = optical_density(label, channel, pixel_um)
        density = optical_density(picture, channel, pixel_um)
        shown_mask, seen_mask = label_density > threshold, density > threshold
        near_seen = cv2.dilate(seen_mask.astype(np.uint8), kernel) > 0
        for entry in present:
            inside = _disc(entry, label.shape[:2], origin_um, pixel_um)
            if inside is None:
                continue
            window, disc = inside
            shown = shown_mask[window] & disc
            area_um2 = float(shown.sum()) * pixel_um**2
            if area_um2 < _LEAST_AREA_UM2[entry.kind]:
                continue
            count = counts.setdefault(entry.kind, ObjectCount())
            count.shown += 1
            strong = (density[window] > threshold) & disc
            count.lost += int(strong.sum() < _FOUND_PART * shown.sum() or not (near_seen[window] & shown).any())
        smallest = min(_LEAST_AREA_UM2[kind] for kind in {entry.kind for entry in present})
        hints = cv2.dilate((label_density > threshold / 2).astype(np.uint8), kernel) > 0
        number, labels, stats, _ = cv2.connectedComponentsWithStats(seen_mask.astype(np.uint8))
        for component in range(1, number):
            if stats[component, cv2.CC_STAT_AREA] * pixel_um**2 >= smallest and not hints[labels == component].any():
                counts.setdefault("red-absorbing" if channel == 0 else "green-absorbing", ObjectCount()).invented += 1
    return counts


def _disc(
    entry: SpecimenObject, shape: tuple[int, int], origin_um: tuple[float, float], pixel_um: float
) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """Return the window and mask of an object's disc, or None where it is not wholly inside the picture."""
    column, row = (entry.x_um - origin_um[0]) / pixel_um, (entry.y_um - origin_um[1]) / pixel_um
    radius = entry.radius_um / pixel_um
    top, bottom = int(np.floor(row - radius)), int(np.ceil(row + radius)) + 1
    left, right = int(np.floor(column - radius)), int(np.ceil(column + radius)) + 1
    if top < 0 or left < 0 or bottom > shape[0] or right > shape[1]:
        return None
    y, x = np.mgrid[top:bottom, left:right]
    return (slice(top, bottom), slice(left, right)), np.hypot(y - row, x - column) <= radius
