"""From a session's captures and mosaics to registered pairs, each with its quality and a verdict."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mobilescope.app.acquiring import evaluation_cell, instrument_name, plan_of
from mobilescope.app.developing import develop_capture
from mobilescope.core.errors import InputFileError, InputImageError, RegistrationError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.layout import pairs_path
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairWriter
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.quality import GateThresholds, Verdict, judge
from mobilescope.imaging.registration import largest_valid_window, lattice_map, register
from mobilescope.imaging.warp import resample

FACTOR = 2.5
_SEARCH_MARGIN_UM = 45.0
_SMALLEST_WINDOW_PX = 64


@dataclass(frozen=True)
class PairingResult:
    """How the pairs of a session came out."""

    pairs: Path
    accepted: int
    refused: int


@dataclass(frozen=True, eq=False)
class _AlignedPair:
    """One capture brought onto the benchtop lattice, or the reason why not.

    ``origin_px`` is the (x, y) of the input's first pixel in the mosaic, ``window`` as in `PairRecord`.
    ``source_xy`` tells where in the developed capture each input pixel came from, (rows, columns, 2) as (x, y).
    A capture that could not be registered keeps its pixels beside the mosaic's at the nominal place, as evidence.
    """

    capture: CaptureRecord
    accepted: bool
    reason: str
    input: NDArray[np.uint16]
    label: NDArray[np.uint8]
    origin_px: tuple[float, float]
    quality: dict[str, float]
    window: tuple[int, int, int, int]
    source_xy: NDArray[np.float32] | None = None


def registered_pairs(session_path: Path) -> Path:
    """Return the pair file of a session; InputFileError where the session can't be read or was not registered."""
    with Session.open(session_path):
        pairs = pairs_path(session_path)
    if not pairs.exists():
        raise InputFileError(f"{session_path} has no registered pairs ({pairs})", "register the session first")
    return pairs


