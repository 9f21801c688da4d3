"""Finding a phone field in the benchtop mosaic: SIFT features and a robust homography between two grey images.

Answers either a homography with the evidence for it, or an error that says in plain words why there is none.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import MirroredError, RegistrationError

Grey = NDArray[np.float32]
FloatArray = NDArray[np.floating]

_FEATURES_PER_MEGAPIXEL = 4000
_FEATURE_LIMITS = (1500, 12000)
_RATIO = 0.85
_INLIER_PX = 2.5
_SPREAD_CELLS = 4
# An affine map that keeps this share of the inliers is taken instead of a homography.
_AFFINE_SHARE = 0.9
_GREATEST_SCALE_CHANGE = 1.2
_LEAST_INLIER_RATIO = 0.08
_LEAST_SPREAD = 3 / _SPREAD_CELLS**2


class FieldNotFoundError(RegistrationError):
    """Too few features of the two images agree."""


@dataclass(frozen=True, eq=False)
class FeatureMatch:
    """A homography between two images at about the same pitch and what it rests on.

    Attributes
    ----------
    homography : ndarray, shape (3, 3), float64
        Maps (x, y, 1) of the moving image to the fixed image, pixel centres at integers.
    matches, inliers : int
        Feature pairs that passed the ratio test, and those that agree with the homography.
    reprojection_px : float
        Median distance of the inliers from the homography, in pixels of the fixed image given.
    inlier_spread : float
        Share of a 4×4 partition of the moving image that holds an inlier, 0-1.
    """

    homography: FloatArray
    matches: int
    inliers: int
    reprojection_px: float
    inlier_spread: float

    @property
    def inlier_ratio(self) -> float:
        """Inliers over matches."""
        return self.inliers / self.matches if self.matches else 0.0


@dataclass(frozen=True, eq=False)
class _Features:
    points: FloatArray
    descriptors: NDArray[np.float32]


def equalised_bytes(grey: Grey) -> NDArray[np.uint8]:
    """Stretch a grey image to bytes and equalise its contrast locally, so that exposure and gamma do not matter.

    Parameters
    ----------
    grey : ndarray, shape (rows, columns), float
    """
    low, high = np.percentile(grey[::2, ::2], (0.5, 99.5))
    stretched = np.clip((grey - low) * (255.0 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    tiles = max(2, round(min(grey.shape) / 128))
    return np.asarray(cv2.createCLAHE(clipLimit=3.0, tileGridSize=(tiles, tiles)).apply(stretched), dtype=np.uint8)


def _detect(grey: Grey) -> _Features:
    """Return the strongest SIFT features with Hellinger-normalised (RootSIFT) descriptors."""
    megapixels = grey.size / 1e6
    count = int(np.clip(_FEATURES_PER_MEGAPIXEL * megapixels, *_FEATURE_LIMITS))
    sift = cv2.SIFT.create(nfeatures=count, contrastThreshold=0.02)
    keypoints, raw = sift.detectAndCompute(equalised_bytes(grey), None)
    if raw is None:
        return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64)
    share = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6)
    return _Features(points, np.sqrt(share).astype(np.float32))


def _straight(features: _Features, displacement_yx: NDArray[np.float32] | None) -> _Features:
    if displacement_yx is None or not len(features.points):
        return features
    last = np.array(displacement_yx.shape[:2]) - 1
    nearest = np.clip(np.round(features.points[:, ::-1]), 0, last).astype(int)
    return _Features(features.points + displacement_yx[nearest[:, 0], nearest[:, 1]][:, ::-1], features.descriptors)


def _pair_up(moving: _Features, fixed: _Features) -> tuple[FloatArray, FloatArray]:
    """Return the points, each (M, 2), of pairs whose nearest descriptor is clearly nearer than the second."""
    if len(moving.points) < 4 or len(fixed.points) < 4:
        return np.zeros((0, 2)), np.zeros((0, 2))
    likeness = moving.descriptors @ fixed.descriptors.T
    rows = np.arange(len(likeness))
    best = likeness.argmax(axis=1)
    first = likeness[rows, best]
    likeness[rows, best] = -1.0
    second = likeness.max(axis=1)
    # Unit vectors: squared distance is 2 - 2 cos.
    clear = (1.0 - first) < _RATIO**2 * (1.0 - second)
    likeness[rows, best] = first
    mutual = likeness.argmax(axis=0)[best] == rows
    keep = clear & mutual
    return moving.points[keep], fixed.points[best[keep]]


def project(homography: FloatArray, points: FloatArray) -> FloatArray:
    """Map (x, y) points, shape (..., 2), through a homography."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def _robust_homography(
    source: FloatArray, target: FloatArray, seed: int
) -> tuple[FloatArray, NDArray[np.bool_]] | None:
    """Return the homography and its inliers by MAGSAC++; the seed makes it repeatable.

    Perspective is kept only where the inliers need it: a flat slide shows next to none, and where features cover part
    of the field a fitted one runs away over the rest.
    """
    if len(source) < 8:
        return None
    parameters = cv2.UsacParams()
    parameters.randomGeneratorState = seed
    parameters.confidence = 0.9999
    parameters.maxIterations = 5000
    parameters.threshold = _INLIER_PX
    parameters.score = cv2.SCORE_METHOD_MAGSAC
    parameters.sampler = cv2.SAMPLING_UNIFORM
    parameters.loMethod = cv2.LOCAL_OPTIM_SIGMA
    parameters.loIterations = 10
    parameters.loSampleSize = 30
    matrix, _ = cv2.findHomography(source.astype(np.float32), target.astype(np.float32), parameters)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    distance = np.linalg.norm(project(np.asarray(matrix, dtype=np.float64), source) - target, axis=1)
    inside = distance < _INLIER_PX
    if inside.sum() < 8:
        return None
    affine = _affine(source[inside], target[inside])
    flat = np.linalg.norm(project(affine, source) - target, axis=1) < _INLIER_PX
    if flat.sum() >= _AFFINE_SHARE * inside.sum():
        return affine, flat
    fitted, _ = cv2.findHomography(source[inside], target[inside], 0)
    if fitted is None:
        return None
    full = np.asarray(fitted, dtype=np.float64)
    return full, np.linalg.norm(project(full, source) - target, axis=1) < _INLIER_PX


