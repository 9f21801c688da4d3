"""Registering a phone field onto a window of the benchtop mosaic.

Features find the field, pyramid elastic correlation straightens it, and both are kept as one map, so that whatever is
drawn through it is resampled once, from its original pixels (`imaging.lattices`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mobilescope.core.errors import InputImageError, RegistrationError
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.elastic import (
    BlockGrid,
    ElasticOptions,
    Grey,
    flatten_background,
    pyramid_field,
    refined_field,
)
from mobilescope.imaging.features import FeatureMatch, match_fields
from mobilescope.imaging.quality import (
    PairQuality,
    detail_transfer,
    focus_score,
    pearson,
    residual_grid,
    residual_over_specimen,
    saturated_fraction,
    specimen_mask,
    supported_mask,
)
from mobilescope.imaging.warp import (
    MapYX,
    apply_homography,
    median_minification,
    pixel_grid,
)

FloatArray = NDArray[np.floating]

LEAST_SIDE_PX = 96
# Features of a phone image shrunk to this side place it well enough for the elastic stage, in a quarter of the time.
_FEATURE_SIDE_PX = 640
# Less specimen than this share of an image is dirt on an empty slide.
_LEAST_SPECIMEN = 0.01


@dataclass(frozen=True)
class RegistrationOptions:
    """How to register.

    Attributes
    ----------
    scale_tolerance : float
        Greatest relative departure of the measured scale from what the pixel sizes say.
    least_inliers : int
        Agreeing features below which the field counts as not found.
    phone_blur_px : float
        Gaussian sigma, in moving pixels, that makes the fixed image as soft as the moving one for comparison.
    elastic : ElasticOptions
    """

    scale_tolerance: float = 0.1
    least_inliers: int = 12
    phone_blur_px: float = 0.7
    elastic: ElasticOptions = field(default_factory=ElasticOptions)


@dataclass(frozen=True, eq=False)
class Registration:
    """Where each pixel of a moving image lies in the fixed one, and how well that is known.

    Attributes
    ----------
    map_yx : ndarray, shape (rows, columns, 2), float32
        (row, column) in the fixed image of every moving pixel, centres at integers.
    supported : ndarray, shape (rows, columns), bool
        Moving pixels where the map rests on specimen rather than on extrapolation over bare glass.
    homography : ndarray, shape (3, 3), float64
        The map's global part, moving (x, y, 1) to fixed (x, y).
    fixed_shape : tuple of int
        Rows and columns of the fixed image.
    reprojection_px : float
        Median distance of the inliers from the homography, in moving pixels.
    blocks : BlockGrid
        Residual shifts, similarity and certainty of the final map on an independent block grid.
    """

    map_yx: MapYX
    supported: NDArray[np.bool_]
    homography: FloatArray
    fixed_shape: tuple[int, int]
    inliers: int
    inlier_ratio: float
    reprojection_px: float
    inlier_spread: float
    quality: PairQuality
    blocks: BlockGrid
    seconds: float

    @property
    def moving_shape(self) -> tuple[int, int]:
        """Rows and columns of the moving image."""
        return self.map_yx.shape[0], self.map_yx.shape[1]

    @property
    def fixed_px_per_moving_px(self) -> float:
        """How many fixed pixels a moving one spans along an axis, the median over the map."""
        return median_minification(self.map_yx)


def register(
    moving: NDArray[Any], fixed: NDArray[Any], *, moving_pixel_um: float, fixed_pixel_um: float, seed: int = 0,
    options: RegistrationOptions | None = None,
) -> Registration:
    """Find the map from a phone image to a window of the benchtop mosaic.

    Parameters
    ----------
    moving : ndarray, shape (rows, columns[, 3]), uint8, uint16 or float 0-1
        The phone image, sRGB-coded.
    fixed : ndarray, shape (rows, columns[, 3]), uint8, uint16 or float 0-1
        A window of the mosaic that shows the phone's field and more.
    moving_pixel_um, fixed_pixel_um : float
        Pixel sizes at the specimen.
    seed : int
        Makes the random sampling repeatable.

    Raises
    ------
    RegistrationError
        Where the field is not found: blank, wrong, mirrored, out of focus, or of another scale.
    InputImageError
        For an image too small or of the wrong type.
    """
    # Its matrices are small: beside other programs numpy's BLAS waits longer for its threads than they work.
    with threadpool_limits(1, user_api="blas"):
        return _registered(moving, fixed, moving_pixel_um, fixed_pixel_um, seed, options or RegistrationOptions())


def _registered(
    moving: NDArray[Any], fixed: NDArray[Any], moving_pixel_um: float, fixed_pixel_um: float, seed: int,
    chosen: RegistrationOptions,
) -> Registration:
    started = time.perf_counter()
    moving_float, fixed_float = _checked(moving, "phone image"), _checked(fixed, "benchtop window")
    ratio = moving_pixel_um / fixed_pixel_um
    match = _find(moving_float, fixed_float, ratio, seed, chosen)

    moving_grey = _detail_grey(moving_float)
    drawing = _Drawing.prepare(
        _detail_grey(fixed_float), match.homography, moving_grey.shape, ratio * chosen.phone_blur_px
    )
    flat = flatten_background(moving_grey)

    def draw(displacement: NDArray[np.float32]) -> tuple[Grey, NDArray[np.bool_]]:
        drawn, valid = drawing.through(_composed(match.homography, displacement))
        return flatten_background(drawn), valid

    rough = pyramid_field(flat, draw, chosen.elastic)
    map_yx = _composed(match.homography, refined_field(flat, draw, rough, chosen.elastic).dense())
    drawn, valid = drawing.through(map_yx)
    flat_drawn = flatten_background(drawn)
    blocks = residual_grid(flat, flat_drawn, valid)
    specimen = specimen_mask(drawn) & valid
    residual = residual_over_specimen(blocks, specimen)
    quality = PairQuality(
        residual_median_px=residual.median_px, residual_p95_px=residual.p95_px,
        residual_median_um=residual.median_px * moving_pixel_um,
        residual_p95_um=residual.p95_px * moving_pixel_um,
        pearson=pearson(moving_grey, drawn, valid), pearson_low=residual.pearson_low,
        inliers=match.inliers, inlier_ratio=match.inlier_ratio, inlier_spread=match.inlier_spread,
        reprojection_px=match.reprojection_px, detail_transfer=detail_transfer(flat, flat_drawn),
        focus_moving=focus_score(moving_grey), focus_fixed=focus_score(drawn),
        saturated_fraction=saturated_fraction(moving_float), blank_fraction=1 - float(specimen.mean()),
    )
    return Registration(
        map_yx=map_yx, supported=supported_mask(specimen), homography=match.homography,
        fixed_shape=(fixed.shape[0], fixed.shape[1]),
        inliers=match.inliers, inlier_ratio=match.inlier_ratio, reprojection_px=match.reprojection_px,
        inlier_spread=match.inlier_spread, quality=quality, blocks=blocks, seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The part of the fixed image under the moving one, softened to its sharpness, ready to be drawn through maps."""

    soft: Grey
    origin_yx: tuple[int, int]
    fixed_shape: tuple[int, int]

    @classmethod
    def prepare(
        cls, fixed: Grey, homography: FloatArray, moving_shape: tuple[int, ...], sigma_px: float
    ) -> _Drawing:
        rows, columns = moving_shape[:2]
        corners = np.array([[0, 0], [0, columns - 1], [rows - 1, 0], [rows - 1, columns - 1]], dtype=np.float64)
        mapped = apply_homography(homography, corners)
        # Room for what the displacement may add and for the blur's reach.
        room = 0.05 * (mapped.max(axis=0) - mapped.min(axis=0)).max() + 4 * sigma_px + 16
        top, left = np.clip(np.floor(mapped.min(axis=0) - room), 0, np.array(fixed.shape) - 1).astype(int)
        bottom, right = np.clip(np.ceil(mapped.max(axis=0) + room), 0, np.array(fixed.shape) - 1).astype(int)
        part = fixed[top : bottom + 1, left : right + 1]
        soft = np.asarray(
            cv2.GaussianBlur(part, (0, 0), max(sigma_px, 0.3), borderType=cv2.BORDER_REFLECT_101), dtype=np.float32
        )
        return cls(soft, (int(top), int(left)), (fixed.shape[0], fixed.shape[1]))

    def through(self, map_yx: MapYX) -> tuple[Grey, NDArray[np.bool_]]:
        rows, columns = map_yx[..., 0], map_yx[..., 1]
        drawn = cv2.remap(
            self.soft, columns - np.float32(self.origin_yx[1]), rows - np.float32(self.origin_yx[0]),
            cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
        )
        valid = (rows >= 0) & (rows <= self.fixed_shape[0] - 1) & (columns >= 0) & (columns <= self.fixed_shape[1] - 1)
        return np.asarray(drawn), valid


