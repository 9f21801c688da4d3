"""Pyramid elastic registration: block-wise cross-correlation, coarse to fine, into one smooth displacement field.

The moving image is compared with the fixed one as drawn through the present map, which is moved by what the blocks say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mobilescope.imaging.block_correlation import BlockGrid, FloatArray, Grey, correlate_blocks, correlate_windows
from mobilescope.imaging.scene import Scene
from mobilescope.imaging.spline_field import FieldFitter, SplineField

_LEVEL_FITS = 2
# Images are shrunk for large blocks as long as they, and the blocks, keep so many pixels along a side.
_LEAST_SIDE_PX = 256
_LEAST_CELLS_PX = 25
_ERROR_SAMPLES = 16
_STIFFNESS_STEPS = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class ElasticOptions:
    """How the elastic stage works; lengths in moving pixels.

    Attributes
    ----------
    first_blocks : int
        Blocks along the shorter side at the first level; two more at each further level.
    least_block_px : int
        The last level's blocks are at least this long.
    search_px : tuple of int
        Greatest shift looked for at the first level and at the others.
    fine_pitch_px, fine_window_px : float
        Distance and Gaussian sigma of the overlapping windows of the final iterations.
    knot_px : float
        Distance of the displacement field's control points.
    stiffness : tuple of float
        Prices of curvature to choose from, by what the measured shifts make probable; the first levels use the middle.
    fine_iterations : int
        At most this many; they end when hardly a place (the 95th percentile) moves by more than ``settled_px``.
    least_similarity : float
        Blocks that correlate less have no say.
    """

    first_blocks: int = 5
    least_block_px: int = 50
    search_px: tuple[int, int] = (12, 4)
    fine_pitch_px: float = 16.0
    fine_window_px: float = 12.0
    knot_px: float = 32.0
    stiffness: tuple[float, ...] = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7)
    fine_iterations: int = 8
    settled_px: float = 0.01
    least_similarity: float = 0.3


class Scales:
    """A scene at the scales that were asked for, each made once."""

    def __init__(self, scene: Scene) -> None:
        self._scenes = {1: scene}
        self._flats: dict[int, Grey] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the full image."""
        rows, columns = self._scenes[1].moving.shape
        return rows, columns

    def at(self, by: int) -> tuple[Scene, Grey]:
        """Return the scene ``by`` times smaller, and its moving image without background."""
        if by not in self._scenes:
            self._scenes[by] = self._scenes[1].shrunk(by)
        if by not in self._flats:
            self._flats[by] = self._scenes[by].flat()
        return self._scenes[by], self._flats[by]