def register_session(
    session_path: Path,
    *,
    thresholds: GateThresholds | None = None,
    workers: int = 2,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> PairingResult:
    """Register every capture of a session with its slide's mosaic and write the pair file.

    Refused pairs are kept in the file with their reason.
    """
    stop = stop or StopToken()
    thresholds = thresholds or GateThresholds()
    with Session.open(session_path) as session:
        jobs = [(slide.name, capture) for slide in session.slides for capture in session.captures(slide.name)]
        roles = {slide.name: slide.role for slide in session.slides}
        cells = _cells(session)
        name = instrument_name(session)
    first_slide = jobs[0][0] if jobs else ""
    with Mosaic.open(session_path, first_slide) as mosaic:
        label_pixel_um = mosaic.pixel_size_um
    provenance = {
        "label_pixel_um": label_pixel_um,
        "input_pixel_um": label_pixel_um * FACTOR,
        "warp": "phone",
        "instrument": name,
        "session": session_path.name,
        "thresholds": thresholds.model_dump(),
    }
    accepted = refused = 0
    target = pairs_path(session_path)
    with PairWriter(target, provenance) as writer:
        for done, pair in enumerate(_aligned(session_path, jobs, cells, thresholds, workers, stop), start=1):
            slide = pair.capture.slide
            writer.add(
                pair.input,
                pair.label,
                slide=slide,
                role=roles[slide],
                capture=pair.capture.index,
                row=pair.capture.row,
                column=pair.capture.column,
                accepted=pair.accepted,
                reason=pair.reason,
                quality=pair.quality,
                origin_px=pair.origin_px,
                window=pair.window,
                displacement_map=pair.source_xy,
                warp="phone",
            )
            accepted, refused = accepted + pair.accepted, refused + (not pair.accepted)
            on_progress(Progress("register", done, len(jobs), f"{accepted} accepted, {refused} refused"))
    return PairingResult(target, accepted, refused)


def _cells(session: Session) -> dict[tuple[str, int], RegionUm | None]:
    """Return what may be evaluated of each capture, by slide and index."""
    plan = plan_of(session)
    rows, columns = session.header.phone_shape
    cells = {}
    for slide in plan.slides:
        captures = session.captures(slide.name)
        if not captures:
            continue
        pitch = captures[0].pixel_size_um
        grid = slide.capture.grid(columns * pitch, rows * pitch, slide.centre_um)
        for capture in captures:
            cells[slide.name, capture.index] = evaluation_cell(
                slide, grid, capture.position.x_um, capture.position.y_um
            )
    return cells


def _aligned(
    session_path: Path,
    jobs: list[tuple[str, CaptureRecord]],
    cells: dict[tuple[str, int], RegionUm | None],
    thresholds: GateThresholds,
    workers: int,
    stop: StopToken,
) -> Iterator[_AlignedPair]:
    """Yield the aligned pairs in the order of the captures, computed in worker processes."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        futures = [
            pool.submit(align_capture, session_path, capture, cells.get((slide, capture.index)), thresholds)
            for slide, capture in jobs
        ]
        try:
            for future in futures:
                stop.raise_if_requested("registration")
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Keep each worker to one core, since the processes share the machine, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threadpool_limits(1)


def align_capture(
    session_path: Path, capture: CaptureRecord, cell: RegionUm | None, thresholds: GateThresholds
) -> _AlignedPair:
    """Register one capture with its slide's mosaic and resample it once onto the benchtop lattice."""
    with Session.open(session_path) as session, Mosaic.open(session_path, capture.slide) as mosaic:
        developed = develop_capture(session, capture)
        moving_pixel_um = 2 * capture.pixel_size_um
        rows, columns = developed.shape[:2]
        reach = RegionUm.centred(
            capture.position.x_um, capture.position.y_um, columns * moving_pixel_um, rows * moving_pixel_um
        ).grown(_SEARCH_MARGIN_UM)
        try:
            top, left, height, width = _clipped(mosaic, reach)
            fixed = mosaic.read(top, left, height, width)
            registration = register(
                developed, fixed, moving_pixel_um=moving_pixel_um, fixed_pixel_um=mosaic.pixel_size_um
            )
            verdict = judge(registration.quality, thresholds)
            lattice = largest_valid_window(registration, factor=FACTOR)
            if verdict.accepted and min(lattice.shape) < _SMALLEST_WINDOW_PX:
                verdict = Verdict(False, _too_little(lattice.shape))
        except (RegistrationError, InputImageError) as error:
            return _refused(capture, str(error), developed, mosaic)
        origin, shape = lattice.fixed_origin_px, lattice.shape
        source_yx = lattice_map(registration, origin, shape, FACTOR)
        aligned, _ = resample(developed, source_yx)
        label_rows, label_columns = lattice.fixed_shape
        label = fixed[origin[0] : origin[0] + label_rows, origin[1] : origin[1] + label_columns]
        placed = (top + origin[0], left + origin[1])
        return _AlignedPair(
            capture, verdict.accepted, verdict.reason, np.asarray(aligned, dtype=np.uint16), label,
            _input_origin_px(placed), asdict(registration.quality), _window(mosaic, placed, shape, cell),
            np.ascontiguousarray(source_yx[..., ::-1]),
        )


def _too_little(shape: tuple[int, int]) -> str:
    return (
        f"the specimen bears the map over {shape[0]}x{shape[1]} px only (at least {_SMALLEST_WINDOW_PX} on each side)"
    )


def _input_origin_px(label_origin_px: tuple[int, int]) -> tuple[float, float]:
    """Return the (x, y) in the mosaic of the first input pixel's centre, from the label's first (row, column)."""
    shift = (FACTOR - 1) / 2
    return label_origin_px[1] + shift, label_origin_px[0] + shift


def _refused(
    capture: CaptureRecord, reason: str, developed: NDArray[np.uint16], mosaic: Mosaic
) -> _AlignedPair:
    """Return a capture that could not be registered, beside the mosaic at its nominal place."""
    rows, columns = (size // 2 * 2 for size in developed.shape[:2])
    height, width = rows * 5 // 2, columns * 5 // 2
    top = round((capture.position.y_um - mosaic.origin_um[1]) / mosaic.pixel_size_um - (height - 1) / 2)
    left = round((capture.position.x_um - mosaic.origin_um[0]) / mosaic.pixel_size_um - (width - 1) / 2)
    return _AlignedPair(
        capture, False, reason, developed[:rows, :columns], mosaic.read(top, left, height, width),
        _input_origin_px((top, left)), {}, (0, 0, 0, 0),
    )


def _clipped(mosaic: Mosaic, region: RegionUm) -> tuple[int, int, int, int]:
    """Return (row, column, height, width) of a stage region in the mosaic, cut at its edges."""
    origin_x, origin_y = mosaic.origin_um
    pixel = mosaic.pixel_size_um
    top = max(0, round((region.y_um - origin_y) / pixel))
    left = max(0, round((region.x_um - origin_x) / pixel))
    bottom = min(mosaic.shape[0], round((region.bottom_um - origin_y) / pixel))
    right = min(mosaic.shape[1], round((region.right_um - origin_x) / pixel))
    if bottom - top < 1 or right - left < 1:
        raise RegistrationError("the capture lies outside the mosaic", "scan the place where it was taken")
    return top, left, bottom - top, right - left


def _window(
    mosaic: Mosaic, placed_px: tuple[int, int], shape: tuple[int, int], cell: RegionUm | None
) -> tuple[int, int, int, int]:
    """Return the evaluated (first row, end row, first column, end column), even; empty where too little is left."""
    if cell is None:
        return 0, 0, 0, 0
    pitch = mosaic.pixel_size_um * FACTOR
    edges = []
    for axis, (low_um, high_um) in enumerate(((cell.y_um, cell.bottom_um), (cell.x_um, cell.right_um))):
        origin_um = mosaic.origin_um[1 - axis] + (placed_px[axis] - 0.5) * mosaic.pixel_size_um
        low = max(0, int(np.ceil((low_um - origin_um) / pitch)))
        high = min(shape[axis], int(np.floor((high_um - origin_um) / pitch)))
        low += low % 2
        edges.append((low, max(low, high - (high - low) % 2)))
    (top, bottom), (left, right) = edges
    return (top, bottom, left, right) if min(bottom - top, right - left) >= _SMALLEST_WINDOW_PX else (0, 0, 0, 0)