def _composed(homography: FloatArray, displacement: NDArray[np.float32]) -> MapYX:
    grid = pixel_grid((displacement.shape[0], displacement.shape[1]))
    return apply_homography(homography, grid + displacement).astype(np.float32)


def _checked(image: NDArray[Any], name: str) -> NDArray[np.float32]:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputImageError(f"the {name} has shape {image.shape}", "give (rows, columns) or (rows, columns, 3)")
    if min(image.shape[:2]) < LEAST_SIDE_PX:
        raise InputImageError(
            f"the {name} is {image.shape[0]}x{image.shape[1]} pixels", f"give at least {LEAST_SIDE_PX} on each side"
        )
    return to_float(image)


def _detail_grey(image: NDArray[np.float32]) -> Grey:
    """Return the green channel: the sharpest of a Bayer camera, and the middle of its lateral colour error."""
    return np.ascontiguousarray(image[..., 1]) if image.ndim == 3 else image


def _find(
    moving: NDArray[np.float32], fixed: NDArray[np.float32], ratio: float, seed: int, options: RegistrationOptions
) -> FeatureMatch:
    """Match features at a common pitch, the moving one or coarser, and return the homography in original pixels."""
    coarse = max(1.0, min(moving.shape[:2]) / _FEATURE_SIDE_PX)
    moving_small, moving_enlarge = _shrunk(moving, coarse)
    fixed_small, fixed_enlarge = _shrunk(fixed, coarse * max(ratio, 1.0))
    for name, small in (("phone image", moving_small), ("benchtop window", fixed_small)):
        if specimen_mask(small).mean() < _LEAST_SPECIMEN:
            raise RegistrationError(f"the {name} is blank", "check focus and light, and choose a field with specimen")
    match = match_fields(
        moving_small, fixed_small, expected_scale=ratio * moving_enlarge[0, 0] / fixed_enlarge[0, 0],
        scale_tolerance=options.scale_tolerance, least_inliers=options.least_inliers, seed=seed,
    )
    homography = fixed_enlarge @ match.homography @ np.linalg.inv(moving_enlarge)
    return replace(
        match, homography=homography / homography[2, 2],
        reprojection_px=match.reprojection_px * float(fixed_enlarge[0, 0]) / ratio,
    )


def _shrunk(image: NDArray[np.float32], by: float) -> tuple[Grey, FloatArray]:
    """Return the image's grey, ``by`` times smaller, and the matrix from its (x, y) back to the image's."""
    grey = luminance(image) if image.ndim == 3 else image
    rows, columns = grey.shape
    size = (round(columns / by), round(rows / by))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    scale_y, scale_x = rows / small.shape[0], columns / small.shape[1]
    return small, np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1.0]])
