"""One phone capture brought into register with its slide's mosaic, with a verdict: the work on a single pair."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pairs.placing import Placement, Search, has_position, nominal_placement, searched_placement
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.development import development_of
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputImageError, RegistrationError
from mobilescope.core.geometry import Affine, RegionUm
from mobilescope.core.protocols import PositionUm
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pair_record import Window
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.data.variants import PairVariant
from mobilescope.imaging.crops import Crop, central_crops
from mobilescope.imaging.jpeg import compress_to_ratio, decompress
from mobilescope.imaging.lattices import (
    corner_map,
    label_map,
    largest_valid_crop,
    largest_valid_window,
    largest_window,
    lattice_map,
)
from mobilescope.imaging.quality import GateThresholds, Verdict, judge
from mobilescope.imaging.registration import Registration, register
from mobilescope.imaging.retrieval import shows_specimen
from mobilescope.imaging.warp import MapYX, lattice_points, resample

_SMALLEST_WINDOW_PX = 64
_NOTHING: Window = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """One capture and its label on lattices that meet, or the reason why not.

    ``origin_px``, ``window`` and ``crop_px`` are those of `PairRecord`, ``map_xy`` is that of `PairStore.map`. Of a
    part of a capture, ``capture`` has that part's place on the slide and in the grid of all parts.
    A capture that could not be registered keeps its pixels beside the mosaic's at the nominal place, as evidence; it is
    ``lost`` where it shows specimen and a search of the whole mosaic may find it.
    """

    capture: CaptureRecord
    accepted: bool
    reason: str
    input: NDArray[np.uint16]
    label: NDArray[np.uint8]
    origin_px: tuple[float, float]
    quality: dict[str, float]
    window: Window = _NOTHING
    map_xy: NDArray[np.float32] | None = None
    crop_px: tuple[int, int] | None = None
    lost: bool = False


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A registered pair on its lattices; names as in `AlignedPair`."""

    input: NDArray[np.uint16]
    label: NDArray[np.uint8]
    origin_px: tuple[float, float]
    window: Window
    map_xy: NDArray[np.float32]
    crop_px: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """The part of a mosaic around a capture, (row, column) of its first pixel in it, and the cell to be evaluated."""

    mosaic: Mosaic
    first_px: tuple[int, int]
    pixels: NDArray[np.uint8]
    cell: RegionUm | None


def align_capture(
    session_path: Path, capture: CaptureRecord, cell: RegionUm | None, variant: PairVariant,
    thresholds: GateThresholds, search: Search | None = None, distortion_yx: MapYX | None = None,
    turn_deg: float = 0.0,
) -> AlignedPair:
    """Register one capture, or one of its crops, with its slide's mosaic and resample, once, what the variant says.

    Parameters
    ----------
    search : Search, optional
        Look for the capture in the whole mosaic, instead of around its position alone.
    distortion_yx : ndarray, shape (rows, columns, 2), float32, optional
        What is known of the phone's distortion, see `register`.
    turn_deg : float
        By how much the capture lies turned on the stage, x towards y, as far as that is known.
    """
    with Session.open(session_path) as session, Mosaic.open(session_path, capture.slide) as mosaic:
        development = variant.development or development_of(session)
        whole, figures = _seen(session, capture, variant, development)
        crop = central_crops((whole.shape[0], whole.shape[1]), development.crops)[capture.part]
        seen = whole[crop.part]
        capture = _part_of(capture, crop, (whole.shape[0], whole.shape[1]), turn_deg)
        pitch_um = developed_pixel_um(capture)
        try:
            placement = (
                nominal_placement(capture, cell, crop.shape, pitch_um, turn_deg) if search is None
                else searched_placement(capture, seen, pitch_um, search)
            )
            figures |= placement.figures
            around = _surroundings(mosaic, placement)
            registration = register(
                seen, around.pixels, moving_pixel_um=pitch_um, fixed_pixel_um=mosaic.pixel_size_um,
                distortion_yx=None if distortion_yx is None else np.ascontiguousarray(distortion_yx[crop.part]),
            )
            verdict = judge(registration.quality, thresholds)
            draw = _phone_onto_benchtop if variant.warp == "phone" else _benchtop_onto_phone
            drawn = _in_the_capture(draw(registration, seen, around, variant), crop, variant)
        except (RegistrationError, InputImageError) as error:
            lost = search is None and isinstance(error, RegistrationError) and shows_specimen(seen)
            return replace(_refused(capture, str(error), seen, crop, mosaic, variant, figures), lost=lost)
        rows, columns = drawn.input.shape[:2]
        if verdict.accepted and min(rows, columns) < _SMALLEST_WINDOW_PX:
            verdict = Verdict(
                False, f"the specimen bears the map over {rows}x{columns} px only "
                f"(at least {_SMALLEST_WINDOW_PX} on each side)"
            )
        return AlignedPair(
            capture, verdict.accepted, verdict.reason, drawn.input, drawn.label, drawn.origin_px,
            asdict(registration.quality) | figures, drawn.window, drawn.map_xy, drawn.crop_px,
        )


