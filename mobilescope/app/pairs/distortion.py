"""The phone's distortion, measured once from a session's pairs, kept in a file, and used on what it captures later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mobilescope import __version__
from mobilescope.app.pairs.aligning import developed_pixel_um
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.app.pictures.enhance_jobs import file_digest
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.app.pictures.images import Picture
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.input_files import check_file
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import Frame, FrameSource
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.imaging.distortion import DistortionMap, grid_points, mean_distortion
from mobilescope.imaging.pixel_sources import ArraySource
from mobilescope.imaging.warp import MapYX, invert_map, sample_map

Places = tuple[NDArray[np.float64], NDArray[np.bool_]]

_FORMAT = "mobilescope-distortion"
_VERSION = 1
# Pixel sizes of one phone differ by no more than this between what files say and what was measured.
_SAME_PIXEL = 0.05


@dataclass(frozen=True)
class DistortionReport:
    """What a calibration came to; lengths in pixels of the developed phone image."""

    file: Path
    pairs: int
    shape: tuple[int, int]
    pixel_um: float
    median_px: float
    largest_px: float
    spread_px: float
    inverse_error_px: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "file": str(self.file), "shape": list(self.shape)}


def calibrate_distortion(
    session_path: Path, out: Path, *, pairs: Path | None = None, on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> DistortionReport:
    """Average the distortion over a session's accepted pairs and write it; the crops of a capture count as one pair.

    Parameters
    ----------
    pairs : Path, optional
        Another file of the session's pairs than the default one; either warp will do.

    Raises
    ------
    UserError
        The session has no pairs, too few accepted ones, or captures of several pixel sizes.
    """
    prepare_file(out, "a distortion map", [".npz"])
    stop = stop or StopToken()
    pairs = pairs or registered_pairs(session_path)
    with Session.open(session_path) as session, PairStore.open(pairs) as store:
        rows, columns = (length // 2 for length in session.header.phone_shape)
        taken = {
            (slide.name, capture.index): developed_pixel_um(capture)
            for slide in session.slides for capture in session.captures(slide.name)
        }
        strange = [record for record in store.records if (record.slide, record.capture) not in taken]
        if strange:
            raise UserError(
                f"{pairs} has a pair of capture {strange[0].capture} of slide {strange[0].slide!r}, "
                f"which {session_path} has not", "give the session that the pairs were registered from",
            )
        pitches_um = set(taken.values())
        if len(pitches_um) != 1:
            raise InputFileError(
                f"{session_path} has captures of {len(pitches_um)} pixel sizes", "calibrate a session of one phone"
            )
        chosen = [index for index, record in enumerate(store.records) if record.accepted and record.has_map]
        captures: dict[tuple[str, int], list[int]] = {}
        for index in chosen:
            captures.setdefault((store.records[index].slide, store.records[index].capture), []).append(index)
        places, counted = [], []
        for done, ((slide, _), parts) in enumerate(captures.items(), start=1):
            stop.raise_if_requested("calibration", "nothing was written")
            place, where = _joined(_places(store, index, (rows, columns)) for index in parts)
            if where.sum() >= 9:
                places.append(place)
                counted.append(where)
            on_progress(Progress("calibrate", done, len(captures), slide))
        found = mean_distortion(places, counted, (rows, columns), pitches_um.pop())
        record = {
            "format": _FORMAT, "version": _VERSION, "software_version": __version__,
            "instrument": session.header.instrument_name, "session": session_path.name,
            "session_digest": session.digest(),
            "pairs_file": pairs.name, "pairs_sha256": file_digest(pairs), "pairs": found.pairs,
            "slides": sorted({store.records[index].slide for index in chosen}), "pixel_um": found.pixel_um,
            "spread_px": float(np.median(found.spread_px)), "inverse_error_px": found.inverse_error_px,
        }
    with replaced_when_written(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, displacement_yx=found.displacement_yx, spread_px=found.spread_px, inverse_yx=found.inverse_yx,
            record=np.array(json.dumps(record)),
        )
    length = np.linalg.norm(found.displacement_yx, axis=-1)
    return DistortionReport(
        out, found.pairs, found.shape, found.pixel_um, float(np.median(length)), float(length.max()),
        float(np.median(found.spread_px)), found.inverse_error_px,
    )


def _places(store: PairStore, index: int, shape: tuple[int, int]) -> Places:
    """Return where the grid's points lie on the mosaic, (row, column), and which of them the pair shows."""
    record, kept = store.records[index], store.map(index)
    assert kept is not None
    map_yx = np.ascontiguousarray(kept[..., ::-1])
    points = grid_points(shape)
    if record.crop_px is not None:
        inside = points - np.array(record.crop_px)
        return sample_map(map_yx - map_yx[0, 0], inside) + map_yx[0, 0].astype(np.float64), _within(inside, map_yx)
    on_lattice = invert_map(map_yx, _global_part(map_yx), points)
    origin_x, origin_y = record.origin_px
    places = np.array([origin_y, origin_x]) + store.factor * on_lattice.astype(np.float64)
    return places, _within(on_lattice, map_yx)