def pyramid_field(scales: Scales, options: ElasticOptions) -> SplineField:
    """Find the displacement d that makes ``fixed(H(x + d(x)))`` match the moving image, in ever smaller blocks.

    Large blocks are compared on smaller images: their shifts are needed to a pixel only.
    """
    shorter = min(scales.shape)
    stiffness = options.stiffness[len(options.stiffness) // 2]
    blocks, search_px = options.first_blocks, options.search_px[0]
    by = _shrinking(shorter, shorter / blocks, options)
    field = SplineField.zero(_shape(scales, by), options.knot_px)
    while blocks == options.first_blocks or shorter / blocks >= options.least_block_px:
        block_px = shorter / blocks
        before, by = by, _shrinking(shorter, block_px, options)
        scene, flat = scales.at(by)
        field = field.enlarged(_shape(scales, by), before / by)
        drawn, valid = scene.drawn(field)
        grid = correlate_blocks(flat, scene.flattened(drawn), valid, blocks, -(-search_px // by))
        knot_px = max(options.knot_px, block_px) / by
        fitter = _fitter(field.shape, grid, knot_px)
        target, certainty = _evidence(field, grid, options)
        trust = np.ones_like(grid.similarity)
        for _ in range(_LEVEL_FITS):
            fit = fitter.fit(target, certainty, trust, stiffness=(stiffness,))
            trust = fit.trust
        field = fit.field
        blocks, search_px = blocks + 2, options.search_px[1]
    return field.enlarged(scales.shape, by)


def _shrinking(shorter_px: int, block_px: float, options: ElasticOptions) -> int:
    return next(
        by for by in (4, 2, 1) if by == 1 or (shorter_px / by >= _LEAST_SIDE_PX and block_px / by >= _LEAST_CELLS_PX)
    )


def _shape(scales: Scales, by: int) -> tuple[int, int]:
    rows, columns = scales.at(by)[0].moving.shape
    return rows, columns


@dataclass(frozen=True, eq=False)
class RefinedField:
    """A displacement field, and what it was fitted to.

    Attributes
    ----------
    centres_yx : ndarray, shape (rows, columns, 2), float64
        Where shifts were measured.
    """

    field: SplineField
    stiffness: float
    fitter: FieldFitter
    centres_yx: FloatArray
    certainty: FloatArray
    trust: FloatArray

    def error_samples(self, seed: int) -> FloatArray:
        """Draw errors (px) that the field may have at the centres, each sample as probable as the others.

        Returns
        -------
        ndarray, shape (samples, rows, columns, 2), float64
        """
        return self.fitter.error_samples(
            self.certainty, self.trust, stiffness=self.stiffness, count=_ERROR_SAMPLES, seed=seed
        )


def refined_field(scales: Scales, field: SplineField, options: ElasticOptions) -> RefinedField:
    """Take a displacement that is right to about a pixel to its end with overlapping windows, measured again and again.

    Half-size images bring it most of the way where they are large enough.
    """
    choices: dict[int, Sequence[float]] = {0: options.stiffness, 2: ()}
    if min(scales.shape) >= 2 * _LEAST_SIDE_PX:
        coarse = _refined(scales, 2, field.enlarged(_shape(scales, 2), 0.5), options, {0: options.stiffness})
        field = coarse.field.enlarged(scales.shape, 2)
        choices = {0: tuple(coarse.stiffness * step for step in _STIFFNESS_STEPS)}
    return _refined(scales, 1, field, options, choices)


def _refined(
    scales: Scales, by: int, field: SplineField, options: ElasticOptions, choices: Mapping[int, Sequence[float]]
) -> RefinedField:
    """Refine at one scale.

    ``choices`` names the iterations that choose the stiffness, and among which; nothing for some near the last one.
    """
    scene, flat = scales.at(by)
    state: RefinedField | None = None
    for iteration in range(options.fine_iterations):
        drawn, valid = scene.drawn(field)
        grid = correlate_windows(
            flat, scene.flattened(drawn), valid, pitch_px=options.fine_pitch_px / by,
            sigma_px=options.fine_window_px / by,
        )
        target, certainty = _evidence(field, grid, options)
        if state is None:
            fitter = _fitter(field.shape, grid, options.knot_px / by)
            trust, stiffness = np.ones_like(grid.similarity), 1.0
        else:
            fitter, trust, stiffness = state.fitter, state.trust, state.stiffness
        candidates: Sequence[float] = (stiffness,)
        if iteration in choices:
            candidates = choices[iteration] or [stiffness * step for step in _STIFFNESS_STEPS]
        fit = fitter.fit(target, certainty, trust, stiffness=candidates)
        moved_px = np.abs(fitter.on_grid(fit.field) - fitter.on_grid(field)).max(axis=-1) * by
        field = fit.field
        state = RefinedField(field, fit.stiffness, fitter, grid.centres_yx, certainty, fit.trust)
        if np.percentile(moved_px, 95) < options.settled_px and iteration >= max(1, *choices):
            break
    assert state is not None
    return state


def _fitter(shape: tuple[int, int], grid: BlockGrid, knot_px: float) -> FieldFitter:
    return FieldFitter(shape, knot_px, grid.centres_yx[:, 0, 0], grid.centres_yx[0, :, 1])


def _evidence(field: SplineField, grid: BlockGrid, options: ElasticOptions) -> tuple[FloatArray, FloatArray]:
    """Return what a grid's shifts say the displacement itself should be, and how surely."""
    certainty = grid.certainty * (grid.similarity > options.least_similarity)[..., None, None]
    # moving(p) looks like drawn(p + s), and drawn(q) = fixed(H(q + d(q))): the new d at p is s + d(p + s).
    return grid.shift_px + field.at(grid.centres_yx + grid.shift_px), certainty
