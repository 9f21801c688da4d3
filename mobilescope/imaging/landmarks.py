"""Landmarks of a picture: SIFT features of its evened-out grey, small enough to keep for a whole mosaic.

Phone and mosaic differ in colour, light and contrast; both are brought to local mean 0 and local spread 1 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

# One landmark for so many pixels: places enough to tell a field by, and 200,000 of them in a mosaic of 25K x 25K.
_PIXELS_EACH = 50
_WINDOW_PX = 21
# Contrast below this is noise, and is not stretched.
_LEAST_SPREAD = 0.02
_DESCRIPTOR_SCALE = 512


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Places that can be recognised, in the order of finding.

    Attributes
    ----------
    xy_um : ndarray, shape (n, 2), float32
    size_um : ndarray, shape (n,), float32
        Diameter of what was looked at.
    angle_deg : ndarray, shape (n,), float32
        Its direction, x towards y.
    descriptors : ndarray, shape (n, 128), uint8
        Square roots of the SIFT descriptor's shares (RootSIFT), times 512.
    """

    xy_um: NDArray[np.float32]
    size_um: NDArray[np.float32]
    angle_deg: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xy_um)

    @classmethod
    def none(cls) -> Self:
        """Return no landmarks."""
        nothing = np.zeros(0, np.float32)
        return cls(np.zeros((0, 2), np.float32), nothing, nothing, np.zeros((0, 128), np.uint8))

    @classmethod
    def joined(cls, parts: list[Landmarks]) -> Self:
        """Return the landmarks of all parts, one after the other."""
        every: list[Landmarks] = [*parts, cls.none()]
        return cls(
            np.concatenate([part.xy_um for part in every]), np.concatenate([part.size_um for part in every]),
            np.concatenate([part.angle_deg for part in every]), np.concatenate([part.descriptors for part in every]),
        )

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Landmarks:
        """Return those chosen, by a mask or by their numbers."""
        return Landmarks(
            self.xy_um[chosen], self.size_um[chosen], self.angle_deg[chosen], self.descriptors[chosen]
        )


def evened(grey: Grey, covered: NDArray[np.bool_] | None = None) -> Grey:
    """Return a picture with local mean 0 and local spread about 1; 0 where nothing is covered.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns), float32, 0-1
    covered : ndarray, shape (rows, columns), bool, optional
        Where the picture shows anything at all.
    """
    soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.5), dtype=np.float32)
    if covered is None or covered.all():
        away = soft - _around(soft)
        return np.asarray(away / (_root(_around(away * away)) + _LEAST_SPREAD), dtype=np.float32)
    weight = covered.astype(np.float32)
    share = np.maximum(_around(weight), np.float32(1e-3))
    away = np.asarray((soft - _around(soft * weight) / share) * weight, dtype=np.float32)
    return np.asarray(away / (_root(_around(away * away) / share) + _LEAST_SPREAD), dtype=np.float32)


def _around(plane: Grey) -> Grey:
    """Return the local mean: a box filter run twice."""
    side = (_WINDOW_PX, _WINDOW_PX)
    once = cv2.blur(plane, side, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.blur(once, side, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _root(variance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the square root; running sums in single precision may end a little below 0."""
    return np.sqrt(np.maximum(variance, 0))


def landmarks_of(
    grey: Grey, pixel_um: float, *, origin_um: tuple[float, float] = (0.0, 0.0),
    covered: NDArray[np.bool_] | None = None, density: float = 1.0,
) -> Landmarks:
    """Return the strongest landmarks of a picture.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns), float32, 0-1
    origin_um : tuple of float
        (x, y) of the centre of pixel (0, 0).
    density : float
        How many, relative to what a mosaic keeps.
    """
    if min(grey.shape) < 2 * _WINDOW_PX:
        return Landmarks.none()
    shown = np.clip(128 + 40 * evened(grey, covered), 0, 255).astype(np.uint8)
    sift = cv2.SIFT.create(nfeatures=max(1, round(density * grey.size / _PIXELS_EACH)), contrastThreshold=0.02)
    keypoints, raw = sift.detectAndCompute(shown, None)
    if raw is None:
        return Landmarks.none()
    table = np.array([(*each.pt, each.size, each.angle) for each in keypoints], dtype=np.float32)
    share = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6)
    descriptors = np.minimum(np.round(np.sqrt(share) * _DESCRIPTOR_SCALE), 255).astype(np.uint8)
    found = Landmarks(
        table[:, :2] * np.float32(pixel_um) + np.array(origin_um, np.float32), table[:, 2] * np.float32(pixel_um),
        table[:, 3], descriptors,
    )
    if covered is None:
        return found
    column, row = table[:, 0].round().astype(int), table[:, 1].round().astype(int)
    return found.where(covered[row.clip(0, grey.shape[0] - 1), column.clip(0, grey.shape[1] - 1)])


def nearest(wanted: Landmarks, known: Landmarks, most: int) -> NDArray[np.intp]:
    """Return which known landmarks look most like each wanted one, shape (wanted, up to ``most``), best first.

    The known ones are gone through in 32 portions, of which each gives its best: those of one place do not push
    aside all others.
    """
    portion = max(64, -(-len(known) // 32))
    sought = wanted.descriptors.astype(np.float32)
    rows = np.arange(len(wanted))
    likeness, places = [], []
    for first in range(0, len(known), portion):
        scores = sought @ known.descriptors[first:first + portion].astype(np.float32).T
        best = scores.argmax(axis=1)
        likeness.append(scores[rows, best])
        places.append(best + first)
    if not places:
        return np.zeros((len(wanted), 0), np.intp)
    order = np.argsort(-np.stack(likeness, axis=1), axis=1)[:, :most]
    return np.take_along_axis(np.stack(places, axis=1), order, axis=1)
