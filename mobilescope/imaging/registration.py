"""Registering a phone field onto a window of the benchtop mosaic.

Features find the field, pyramid elastic correlation straightens it, and both are kept as one map, so that whatever is
drawn through it is resampled once, from its original pixels (`imaging.lattices`).
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mobilescope.core.errors import InputImageError, RegistrationError
from mobilescope.imaging.block_correlation import BlockGrid, Grey
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.elastic import ElasticOptions, Scales, pyramid_field, refined_field
from mobilescope.imaging.expected_error import expected_error, noise_overlap
from mobilescope.imaging.features import FeatureMatch, FieldNotFoundError, match_fields
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
from mobilescope.imaging.scene import Scene, shrunk, shrunk_displacement
from mobilescope.imaging.spline_field import SplineField
from mobilescope.imaging.warp import MapYX, apply_homography, median_minification, pixel_grid

FloatArray = NDArray[np.floating]

LEAST_SIDE_PX = 96
# Features of a phone image shrunk to the first side place it well enough for the elastic stage, in a sixth of the time;
# fields that show too few of them are looked at again.
_FEATURE_SIDES_PX = (400, 800)
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
    seconds, elastic_seconds : float
        What all of it took, and the displacement field alone.
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
    elastic_seconds: float

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
    options: RegistrationOptions | None = None, distortion_yx: MapYX | None = None,
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
    distortion_yx : ndarray, shape (rows, columns, 2), float32, optional
        What is known of the phone's distortion, see `imaging.distortion`. The map starts from it and departs from it
        only where the images say so: bare glass has it too.

    Raises
    ------
    RegistrationError
        Where the field is not found: blank, wrong, mirrored, out of focus, or of another scale.
    InputImageError
        For an image too small or of the wrong type.
    """
    # Its matrices are small: beside other programs numpy's BLAS waits longer for its threads than they work.
    with threadpool_limits(1, user_api="blas"):
        return _registered(
            moving, fixed, moving_pixel_um, fixed_pixel_um, seed, options or RegistrationOptions(), distortion_yx
        )


def _registered(
    moving: NDArray[Any], fixed: NDArray[Any], moving_pixel_um: float, fixed_pixel_um: float, seed: int,
    chosen: RegistrationOptions, distortion_yx: MapYX | None,
) -> Registration:
    started = time.perf_counter()
    _check(moving, "phone image")
    _check(fixed, "benchtop window")
    ratio = moving_pixel_um / fixed_pixel_um
    if distortion_yx is not None and distortion_yx.shape != (*moving.shape[:2], 2):
        raise InputImageError(f"the distortion has shape {distortion_yx.shape}, the phone image {moving.shape[:2]}")
    with ThreadPoolExecutor(max_workers=1) as beside:
        saturated = beside.submit(saturated_fraction, moving)
        match = _find(moving, fixed, ratio, seed, chosen, distortion_yx)

        moving_grey = to_float(_detail_grey(moving))
        scene = Scene.of(
            moving_grey, _detail_grey(fixed), match.homography, ratio * chosen.phone_blur_px, distortion_yx
        )
        scales = Scales(scene)
        elastic_started = time.perf_counter()
        refined = refined_field(scales, pyramid_field(scales, chosen.elastic), chosen.elastic)
        elastic_seconds = time.perf_counter() - elastic_started

        samples_px = beside.submit(refined.error_samples, seed)
        map_yx = beside.submit(_composed, match.homography, refined.field, distortion_yx)
        drawn, valid = scene.drawn(refined.field)
        flat = scales.at(1)[1]
        flat_drawn = scene.flattened(drawn)
        alike = beside.submit(pearson, moving_grey, drawn, valid)
        detail = beside.submit(detail_transfer, flat, flat_drawn)
        overlap = beside.submit(noise_overlap, flat, flat_drawn)
        focus = [beside.submit(focus_score, grey) for grey in (moving_grey, drawn)]
        blocks = residual_grid(flat, flat_drawn, valid)
        specimen = specimen_mask(drawn) & valid
        supported = supported_mask(specimen)
        residual = residual_over_specimen(blocks, specimen, valid)
        expected = expected_error(samples_px.result(), refined.centres_yx, overlap.result(), supported)
        quality = PairQuality(
            residual_median_px=residual.median_px, residual_p95_px=residual.p95_px,
            residual_median_um=residual.median_px * moving_pixel_um,
            residual_p95_um=residual.p95_px * moving_pixel_um,
            expected_median_px=float(np.hypot(expected.median_px, residual.median_px)),
            expected_p95_px=float(np.hypot(expected.p95_px, residual.p95_px)),
            pearson=alike.result(), pearson_low=residual.pearson_low,
            inliers=match.inliers, inlier_ratio=match.inlier_ratio, inlier_spread=match.inlier_spread,
            reprojection_px=match.reprojection_px, detail_transfer=detail.result(),
            focus_moving=focus[0].result(), focus_fixed=focus[1].result(),
            saturated_fraction=saturated.result(), blank_fraction=1 - float(specimen.mean()),
        )
        return Registration(
            map_yx=map_yx.result(), supported=supported, homography=match.homography,
            fixed_shape=(fixed.shape[0], fixed.shape[1]),
            inliers=match.inliers, inlier_ratio=match.inlier_ratio, reprojection_px=match.reprojection_px,
            inlier_spread=match.inlier_spread, quality=quality, blocks=blocks, seconds=time.perf_counter() - started,
            elastic_seconds=elastic_seconds,
        )