def _joined(parts: Iterator[Places]) -> Places:
    """Return the places of a capture of which several crops were registered.

    Each crop for itself would be freed of its own position, which is a part of the distortion of the whole.
    """
    places, known = next(parts)
    for others, there in parts:
        places, known = np.where(there[..., None], others, places), known | there
    return places, known


def _within(points: NDArray[np.floating], map_yx: MapYX) -> NDArray[np.bool_]:
    last = np.array(map_yx.shape[:2]) - 1
    return np.asarray(((points >= 0) & (points <= last)).all(axis=-1))


def _global_part(map_yx: MapYX) -> NDArray[np.float64]:
    """Return the affine map, (x, y, 1) to (x, y, 1), that a map is nearest to."""
    step = max(1, min(map_yx.shape[:2]) // 32)
    rows, columns = np.mgrid[0 : map_yx.shape[0] : step, 0 : map_yx.shape[1] : step]
    design = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3).astype(np.float64)
    target = map_yx[::step, ::step, ::-1].reshape(-1, 2).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    return np.vstack([solution.T, [0.0, 0.0, 1.0]])


def load_distortion(path: Path) -> DistortionMap:
    """Read a distortion map.

    Raises
    ------
    InputFileError
        Missing, damaged, or another kind of file.
    """
    remedy = "make one with 'mobilescope calibrate phone'"
    if not path.exists():
        raise InputFileError(f"there is no distortion map {path}", remedy)
    check_file(path, "distortion map")
    try:
        with np.load(path, allow_pickle=False) as stored:
            record = json.loads(str(stored["record"]))
            displacement, spread = stored["displacement_yx"], stored["spread_px"]
        if record.get("format") != _FORMAT or record["version"] > _VERSION:
            raise ValueError(f"it says {record.get('format')!r}, version {record.get('version')}")
        if (
            displacement.dtype != np.float32 or displacement.ndim != 3 or displacement.shape[2] != 2
            or spread.shape != displacement.shape[:2] or min(spread.shape) < 2 or not np.isfinite(displacement).all()
        ):
            raise ValueError("its arrays are not those of a map")
        return DistortionMap(displacement, spread.astype(np.float32), float(record["pixel_um"]), int(record["pairs"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, EOFError) as error:
        # What is no archive of arrays numpy takes for pickled objects, and says how to load them unsafely.
        reason = "it is no .npz file" if "pickle" in str(error) else error
        raise InputFileError(f"{path} is no distortion map: {reason}", remedy) from error


def check_pixel_size(distortion: DistortionMap, shape: tuple[int, int], pixel_um: float | None) -> None:
    """Refuse a picture whose pixel size says that it is of another instrument; InputImageError."""
    expected_um = distortion.pitch_um(shape)
    if pixel_um is not None and abs(pixel_um / expected_um - 1) > _SAME_PIXEL:
        raise InputImageError(
            f"the picture's pixels are {pixel_um:.4g} µm, the distortion map was made for {expected_um:.4g} µm",
            "use the map of this phone scope",
        )


def straightened(picture: Picture, distortion: DistortionMap) -> Picture:
    """Return a picture without the distortion; InputImageError where it is no whole picture of that phone."""
    check_pixel_size(distortion, picture.source.shape, picture.pixel_size_um)
    return Picture(ArraySource(distortion.straighten(picture.read())), picture.pixel_size_um)


class StraightenedFrames:
    """A live stream whose frames are straightened on the way; fills `FrameSource`."""

    def __init__(self, source: FrameSource, distortion: DistortionMap) -> None:
        self._source, self._distortion = source, distortion

    @property
    def name(self) -> str:
        """What the pictures come from."""
        return f"{self._source.name}, straightened"

    @property
    def on_demand(self) -> bool:
        """Whether frames are made when asked for."""
        return self._source.on_demand

    def read(self) -> Frame | None:
        """Return the newest frame, straight."""
        frame = self._source.read()
        if frame is None:
            return None
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        check_pixel_size(self._distortion, shape, frame.pixel_size_um)
        return Frame(self._distortion.straighten(frame.pixels), frame.index, frame.captured_s, frame.pixel_size_um)

    def close(self) -> None:
        """End the stream."""
        self._source.close()
