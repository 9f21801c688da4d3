"""From a session's captures and mosaics to a file of registered pairs, each with its quality and a verdict."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from mobilescope import __version__
from mobilescope.app.acquiring import evaluation_cell, instrument_name, phone_half_pitch_um, plan_of
from mobilescope.app.aligning import AlignedPair, align_capture, developed_pixel_um
from mobilescope.app.folders import prepare_file
from mobilescope.core.errors import InputFileError, OutputError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.files import file_format
from mobilescope.data.layout import pairs_path
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PAIRS_FORMAT, PairWriter
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.data.variants import DEFAULT_FACTOR, PairVariant, Warp
from mobilescope.imaging.distortion import DistortionMap
from mobilescope.imaging.quality import GateThresholds
from mobilescope.imaging.warp import MapYX


@dataclass(frozen=True)
class PairingResult:
    """How the pairs of a session came out."""

    pairs: Path
    accepted: int
    refused: int


def registered_pairs(path: Path) -> Path:
    """Return the pair file that is meant: a pair file itself, or the default one of a session.

    Raises
    ------
    InputFileError
        The session can't be read or was not registered.
    """
    if file_format(path) == PAIRS_FORMAT:
        return path
    with Session.open(path):
        pairs = pairs_path(path)
    if not pairs.exists():
        raise InputFileError(f"{path} has no registered pairs ({pairs})", "register the session first")
    return pairs


def register_session(
    session_path: Path,
    *,
    warp: Warp = "phone",
    factor: float = DEFAULT_FACTOR,
    jpeg_ratio: float | None = None,
    out: Path | None = None,
    thresholds: GateThresholds | None = None,
    workers: int = 2,
    distortion: DistortionMap | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> PairingResult:
    """Register every capture of a session with its slide's mosaic and write the pair file.

    Refused pairs are kept in the file with their reason.

    Parameters
    ----------
    warp, factor, jpeg_ratio
        How the pairs are made, see `PairVariant`.
    out : Path, optional
        The pair file to write; without it `layout.pairs_path` names it.
    distortion : DistortionMap, optional
        What is known of the phone's distortion: each map starts from it.

    Raises
    ------
    UserError
        A variant that can't be, a session without captures or mosaics, or an ``out`` that is another kind of file.
    """
    stop = stop or StopToken()
    thresholds = thresholds or GateThresholds()
    variant = PairVariant(warp, factor, jpeg_ratio)
    with Session.open(session_path) as session:
        jobs = [(slide.name, capture) for slide in session.slides for capture in session.captures(slide.name)]
        roles = {slide.name: slide.role for slide in session.slides}
        if not jobs:
            raise InputFileError(f"{session_path} has no phone captures", "capture its slides first")
        cells = _cells(session)
        provenance = _provenance(session, jobs[0][1], variant) | {"thresholds": thresholds.model_dump()}
        known_yx = None
        if distortion is not None:
            rows, columns = session.header.phone_shape
            known_yx = distortion.scaled((rows // 2, columns // 2)).displacement_yx
            provenance["distortion_pairs"] = distortion.pairs
    target = out or pairs_path(session_path, variant)
    if out is not None and out.exists() and file_format(out) != PAIRS_FORMAT:
        raise OutputError(f"{target} is there and is no file of pairs", "give another name for the pairs")
    prepare_file(target)
    accepted = refused = 0
    with PairWriter(target, provenance) as writer:
        aligned = _aligned(session_path, jobs, cells, variant, thresholds, known_yx, workers, stop)
        for done, pair in enumerate(aligned, start=1):
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
                displacement_map=pair.map_xy,
                warp=warp,
                crop_px=pair.crop_px,
            )
            accepted, refused = accepted + pair.accepted, refused + (not pair.accepted)
            on_progress(Progress("register", done, len(jobs), f"{accepted} accepted, {refused} refused"))
    return PairingResult(target, accepted, refused)


def _provenance(session: Session, capture: CaptureRecord, variant: PairVariant) -> dict[str, Any]:
    """Return what the pairs come from and how they are made, with their pixel sizes; the names are `PairWriter`'s."""
    if variant.warp == "phone":
        with Mosaic.open(session.path, capture.slide) as mosaic:
            label_pixel_um = mosaic.pixel_size_um
        input_pixel_um = label_pixel_um * variant.factor
    else:
        input_pixel_um = developed_pixel_um(capture)
        label_pixel_um = input_pixel_um / variant.factor
    return {
        "label_pixel_um": label_pixel_um,
        "input_pixel_um": input_pixel_um,
        **variant.provenance(),
        "instrument": instrument_name(session),
        "phone_half_pitch_um": phone_half_pitch_um(session),
        "stains": {slide.name: slide.stain for slide in plan_of(session).slides},
        "session": session.path.name,
        "session_digest": session.digest(),
        "software_version": __version__,
    }


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
        grid = slide.fields(columns * pitch, rows * pitch)
        for capture in captures:
            cells[slide.name, capture.index] = evaluation_cell(
                slide, grid, capture.position.x_um, capture.position.y_um
            )
    return cells


def _aligned(
    session_path: Path,
    jobs: list[tuple[str, CaptureRecord]],
    cells: dict[tuple[str, int], RegionUm | None],
    variant: PairVariant,
    thresholds: GateThresholds,
    distortion_yx: MapYX | None,
    workers: int,
    stop: StopToken,
) -> Iterator[AlignedPair]:
    """Yield the aligned pairs in the order of the captures, computed in worker processes."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        futures = [
            pool.submit(
                align_capture, session_path, capture, cells.get((slide, capture.index)), variant, thresholds,
                distortion_yx,
            )
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
