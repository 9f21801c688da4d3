"""What the twin's truth says of a job's geometry: errors of stitching and registration."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.data.layout import pairs_path
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.twin.truth import CaptureTruth, TruthLog


def tile_truth(session: Session, truth: TruthLog, slide: str) -> NDArray[np.floating]:
    """Return the true (x, y, defocus) of each tile of a slide, in the session's order, shape (tiles, 3)."""
    whole = [entry for entry in truth.tiles if entry.slide == slide and entry.whole]
    assert len(whole) == len(session.tiles(slide)), "the truth and the session must come from one uninterrupted run"
    return np.array([(entry.x_um, entry.y_um, entry.defocus_um) for entry in whole])


def capture_truth(session: Session, truth: TruthLog, slide: str) -> dict[int, CaptureTruth]:
    """Return the truth of each capture of a slide by its index."""
    entries = [entry for entry in truth.captures if entry.slide == slide]
    captures = session.captures(slide)
    assert len(entries) == len(captures)
    return {capture.index: entry for capture, entry in zip(captures, entries, strict=True)}


def mosaic_offsets_um(session: Session, mosaic: Mosaic, tiles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return, per tile, where its first pixel truly lies minus where the mosaic says, (tiles, 2) as (x, y) µm."""
    rows, columns = session.header.benchtop_shape
    first = tiles[:, :2] - np.array([(columns - 1) / 2, (rows - 1) / 2]) * mosaic.pixel_size_um
    said = np.array(mosaic.origin_um) + mosaic.tile_positions_px * mosaic.pixel_size_um
    return first - said


def stitching_errors_px(
    session: Session, path: Path, truth: TruthLog, slide: str, *, blended: bool
) -> NDArray[np.floating]:
    """Return each tile's distance from its true place after removing the median offset, in benchtop pixels.

    ``blended`` judges the whole pixels at which tiles were put into the mosaic, else the positions that were solved.
    """
    with Mosaic.open(path, slide) as mosaic:
        offsets = mosaic_offsets_um(session, mosaic, tile_truth(session, truth, slide)) / mosaic.pixel_size_um
        if blended:
            offsets += mosaic.tile_positions_px - np.round(mosaic.tile_positions_px)
        return np.linalg.norm(offsets - np.median(offsets, axis=0), axis=1)


def registration_errors_px(
    session: Session, path: Path, truth: TruthLog, slide: str, *, pairs: Path | None = None
) -> NDArray[np.floating]:
    """Return the error of the map of every accepted pair of a slide, in phone pixels, over a grid of its pixels.

    For each input pixel: where the phone truly looked, against where the benchtop tile under it truly was, as blended
    into the mosaic at whole pixels. ``pairs`` is another file than the session's default one; either warp will do.
    """
    errors = []
    with Mosaic.open(path, slide) as mosaic, PairStore.open(pairs or pairs_path(path)) as store:
        tiles = tile_truth(session, truth, slide)
        rounded_px = mosaic.tile_positions_px - np.round(mosaic.tile_positions_px)
        offsets = mosaic_offsets_um(session, mosaic, tiles) + rounded_px * mosaic.pixel_size_um
        centres = mosaic.tile_positions_px + (np.array(session.header.benchtop_shape[::-1]) - 1) / 2
        captures = capture_truth(session, truth, slide)
        for index, record in enumerate(store.records):
            if record.slide != slide or not record.accepted:
                continue
            source, placed = places_px(store, index)
            looked = sample_positions(captures[record.capture], source)
            nearest = np.argmin(np.linalg.norm(placed[..., None, :] - centres, axis=-1), axis=-1)
            stands = np.array(mosaic.origin_um) + placed * mosaic.pixel_size_um + offsets[nearest]
            inner = (slice(4, -4, 4), slice(4, -4, 4))
            error = np.linalg.norm(looked - stands, axis=-1)[inner] / (2 * session.captures(slide)[0].pixel_size_um)
            errors.append(error.ravel())
    return np.concatenate(errors)


def places_px(store: PairStore, index: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return where each input pixel lies in the developed capture and in the mosaic, each (rows, columns, 2) xy."""
    record, kept = store.records[index], store.map(index)
    assert kept is not None
    if record.warp == "phone":
        return kept, lattice_px(record, store.factor)
    assert record.crop_px is not None
    x, y = record.crop_px[1] + np.arange(record.shape[1]), record.crop_px[0] + np.arange(record.shape[0])
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1), kept


def sample_positions(capture: CaptureTruth, source_xy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the true specimen position at fractional pixels of a developed capture, (rows, columns, 2) as (x, y)."""
    x, y = (np.ascontiguousarray(source_xy[..., axis], dtype=np.float32) for axis in (0, 1))
    # Float32 maps lose the large offset: sample relative to the field's centre.
    centre = capture.positions_um.mean(axis=(0, 1), dtype=np.float64)
    relative = (capture.positions_um - centre).astype(np.float32)
    return centre + np.asarray(cv2.remap(relative, x, y, cv2.INTER_LINEAR), dtype=np.float64)


def lattice_px(record: PairRecord, factor: float) -> NDArray[np.floating]:
    """Return each input pixel's place in the mosaic, (rows, columns, 2) as (x, y) pixels of level 0; phone warp."""
    rows, columns = record.shape
    x = record.origin_px[0] + factor * np.arange(columns)
    y = record.origin_px[1] + factor * np.arange(rows)
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
