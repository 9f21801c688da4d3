"""What the twin's truth says of what a method shows: objects lost or invented (`pair_truth` has errors of place)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from objects import ObjectCount, count_objects
from pair_truth import lattice_px, mosaic_offsets_um, tile_truth

from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.core.geometry import RegionUm
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.learn.evaluate import EnhanceFunction, picture_fields
from mobilescope.twin.slides import build_specimen
from mobilescope.twin.table import TwinTable
from mobilescope.twin.truth import TruthLog


def object_counts(folder: Path, truth: TruthLog, enhance: EnhanceFunction) -> dict[str, dict[str, ObjectCount]]:
    """Count objects shown, lost and invented on the blind slides, by method and kind."""
    path = folder / "session.h5"
    table = TwinTable.model_validate(load_instrument(folder / "instrument.toml").twin)
    totals: dict[str, dict[str, ObjectCount]] = {"colour": {}, "network": {}}
    with Session.open(path) as session, PairStore.open(folder / "session.pairs.h5") as store:
        records = {(record.slide, record.capture): record for record in store.records}
        for field in picture_fields(folder / "session.pairs.h5", enhance, methods=tuple(totals)):
            record = records[field.slide, field.capture]
            with Mosaic.open(path, field.slide) as mosaic:
                offsets = mosaic_offsets_um(session, mosaic, tile_truth(session, truth, field.slide))
                origin = lattice_px(record, store.factor)[record.bounds[0], record.bounds[2]] - (store.factor - 1) / 2
                origin_um = np.array(mosaic.origin_um) + origin * mosaic.pixel_size_um + np.median(offsets, axis=0)
                pixel_um = mosaic.pixel_size_um
            region = _region(origin_um, field.label.shape, pixel_um)
            objects = build_specimen(table.slides[field.slide]).objects(region)
            for method, by_kind in totals.items():
                found = count_objects(
                    field.label, field.by_method[method], objects,
                    origin_um=(float(origin_um[0]), float(origin_um[1])), pixel_um=pixel_um,
                )
                for kind, count in found.items():
                    by_kind.setdefault(kind, ObjectCount()).add(count)
    return totals


def _region(origin_um: NDArray[np.floating], shape: tuple[int, ...], pixel_um: float) -> RegionUm:
    return RegionUm(float(origin_um[0]), float(origin_um[1]), shape[1] * pixel_um, shape[0] * pixel_um)
