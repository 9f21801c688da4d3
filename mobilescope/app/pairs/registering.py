"""Two plain images brought into register: the map between them, a verdict, and what made it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.app.pairs.distortion import check_pixel_size
from mobilescope.app.pairs.field_window import window_of
from mobilescope.app.pictures.enhance_jobs import file_digest
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.app.pictures.images import Picture, open_picture
from mobilescope.core.errors import RegistrationError, UserError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.imaging.distortion import DistortionMap
from mobilescope.imaging.quality import GateThresholds, judge
from mobilescope.imaging.registration import Registration, RegistrationOptions, register

# The pixel sizes of two files are less sure than those of two calibrated instruments.
_SCALE_TOLERANCE = 0.25


@dataclass(frozen=True)
class ImageRegistration:
    """What came of it.

    Attributes
    ----------
    reason : str
        Why it was refused; empty where it was accepted.
    inliers : int
        Features that agree on where the moving image lies; 0 where it was not found.
    residual_px : float or None
        Error of the map that must be reckoned with, the median over the specimen in pixels of the moving image.
    pearson : float or None
        Correlation of the two after the map.
    quality : dict
        All figures of `PairQuality`; empty where it was not found.
    map_file : Path or None
        What was written.
    """

    accepted: bool
    reason: str
    inliers: int
    residual_px: float | None
    pearson: float | None
    seconds: float
    quality: dict[str, float]
    map_file: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values = asdict(self)
        map_file = values.pop("map_file")
        return values | {"map": None if map_file is None else str(map_file)}


def register_images(
    moving: Path,
    fixed: Path,
    *,
    moving_pixel_um: float | None = None,
    fixed_pixel_um: float | None = None,
    map_file: Path | None = None,
    distortion: DistortionMap | None = None,
    seed: int = 0,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> ImageRegistration:
    """Find where each pixel of one image lies in another, and judge how well that is known.

    Parameters
    ----------
    moving, fixed : Path
        Image files; the fixed one shows the moving one's field, and more. In one that is much larger, a whole mosaic,
        the field is searched for first; the index that is made for this is kept beside it.
    moving_pixel_um, fixed_pixel_um : float, optional
        Pixel sizes at the specimen, instead of what the files state.
    map_file : Path, optional
        Where the map goes (.npz) if it is accepted: ``map_yx``, float32 (rows, columns, 2), gives for each moving pixel
        its (row, column) in the fixed image, pixel centres at integers; ``supported``, bool, tells where it rests on
        specimen; ``homography`` (3, 3) is its global part, (x, y) to (x, y), with which `imaging.warp.invert_map` finds
        the way back; ``record`` is JSON with pixel sizes, digests and figures.
    distortion : DistortionMap, optional
        What is known of the moving image's distortion: the map starts from it.

    Raises
    ------
    UserError
        A pixel size is not known, or a file can't be read or written.
    """
    if map_file is not None:
        prepare_file(map_file, "a map", [".npz"])
    pictures = {"moving": open_picture(moving), "fixed": open_picture(fixed)}
    moving_um = _pixel_um("moving", moving, pictures["moving"], moving_pixel_um)
    fixed_um = _pixel_um("fixed", fixed, pictures["fixed"], fixed_pixel_um)
    known_yx = None
    if distortion is not None:
        check_pixel_size(distortion, pictures["moving"].source.shape, moving_um)
        known_yx = distortion.scaled(pictures["moving"].source.shape).displacement_yx
    begun_s = time.perf_counter()
    try:
        pixels = pictures["moving"].read()
        window = window_of(
            pixels, moving_um, pictures["fixed"], fixed, fixed_um, on_progress=on_progress, stop=stop
        )
        found = register(
            pixels, window.pixels, moving_pixel_um=moving_um, fixed_pixel_um=fixed_um, seed=seed,
            options=RegistrationOptions(scale_tolerance=_SCALE_TOLERANCE), distortion_yx=known_yx,
        )
    except RegistrationError as error:
        return ImageRegistration(False, str(error), 0, None, None, time.perf_counter() - begun_s, {})
    verdict = judge(found.quality, GateThresholds())
    seconds = time.perf_counter() - begun_s
    told = ImageRegistration(
        verdict.accepted, verdict.reason, found.inliers, found.quality.expected_median_px, found.quality.pearson,
        seconds, asdict(found.quality),
    )
    if map_file is None or not verdict.accepted:
        return told
    record = {
        "moving": {"file": moving.name, "sha256": file_digest(moving), "pixel_um": moving_um},
        "fixed": {"file": fixed.name, "sha256": file_digest(fixed), "pixel_um": fixed_um},
        "seed": seed, "quality": told.quality, "place": window.place,
    }
    top, left = window.first_px
    into_fixed = np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]])
    map_yx = found.map_yx + np.array(window.first_px, np.float32)
    _write_map(map_file, replace(found, map_yx=map_yx, homography=into_fixed @ found.homography), record)
    return replace(told, map_file=map_file)


def _pixel_um(name: str, path: Path, picture: Picture, given_um: float | None) -> float:
    pixel_um = given_um or picture.pixel_size_um
    if pixel_um is None:
        raise UserError(f"{path} does not say how large its pixels are", f"give --{name}-pixel-um")
    return pixel_um


def _write_map(path: Path, found: Registration, record: dict[str, Any]) -> None:
    """Write under a temporary name first: a map that was there stays until the new one is whole."""
    with replaced_when_written(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, map_yx=found.map_yx, supported=found.supported, homography=found.homography,
            record=np.array(json.dumps(record)),
        )