def developed_pixel_um(capture: CaptureRecord) -> float:
    """Return the pixel size of a developed capture: each 2×2 Bayer cell becomes one pixel."""
    return 2 * capture.pixel_size_um


def _part_of(capture: CaptureRecord, crop: Crop, shape: tuple[int, int], turn_deg: float) -> CaptureRecord:
    """Return the capture with the places of its crop on the slide and in the grid of crops.

    Crops have no pixel in common, so that the capture's cell is also that of each.
    """
    if crop.shape == shape:
        return capture
    offset_um = crop.offset_um(shape, developed_pixel_um(capture))
    x_um, y_um = (float(value) for value in Affine.similarity(1.0, turn_deg).apply(offset_um))
    at = capture.position
    row, column = divmod(capture.part, 2)
    return replace(
        capture, position=PositionUm(at.x_um + x_um, at.y_um + y_um, at.z_um), row=2 * capture.row + row,
        column=2 * capture.column + column,
    )


def _in_the_capture(drawn: _Drawn, crop: Crop, variant: PairVariant) -> _Drawn:
    """Return what was drawn of a crop, with its places in the capture counted from the capture's own first pixel."""
    top, left = crop.origin_px
    if not top and not left:
        return drawn
    if variant.warp == "phone":
        return replace(drawn, map_xy=drawn.map_xy + np.array([left, top], dtype=np.float32))
    row, column = drawn.crop_px or (0, 0)
    return replace(drawn, crop_px=(top + row, left + column))


