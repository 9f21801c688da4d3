"""A session's results and models in formats that other programs read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from mobilescope.app.datasets.pair_folders import export_pair_folders, named_pairs
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.app.pictures.folders import prepare_file, prepare_folder
from mobilescope.app.pictures.images import write_rgb
from mobilescope.core.errors import OutputError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.data.datasets import DATASET_FORMAT
from mobilescope.data.files import file_format, looks_like_model
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pair_record import PAIRS_FORMAT
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session

_TIFF_TILE_PX = 256


SESSION_KINDS = ("ome-tiff", "png", "tiff")
_PAIR_KINDS = ("tiff", "png")


def kind_of_export(file: Path, kind: str | None) -> str:
    """Return what to export ``file`` as: what was asked for, else a model's ONNX, a session's OME-TIFF, pairs' TIFF.

    Raises
    ------
    UserError
        No such kind, or not of that file.
    """
    if looks_like_model(file):
        possible: tuple[str, ...] = ("onnx",)
    else:
        possible = dict.fromkeys((DATASET_FORMAT, PAIRS_FORMAT), _PAIR_KINDS).get(file_format(file), SESSION_KINDS)
    if kind is not None and kind not in possible:
        raise UserError(f"there is no export {kind!r} of {file}", f"choose {' or '.join(possible)}")
    return kind or possible[0]


def export_model(model: Path, target: Path) -> float:
    """Write a model as ONNX and return the largest difference from torch; see `enhance.onnx_export.export_onnx`."""
    from mobilescope.enhance.onnx_export import export_onnx  # brings torch

    if target.suffix.lower() != ".onnx":
        raise OutputError(f"{target} has no ONNX ending", "give a name that ends in .onnx")
    prepare_file(target)
    return export_onnx(model, target)


def export_session(
    session: Path,
    folder: Path,
    kind: str,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> list[Path]:
    """Write a session's mosaics as OME-TIFF, or its pairs as PNG or TIFF folders, and return the files.

    For pairs, ``session`` may be a pair file or a dataset as well.
    """
    if kind not in SESSION_KINDS:
        raise UserError(f"there is no export {kind!r}", f"choose {' or '.join(SESSION_KINDS)}")
    stop = stop or StopToken()
    if kind == "tiff":
        files = []
        for path, total in export_pair_folders(registered_pairs(session), folder):
            files.append(path)
            on_progress(Progress("export", len(files), total, path.name))
            stop.raise_if_requested("the export")
        return files
    write = _export_mosaics(session, folder) if kind == "ome-tiff" else _export_pairs(registered_pairs(session), folder)
    written: list[Path] = []
    for path, total in write:
        written.append(path)
        on_progress(Progress("export", len(written), total, path.name))
        stop.raise_if_requested("the export")
    return written


def _export_mosaics(session: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write the mosaics and yield (file, files in all) one by one."""
    with Session.open(session) as opened:
        slides = [slide.name for slide in opened.slides]
    prepare_folder(folder)
    for slide in slides:
        target = folder / f"{slide}.ome.tif"
        with Mosaic.open(session, slide) as mosaic, replaced_when_written(target) as temporary:
            write_ome_tiff(temporary, mosaic)
        yield target, len(slides)


def write_ome_tiff(path: Path, mosaic: Mosaic) -> None:
    """Write a mosaic as a tiled pyramidal OME-TIFF, tile by tile; pixel size and stage position go with it."""
    metadata = {
        "axes": "YXS",
        "Name": mosaic.slide,
        "PhysicalSizeX": mosaic.pixel_size_um, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mosaic.pixel_size_um, "PhysicalSizeYUnit": "µm",
        "Plane": {"PositionX": mosaic.origin_um[0], "PositionXUnit": "µm",
                  "PositionY": mosaic.origin_um[1], "PositionYUnit": "µm"},
    }
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tiff:
        for level in range(mosaic.levels):
            grid = mosaic.grid(level)
            tiff.write(
                _tiles(mosaic, level),
                shape=(grid.rows, grid.columns, 3), dtype=np.uint8, tile=(_TIFF_TILE_PX, _TIFF_TILE_PX),
                photometric="rgb", compression="zlib",
                subifds=mosaic.levels - 1 if level == 0 else None,
                subfiletype=1 if level else 0,
                metadata=metadata if level == 0 else None,
                resolution=(1e4 / grid.pixel_size_um, 1e4 / grid.pixel_size_um), resolutionunit="CENTIMETER",
            )


def _tiles(mosaic: Mosaic, level: int) -> Iterator[NDArray[np.uint8]]:
    grid = mosaic.grid(level)
    for row in range(0, grid.rows, _TIFF_TILE_PX):
        for column in range(0, grid.columns, _TIFF_TILE_PX):
            yield mosaic.read(row, column, _TIFF_TILE_PX, _TIFF_TILE_PX, level)


def _export_pairs(pairs: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write the accepted pairs of a pair file or dataset as PNG and yield (file, files in all) one by one."""
    prepare_folder(folder)
    with PairStore.open(pairs) as store:
        wanted = list(named_pairs(store, pairs))
        label_um = float(store.provenance["label_pixel_um"])
        for pair in wanted:
            for name, image, pixel_um in (
                ("phone", store.input(pair.index), label_um * store.factor),
                ("benchtop", store.label(pair.index), label_um),
            ):
                target = folder / f"{pair.name}-{name}.png"
                write_rgb(target, image, pixel_size_um=pixel_um)
                yield target, 2 * len(wanted)

