"""A session's pairs made one by one by any worker; each has a file of its own until the pair file is put together."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from mobilescope import __version__
from mobilescope.app.pairs.aligning import AlignedPair, align_capture
from mobilescope.app.pairs.evaluation_windows import part_windows
from mobilescope.app.pairs.pairing import better_of, store_pair
from mobilescope.app.pairs.placing import Search, has_position
from mobilescope.app.pairs.unfocused_pairs import refuse_unfocused
from mobilescope.core.allocator import keep_freed_memory
from mobilescope.core.errors import ClusterError, InputFileError, MobilescopeError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.whole_files import write_failure
from mobilescope.data.datasets import Role
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.data.records import CaptureRecord
from mobilescope.data.variants import PairVariant
from mobilescope.imaging.quality import GateThresholds
from mobilescope.imaging.warp import MapYX


@dataclass(frozen=True)
class PartJob:
    """What a worker needs to make one pair of a session."""

    session: Path
    folder: Path
    number: int
    capture: CaptureRecord
    cell: RegionUm | None
    role: Role
    variant: PairVariant
    thresholds: GateThresholds
    search: Search | None
    turn_deg: float = 0.0
    distortion: Path | None = None


@dataclass(frozen=True)
class Counted:
    """How many pairs a file has."""

    accepted: int
    refused: int


def parts_folder(target: Path) -> Path:
    """Return where the parts of a pair file stand while it is made."""
    return target.with_name(f".{target.name}.parts")


def part_path(folder: Path, number: int) -> Path:
    """Return where one pair stands."""
    return folder / f"{number:06d}.h5"


def begin_parts(folder: Path, key: str) -> set[int]:
    """Make the folder, throw away parts of something else, and return the numbers of those that are there."""
    stamp = folder / "made_of"
    try:
        if folder.exists() and (not stamp.exists() or stamp.read_text(encoding="ascii") != key):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        stamp.write_text(key, encoding="ascii")
        return {int(path.stem) for path in folder.glob("*.h5") if path.stem.isdigit()}
    except OSError as error:
        raise write_failure(folder, error) from error


def keep_distortion(folder: Path, distortion_yx: MapYX) -> Path:
    """Keep the distortion that maps start from beside the parts, where every worker can read it; return its place."""
    path = folder / "distortion.npy"
    try:
        np.save(path, distortion_yx)
    except OSError as error:
        raise write_failure(path, error) from error
    return path


def make_part(job: PartJob, version: str) -> bool:
    """Register one capture and keep the pair; return whether it was accepted. Runs on a worker."""
    if version != __version__:
        raise ClusterError(
            f"a worker has mobilescope {__version__}, this program {version}", "install the same version everywhere"
        )
    keep_freed_memory()
    cv2.setNumThreads(1)
    threadpool_limits(1)
    if not job.folder.is_dir():
        raise InputFileError(f"a worker does not see {job.folder}", "give every worker the same folders")
    at_once = None if has_position(job.capture) else job.search
    pair = _aligned(job, at_once)
    if pair.lost and job.search is not None:
        pair = better_of(pair, _aligned(job, job.search))
    # A worker that was given up may still be at the same pair.
    own = job.folder / f"{job.number:06d}-{uuid.uuid4().hex[:8]}.new"
    try:
        with PairWriter(own, job.variant.provenance()) as writer:
            store_pair(writer, pair, job.role, job.variant.warp)
        own.replace(part_path(job.folder, job.number))
    except OSError as error:
        own.unlink(missing_ok=True)
        raise write_failure(own, error) from error
    return pair.accepted


def _aligned(job: PartJob, search: Search | None) -> AlignedPair:
    distortion_yx = None if job.distortion is None else np.load(job.distortion)
    return align_capture(
        job.session, job.capture, job.cell, job.variant, job.thresholds, search, distortion_yx, job.turn_deg
    )


def join_parts(folder: Path, count: int, target: Path, provenance: dict[str, Any]) -> Counted:
    """Put the pairs together into the pair file and delete the parts. Runs on a worker.

    A worker may have died when all but the deleting was done. Bytes are copied as they stand, without unpacking them;
    windows that lie over each other are cut. A part that can't be read is deleted, so that the same command makes it
    again.
    """
    done = made_before(target, str(provenance["made_of"]))
    if done is not None:
        shutil.rmtree(folder, ignore_errors=True)
        return done
    own = folder / f"joined-{uuid.uuid4().hex[:8]}.new"
    with PairWriter(own, provenance) as writer:
        for number in range(count):
            part = part_path(folder, number)
            try:
                with PairStore.open(part) as store:
                    writer.adopt(store, 0)
            except InputFileError as error:
                part.unlink(missing_ok=True)
                raise MobilescopeError(error.cause, "run the same command again: it makes this pair anew") from error
        refuse_unfocused(writer, GateThresholds(**provenance["thresholds"]))
        part_windows(writer)
        accepted = sum(record.accepted for record in writer.records())
    own.replace(target)
    shutil.rmtree(folder, ignore_errors=True)
    return Counted(accepted, count - accepted)


def made_before(target: Path, key: str) -> Counted | None:
    """Return the counts of a pair file that was made of exactly this; None where there is none."""
    try:
        with PairStore.open(target) as store:
            if store.provenance.get("made_of") != key:
                return None
            accepted = sum(record.accepted for record in store.records)
            return Counted(accepted, len(store.records) - accepted)
    except InputFileError:
        return None