def _composed(homography: FloatArray, field: SplineField, distortion_yx: MapYX | None) -> MapYX:
    displacement = field.dense()
    if distortion_yx is not None:
        displacement += distortion_yx
    grid = pixel_grid((displacement.shape[0], displacement.shape[1]))
    return apply_homography(homography, grid + displacement).astype(np.float32)


def _check(image: NDArray[Any], name: str) -> None:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputImageError(f"the {name} has shape {image.shape}", "give (rows, columns) or (rows, columns, 3)")
    if min(image.shape[:2]) < LEAST_SIDE_PX:
        raise InputImageError(
            f"the {name} is {image.shape[0]}x{image.shape[1]} pixels", f"give at least {LEAST_SIDE_PX} on each side"
        )
    to_float(image[:1, :1])


def _detail_grey(image: NDArray[Any]) -> NDArray[Any]:
    """Return the green channel: the sharpest of a Bayer camera, and the middle of its lateral colour error."""
    return np.ascontiguousarray(image[..., 1]) if image.ndim == 3 else image


def _find(
    moving: NDArray[Any], fixed: NDArray[Any], ratio: float, seed: int, options: RegistrationOptions,
    distortion_yx: MapYX | None,
) -> FeatureMatch:
    """Match features on shrunk images, on larger ones where that fails; the homography is in original pixels."""
    shorter = min(moving.shape[:2])
    sides_px = sorted({min(side, shorter) for side in _FEATURE_SIDES_PX})
    for side_px in sides_px[:-1]:
        with contextlib.suppress(FieldNotFoundError):
            return _match_at(shorter / side_px, moving, fixed, ratio, seed, options, distortion_yx)
    return _match_at(shorter / sides_px[-1], moving, fixed, ratio, seed, options, distortion_yx)


def _match_at(
    coarse: float, moving: NDArray[Any], fixed: NDArray[Any], ratio: float, seed: int, options: RegistrationOptions,
    distortion_yx: MapYX | None,
) -> FeatureMatch:
    """Match features at a common pitch, the moving one's times ``coarse``."""
    moving_small, moving_enlarge = _small_grey(moving, coarse)
    fixed_small, fixed_enlarge = _small_grey(fixed, coarse * max(ratio, 1.0))
    for name, small in (("phone image", moving_small), ("benchtop window", fixed_small)):
        if specimen_mask(small).mean() < _LEAST_SPECIMEN:
            raise RegistrationError(f"the {name} is blank", "check focus and light, and choose a field with specimen")
    match = match_fields(
        moving_small, fixed_small, expected_scale=ratio * moving_enlarge[0, 0] / fixed_enlarge[0, 0],
        scale_tolerance=options.scale_tolerance, least_inliers=options.least_inliers, seed=seed,
        displacement_yx=None if distortion_yx is None else shrunk_displacement(distortion_yx, coarse),
    )
    homography = fixed_enlarge @ match.homography @ np.linalg.inv(moving_enlarge)
    return replace(
        match, homography=homography / homography[2, 2],
        reprojection_px=match.reprojection_px * float(fixed_enlarge[0, 0]) / ratio,
    )


def _small_grey(image: NDArray[Any], by: float) -> tuple[Grey, FloatArray]:
    """Return the image's luma 0-1, ``by`` times smaller, and the matrix from its (x, y) back to the image's."""
    small, enlarge = shrunk(image if image.dtype != np.float64 else image.astype(np.float32), by)
    values = to_float(small)
    return (luminance(values) if values.ndim == 3 else values), enlarge
