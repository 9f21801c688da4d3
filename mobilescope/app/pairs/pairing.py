"""From a session's captures and mosaics to a file of registered pairs, each with its quality and a verdict."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from mobilescope import __version__
from mobilescope.app.acquisition.acquiring import (
    evaluation_cell,
    field_grid,
    phone_half_pitch_um,
    plan_of,
)
from mobilescope.app.pairs.aligning import AlignedPair, align_capture, developed_pixel_um
from mobilescope.app.pairs.evaluation_windows import part_windows
from mobilescope.app.pairs.finding import MosaicFinder
from mobilescope.app.pairs.lineage import lineage, made_of
from mobilescope.app.pairs.pair_places import PlacedCapture, placed_captures
from mobilescope.app.pairs.placing import Search, has_position
from mobilescope.app.pairs.unfocused_pairs import refuse_unfocused
from mobilescope.app.pictures.development import development_of, recipe_of
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.core.allocator import keep_freed_memory
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputFileError, OutputError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.processes import starting_workers
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.datasets import DATASET_FORMAT, Role
from mobilescope.data.files import file_format
from mobilescope.data.layout import mosaic_path, pair_files, pairs_path
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pair_record import PAIRS_FORMAT
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.data.variants import DEFAULT_FACTOR, PairVariant, Warp
from mobilescope.imaging.crops import central_crops
from mobilescope.imaging.distortion import DistortionMap
from mobilescope.imaging.quality import GateThresholds
from mobilescope.imaging.warp import MapYX

# Captures that are handed to each worker, so that none waits while an earlier one is searched for.
_AHEAD = 3


@dataclass(frozen=True)
class PairingResult:
    """How the pairs of a session came out; ``searched`` of those accepted were found by a search of the mosaic."""

    pairs: Path
    accepted: int
    refused: int
    searched: int = 0


def registered_pairs(path: Path) -> Path:
    """Return the pair file that is meant: a pair file or dataset itself, or the default one of a session.

    Raises
    ------
    InputFileError
        The session can't be read or was not registered.
    """
    if file_format(path) in (PAIRS_FORMAT, DATASET_FORMAT):
        return path
    with Session.open(path) as session:
        own = development_of(session)
    pairs = pairs_path(path, PairVariant(development=own, own=own))
    if not pairs.exists():
        others = ", ".join(each.name for each in pair_files(path))
        remedy = "register the session first" + (f", or give one of its files of pairs: {others}" if others else "")
        raise InputFileError(f"{path} has no registered pairs ({pairs})", remedy)
    return pairs


def register_session(
    session_path: Path,
    *,
    warp: Warp = "phone",
    factor: float = DEFAULT_FACTOR,
    jpeg_ratio: float | None = None,
    development: DevelopmentConfig | None = None,
    out: Path | None = None,
    thresholds: GateThresholds | None = None,
    search: bool = True,
    workers: int = 2,
    distortion: DistortionMap | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> PairingResult:
    """Register every capture of a session with its slide's mosaic and write the pair file.

    A capture whose position is not known, or where it does not lie, is searched for in the whole mosaic; its figures
    then tell where it was found (``place_x_um``, ...). Refused pairs are kept in the file with their reason.

    Parameters
    ----------
    warp, factor, jpeg_ratio, development
        How the pairs are made, see `PairVariant`.
    out : Path, optional
        The pair file to write; without it `layout.pairs_path` names it.
    search : bool
        Search whole mosaics; without it, a capture that is not at its position is refused.
    distortion : DistortionMap, optional
        What is known of the phone's distortion: each map starts from it.

    Raises
    ------
    UserError
        A variant that can't be, a session without captures or mosaics, or an ``out`` that is another kind of file.
    """
    stop = stop or StopToken()
    thresholds = thresholds or GateThresholds()
    plan = plan_pairing(
        session_path, PairVariant(warp, factor, jpeg_ratio, development), thresholds, search=search,
        distortion=distortion,
    )
    jobs = plan.jobs
    target = out or pairs_path(session_path, plan.variant)
    if out is not None and out.exists() and file_format(out) != PAIRS_FORMAT:
        raise OutputError(f"{target} is there and is no file of pairs", "give another name for the pairs")
    prepare_file(target)
    accepted = 0
    with PairWriter(target, plan.provenance) as writer:
        for done, pair in enumerate(
            _aligned(session_path, plan, thresholds, workers, on_progress, stop), start=1
        ):
            store_pair(writer, pair, plan.roles[pair.capture.slide], warp)
            accepted += pair.accepted
            on_progress(Progress("register", done, len(jobs), f"{accepted} accepted, {done - accepted} refused"))
        refuse_unfocused(writer, thresholds)
        part_windows(writer)
        good = [record for record in writer.records() if record.accepted]
    searched = sum("place_x_um" in record.quality for record in good)
    return PairingResult(target, len(good), len(jobs) - len(good), searched)


@dataclass(frozen=True)
class PairingPlan:
    """What a session's pairs are made of.

    Attributes
    ----------
    variant : PairVariant
        With the development that is meant.
    jobs : list of (str, CaptureRecord)
        Slide and capture, in the order of the pairs.
    roles : dict
        By slide.
    cells : dict
        What may be evaluated of each capture, by slide and index.
    searches : dict
        Where to look for captures that are not at their place, by slide; empty where they are not looked for.
    provenance : dict
        Of the pair file, as `PairWriter` takes it.
    distortion_yx : ndarray or None
        What maps start from, on the lattice of a developed capture.
    turns_deg : dict
        How captures lie turned on the benchtop's stage, by slide and index.
    """

    variant: PairVariant
    jobs: list[tuple[str, CaptureRecord]]
    roles: dict[str, Role]
    cells: dict[tuple[str, int], RegionUm | None]
    searches: dict[str, Search]
    provenance: dict[str, Any]
    distortion_yx: MapYX | None = None
    turns_deg: dict[tuple[str, int], float] = field(default_factory=dict)


def plan_pairing(
    session_path: Path, variant: PairVariant, thresholds: GateThresholds, *, search: bool = True,
    distortion: DistortionMap | None = None,
) -> PairingPlan:
    """Read what there is to register; InputFileError for a session without captures or mosaics."""
    with Session.open(session_path) as session:
        session.warn_of_damaged_rows()
        own = development_of(session)
        variant = replace(variant, development=variant.development or own, own=own)
        placed = [each for slide in session.slides for each in placed_captures(session, slide.name)]
        jobs = [(part.slide, part) for each in placed for part in _parts(session, each.capture, variant)]
        roles = {slide.name: slide.role for slide in session.slides}
        if not jobs:
            raise InputFileError(f"{session_path} has no phone captures", "capture its slides first")
        _warn_of_jpegs(session_path, [each.capture for each in placed])
        provenance = _provenance(session, [capture for _, capture in jobs], variant) | {
            "thresholds": thresholds.model_dump(),
            "places": "nominal, else by landmarks in the whole mosaic" if search else "nominal",
        }
        known_yx = None
        if distortion is not None:
            rows, columns = session.header.phone_shape
            known_yx = distortion.scaled((rows // 2, columns // 2)).displacement_yx
            provenance["distortion_pairs"] = distortion.pairs
            provenance["distortion_sha256"] = hashlib.sha256(known_yx.tobytes()).hexdigest()
        provenance["made_of"] = made_of(session_path, provenance, [capture for _, capture in jobs])
        searches = _searches(session) if search else {}
        turns_deg = {(each.capture.slide, each.capture.index): each.turn_deg for each in placed}
        return PairingPlan(variant, jobs, roles, _cells(session, placed), searches, provenance, known_yx, turns_deg)


def _warn_of_jpegs(session_path: Path, captures: list[CaptureRecord]) -> None:
    """Say so where only some captures have a raw picture: what is made of the others is not the same."""
    without = sum(not capture.cfa for capture in captures)
    if 0 < without < len(captures):
        warnings.warn(
            f"{without} of {len(captures)} captures of {session_path} have no raw picture: their JPEGs differ from the "
            "others in colour, defects and evenness of light", RuntimeWarning, stacklevel=3,
        )


def store_pair(writer: PairWriter, pair: AlignedPair, role: Role, warp: Warp) -> None:
    """Write one aligned pair with its quality and verdict."""
    writer.add(
        pair.input,
        pair.label,
        slide=pair.capture.slide,
        role=role,
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


def _provenance(session: Session, captures: list[CaptureRecord], variant: PairVariant) -> dict[str, Any]:
    """Return what the pairs come from and how they are made, with their pixel sizes; the names are `PairWriter`'s."""
    kinds = {"raw" if capture.cfa else "jpeg" for capture in captures}
    if variant.warp == "phone":
        with Mosaic.open(session.path, captures[0].slide) as mosaic:
            label_pixel_um = mosaic.pixel_size_um
        input_pixel_um = label_pixel_um * variant.factor
    else:
        input_pixel_um = developed_pixel_um(captures[0])
        label_pixel_um = input_pixel_um / variant.factor
    return {
        "label_pixel_um": label_pixel_um,
        "input_pixel_um": input_pixel_um,
        **variant.provenance(" + ".join(sorted(kinds, reverse=True))),
        "development": recipe_of(session, variant.development or development_of(session)).provenance,
        "instrument": session.header.instrument_name,
        "phone_half_pitch_um": phone_half_pitch_um(session),
        "stains": {slide.name: slide.stain for slide in plan_of(session).slides},
        "session": session.path.name,
        "session_digest": session.digest(),
        **lineage(session),
        "software_version": __version__,
    }