def _seen(
    session: Session, capture: CaptureRecord, variant: PairVariant, development: DevelopmentConfig
) -> tuple[NDArray[np.uint16], dict[str, float]]:
    """Return the capture as the network is to see it, and what its JPEG came to where it went through one."""
    developed = develop_capture(session, capture, development)
    if variant.jpeg_ratio is None:
        return developed, {}
    jpeg = compress_to_ratio(((developed.astype(np.uint32) + 128) // 257).astype(np.uint8), variant.jpeg_ratio)
    figures = {"jpeg_bytes": len(jpeg.data), "jpeg_quality": jpeg.quality, "jpeg_ratio": jpeg.ratio}
    return decompress(jpeg.data).astype(np.uint16) * np.uint16(257), figures


def _phone_onto_benchtop(
    registration: Registration, seen: NDArray[np.uint16], around: _Surroundings, variant: PairVariant
) -> _Drawn:
    """Resample the capture onto a lattice of ``factor`` mosaic pixels; the label is the mosaic's own pixels."""
    factor = variant.factor
    lattice = largest_valid_window(registration, factor)
    (top, left), (rows, columns) = lattice.fixed_origin_px, lattice.fixed_shape
    source_yx = lattice_map(registration, (top, left), lattice.shape, factor)
    aligned, _ = resample(seen, source_yx)
    placed = (around.first_px[0] + top, around.first_px[1] + left)
    shift = (factor - 1) / 2
    return _Drawn(
        np.asarray(aligned, dtype=np.uint16), around.pixels[top : top + rows, left : left + columns],
        (placed[1] + shift, placed[0] + shift), _lattice_window(around, placed, lattice.shape, variant),
        np.ascontiguousarray(source_yx[..., ::-1]),
    )


def _benchtop_onto_phone(
    registration: Registration, seen: NDArray[np.uint16], around: _Surroundings, variant: PairVariant
) -> _Drawn:
    """Resample the mosaic to the phone's pitch / ``factor`` in its geometry; the input is the capture's own pixels."""
    crop = largest_valid_crop(registration, variant.factor)
    label, _ = resample(around.pixels, label_map(registration, variant.factor, crop=crop))
    first = np.array(around.first_px, dtype=np.float64)
    lies_yx = registration.map_yx[crop.part] + first
    return _Drawn(
        np.ascontiguousarray(seen[crop.part]), np.asarray(label, dtype=np.uint8),
        (float(lies_yx[0, 0, 1]), float(lies_yx[0, 0, 0])), _crop_window(registration, around, crop, variant),
        np.ascontiguousarray(lies_yx[..., ::-1], dtype=np.float32), crop.origin_px,
    )


def _lattice_window(
    around: _Surroundings, placed_px: tuple[int, int], shape: tuple[int, int], variant: PairVariant
) -> Window:
    """Return the part of a lattice over the mosaic that is evaluated; empty where too little is left."""
    mosaic, cell = around.mosaic, around.cell
    if cell is None:
        return _NOTHING
    pitch, step = mosaic.pixel_size_um * variant.factor, variant.grid.even_step_px
    edges = []
    for axis, (low_um, high_um) in enumerate(((cell.y_um, cell.bottom_um), (cell.x_um, cell.right_um))):
        origin_um = mosaic.origin_um[1 - axis] + (placed_px[axis] - 0.5) * mosaic.pixel_size_um
        low = max(0, int(np.ceil((low_um - origin_um) / pitch)))
        high = min(shape[axis], int(np.floor((high_um - origin_um) / pitch)))
        low += -low % step
        edges.append((low, max(low, high - (high - low) % step)))
    (top, bottom), (left, right) = edges
    return large_enough((top, bottom, left, right))


def _crop_window(
    registration: Registration, around: _Surroundings, crop: Crop, variant: PairVariant
) -> Window:
    """Return the largest part of an untouched crop whose pixels lie wholly in the cell; empty where too little is left.

    The phone lies askew on the stage, so each pixel's four corners are looked up.
    """
    mosaic, cell = around.mosaic, around.cell
    if cell is None:
        return _NOTHING
    corners_px = corner_map(registration, crop) + np.array(around.first_px, dtype=np.float64)
    stands_um = np.array(mosaic.origin_um[::-1]) + corners_px * mosaic.pixel_size_um
    within = (
        (stands_um[..., 0] >= cell.y_um) & (stands_um[..., 0] <= cell.bottom_um)
        & (stands_um[..., 1] >= cell.x_um) & (stands_um[..., 1] <= cell.right_um)
    )
    whole = within[:-1, :-1] & within[1:, :-1] & within[:-1, 1:] & within[1:, 1:]
    return large_enough(largest_window(whole, variant.grid.even_step_px))


def large_enough(window: Window) -> Window:
    """Return a window, or an empty one where it is too small to be evaluated."""
    top, bottom, left, right = window
    return window if min(bottom - top, right - left) >= _SMALLEST_WINDOW_PX else _NOTHING


def _refused(
    capture: CaptureRecord, reason: str, seen: NDArray[np.uint16], crop: Crop, mosaic: Mosaic, variant: PairVariant,
    figures: dict[str, float],
) -> AlignedPair:
    """Return a capture that could not be registered, beside the mosaic at its nominal place if it has one."""
    step = variant.grid.even_step_px
    rows, columns = (side // step * step for side in seen.shape[:2])
    ratio = developed_pixel_um(capture) / mosaic.pixel_size_um
    shape = variant.grid.fine_px(rows), variant.grid.fine_px(columns)
    if not has_position(capture):
        return AlignedPair(
            capture, False, reason, seen[:rows, :columns], np.zeros((*shape, 3), np.uint8), (np.nan, np.nan), figures,
            crop_px=crop.origin_px,
        )
    centre = (np.array([capture.position.y_um, capture.position.x_um]) - mosaic.origin_um[::-1]) / mosaic.pixel_size_um
    middle = (np.array([rows, columns]) - 1) / 2
    lies_yx = centre + (lattice_points(shape, 1 / variant.factor) - middle) * ratio
    # The nominal place is not known to half a pixel, and whole pixels stay as they are.
    to_whole = np.round(lies_yx[0, 0]) - lies_yx[0, 0]
    lies_yx += to_whole
    first = np.floor(lies_yx[0, 0]).astype(int) - 1
    size = np.ceil(lies_yx[-1, -1]).astype(int) + 2 - first
    pixels = mosaic.read(int(first[0]), int(first[1]), int(size[0]), int(size[1]))
    label, _ = resample(pixels, (lies_yx - first).astype(np.float32), interpolation="linear")
    origin_y, origin_x = centre + to_whole - middle * ratio
    return AlignedPair(
        capture, False, reason, seen[:rows, :columns], np.asarray(label, dtype=np.uint8),
        (float(origin_x), float(origin_y)), figures, crop_px=crop.origin_px,
    )


def _surroundings(mosaic: Mosaic, placement: Placement) -> _Surroundings:
    """Read the mosaic where a capture may lie; RegistrationError where that is outside."""
    region = placement.region
    origin_x, origin_y = mosaic.origin_um
    pixel = mosaic.pixel_size_um
    top = max(0, round((region.y_um - origin_y) / pixel))
    left = max(0, round((region.x_um - origin_x) / pixel))
    bottom = min(mosaic.shape[0], round((region.bottom_um - origin_y) / pixel))
    right = min(mosaic.shape[1], round((region.right_um - origin_x) / pixel))
    if bottom - top < 1 or right - left < 1:
        raise RegistrationError("the capture lies outside the mosaic", "scan the place where it was taken")
    return _Surroundings(mosaic, (top, left), mosaic.read(top, left, bottom - top, right - left), placement.cell)