def _affine(source: FloatArray, target: FloatArray) -> FloatArray:
    """Return the least-squares affine map as a homography."""
    design = np.column_stack([source, np.ones(len(source))])
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    return np.vstack([solution.T, [0.0, 0.0, 1.0]])


def local_scale(homography: FloatArray, point: FloatArray) -> float:
    """Return the homography's scale at the point (x, y), negative for a mirror."""
    half = np.eye(2) / 2
    right, down = (project(homography, point + step) - project(homography, point - step) for step in half)
    determinant = float(right[0] * down[1] - right[1] * down[0])
    return math.copysign(math.sqrt(abs(determinant)), determinant)


def _nearly_similar(homography: FloatArray, shape: tuple[int, ...]) -> bool:
    """Tell whether the scale changes little over the field, as between two views of one flat slide."""
    centre = local_scale(homography, np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2]))
    corners = [(x, y) for x in (0, shape[1] - 1) for y in (0, shape[0] - 1)]
    ratios = [local_scale(homography, np.array(corner, dtype=np.float64)) / centre for corner in corners]
    return all(1 / _GREATEST_SCALE_CHANGE < ratio < _GREATEST_SCALE_CHANGE for ratio in ratios)


def _attempt(moving: _Features, fixed: _Features, shape: tuple[int, ...], seed: int) -> FeatureMatch | None:
    source, target = _pair_up(moving, fixed)
    found = _robust_homography(source, target, seed)
    if found is None:
        return None
    homography, inside = found
    if not _nearly_similar(homography, shape):
        return None
    distance = np.linalg.norm(project(homography, source[inside]) - target[inside], axis=1)
    cells = np.floor(source[inside] / [shape[1], shape[0]] * _SPREAD_CELLS).clip(0, _SPREAD_CELLS - 1)
    spread = len(np.unique(cells, axis=0)) / _SPREAD_CELLS**2
    return FeatureMatch(homography, len(source), int(inside.sum()), float(np.median(distance)), spread)


def _mirror_error() -> MirroredError:
    return MirroredError(
        "the phone image is a mirror image of the benchtop field",
        "switch off mirroring in the camera app, or turn the slide over",
    )


def _credible(match: FeatureMatch | None, least_inliers: int) -> TypeGuard[FeatureMatch]:
    return not _doubt(match, least_inliers)


def _doubt(match: FeatureMatch | None, least_inliers: int) -> str:
    """Say why a match may be chance: a homography's eight freedoms gather few pairs, out of many, in one corner."""
    inliers = 0 if match is None else match.inliers
    if match is None or inliers < least_inliers:
        return f"{inliers} agreeing features, {least_inliers} needed"
    ratio, spread = match.inlier_ratio, match.inlier_spread
    if ratio < _LEAST_INLIER_RATIO:
        return f"{inliers} features agree, {ratio:.0%} of all; {_LEAST_INLIER_RATIO:.0%} needed"
    if spread < _LEAST_SPREAD:
        return f"{inliers} features agree, but all in {spread:.0%} of the field; {_LEAST_SPREAD:.0%} needed"
    return ""


def match_fields(
    moving: Grey, fixed: Grey, *, expected_scale: float, scale_tolerance: float, least_inliers: int, seed: int,
    displacement_yx: NDArray[np.float32] | None = None,
) -> FeatureMatch:
    """Find where the moving image lies in the fixed one.

    Parameters
    ----------
    moving, fixed : ndarray, shape (rows, columns), float, 0-1
        Grey images at about the same pitch.
    expected_scale : float
        Fixed pixels per moving pixel that the two pixel sizes promise, near 1.
    scale_tolerance : float
        Greatest relative departure from ``expected_scale``.
    least_inliers : int
        Fewer agreeing feature pairs than this are taken for chance.
    seed : int
        Makes the random sampling repeatable.
    displacement_yx : ndarray, shape (rows, columns, 2), float32, optional
        By how much each moving pixel is known to be off its straight place, to which the homography then applies.

    Raises
    ------
    FieldNotFoundError
        For a field that is not there.
    RegistrationError
        For a mirrored image, or a scale that contradicts the pixel sizes.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        later = beside.submit(_detect, moving)
        fixed_features = _detect(fixed)
        moving_features = _straight(later.result(), displacement_yx)
    match = _attempt(moving_features, fixed_features, moving.shape, seed)
    if not _credible(match, least_inliers):
        mirrored = _attempt(_detect(np.ascontiguousarray(moving[:, ::-1])), fixed_features, moving.shape, seed)
        if _credible(mirrored, least_inliers):
            raise _mirror_error()
        raise FieldNotFoundError(
            f"the phone field was not found in the benchtop window ({_doubt(match, least_inliers)})",
            "check that both show the same field in focus, and search a larger window",
        )
    scale = local_scale(match.homography, np.array([(moving.shape[1] - 1) / 2, (moving.shape[0] - 1) / 2]))
    if scale < 0:
        raise _mirror_error()
    if abs(scale / expected_scale - 1) > scale_tolerance:
        raise RegistrationError(
            f"the phone image is {scale / expected_scale:.2f} times as large in the benchtop window"
            " as the pixel sizes say",
            "correct the pixel size of the phone or of the benchtop image",
        )
    return match