def _parts(session: Session, capture: CaptureRecord, variant: PairVariant) -> list[CaptureRecord]:
    """Return what makes a pair each: a capture, or the crops that the variant cuts it into."""
    rows, columns = session.header.phone_shape
    development = variant.development or development_of(session)
    crops = central_crops((rows // 2, columns // 2), development.crops)
    return [replace(capture, part=part) for part in range(len(crops))]


def _cells(session: Session, placed: list[PlacedCapture]) -> dict[tuple[str, int], RegionUm | None]:
    """Return what may be evaluated of each capture, by slide and index."""
    plan = plan_of(session)
    rows, columns = session.header.phone_shape
    cells = {}
    for each in placed:
        capture, slide = each.capture, plan.slide(each.capture.slide)
        size_um = columns * capture.pixel_size_um, rows * capture.pixel_size_um
        # A field without a place in the grid has its own rectangle, which may be cut when all pairs are known.
        cell_um = size_um if capture.row < 0 else field_grid(slide, *size_um).pitch_um
        place = each.planned_um
        cells[slide.name, capture.index] = None if math.isnan(place[0]) else evaluation_cell(slide, cell_um, *place)
    return cells


def _searches(session: Session) -> dict[str, Search]:
    """Return what to look through for each slide's captures."""
    plan = plan_of(session)
    return {
        slide.name: Search(mosaic_path(session.path, slide.name), plan.slide(slide.name).content)
        for slide in session.slides
    }


def _aligned(
    session_path: Path,
    plan: PairingPlan,
    thresholds: GateThresholds,
    workers: int,
    on_progress: ProgressListener,
    stop: StopToken,
) -> Iterator[AlignedPair]:
    """Yield the aligned pairs in the order of the captures, computed in worker processes, a few ahead."""
    jobs, indexed = iter(plan.jobs), set[str]()

    def to_search(slide: str) -> Search | None:
        # Workers open the index that stands here; they would wait for the first of them, and nobody would see it.
        search = plan.searches.get(slide)
        if search is not None and slide not in indexed:
            with MosaicFinder.open(search.mosaic, on_progress=on_progress, stop=stop) as finder:
                finder.warn_unsaved()
            indexed.add(slide)
        return search

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        def submit(slide: str, capture: CaptureRecord, search: Search | None) -> Future[AlignedPair]:
            cell, turn_deg = plan.cells.get((slide, capture.index)), plan.turns_deg.get((slide, capture.index), 0.0)
            with starting_workers():
                return pool.submit(
                    align_capture, session_path, capture, cell, plan.variant, thresholds, search, plan.distortion_yx,
                    turn_deg,
                )

        # Pairs wait in memory, whole, until it is their turn.
        waiting: deque[tuple[str, CaptureRecord, Future[AlignedPair]]] = deque()
        try:
            while True:
                for slide, capture in islice(jobs, _AHEAD * workers - len(waiting)):
                    search = None if has_position(capture) else to_search(slide)
                    waiting.append((slide, capture, submit(slide, capture, search)))
                if not waiting:
                    return
                stop.raise_if_requested("registration")
                slide, capture, future = waiting.popleft()
                pair = future.result()
                if pair.lost and (search := to_search(slide)) is not None:
                    pair = better_of(pair, submit(slide, capture, search).result())
                yield pair
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def better_of(pair: AlignedPair, again: AlignedPair) -> AlignedPair:
    """Return what came of the search for a lost capture, or the pair as it was where it is nowhere."""
    if again.quality.get("place_landmarks"):
        return again
    # What is nowhere in the mosaic was not at its place either: that reason stands.
    return replace(pair, reason=f"{pair.reason}; in the whole mosaic: {again.reason}")


def _start_worker() -> None:
    """Keep each worker to one core, since the processes share the machine."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    threadpool_limits(1)
