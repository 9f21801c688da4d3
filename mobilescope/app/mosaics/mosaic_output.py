"""Mosaics as files that other programs read: pyramidal OME-TIFF or OME-Zarr, by the name that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from mobilescope.app.pictures.folders import prepare_file, prepare_folder
from mobilescope.core.errors import OutputError
from mobilescope.imaging.bands import Piece

_BAND_ROWS = 512
_TIFF_ENDINGS = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
_ZARR_ENDINGS = (".ome.zarr", ".zarr")


@dataclass(frozen=True)
class MosaicPicture:
    """What is written beside the pixels: (rows, columns, channels), type, pitch, place on the stage, provenance."""

    shape: tuple[int, int, int]
    dtype: DTypeLike
    pixel_size_um: float | None
    origin_um: tuple[float, float]
    provenance: dict[str, Any]


def check_output(path: Path) -> None:
    """Check before any work that a mosaic can be written under this name; OutputError if not."""
    name = path.name.lower()
    if name.endswith(_ZARR_ENDINGS):
        if path.exists() and not (path / "zarr.json").is_file():
            raise OutputError(f"{path} exists and is no Zarr folder", "give another name, or move it away")
        prepare_folder(path.parent)
        return
    if not name.endswith(_TIFF_ENDINGS):
        raise OutputError(f"{path} names no known format", "give a name that ends in .ome.tif or .ome.zarr")
    prepare_file(path)


def write_mosaic(path: Path, bands: Iterator[Piece], picture: MosaicPicture) -> None:
    """Write bands, from top to bottom, in the format that the name's ending says; see `check_output`."""
    if path.name.lower().endswith(_ZARR_ENDINGS):
        from mobilescope.app.mosaics.ome_zarr import write_ome_zarr

        write_ome_zarr(
            path, bands, picture.shape, picture.dtype, pixel_size_um=picture.pixel_size_um,
            origin_um=picture.origin_um, name=path.name.split(".")[0],
        )
        return
    from mobilescope.app.mosaics.pyramids import write_pyramid

    write_pyramid(
        path, bands, picture.shape, picture.dtype, pixel_size_um=picture.pixel_size_um,
        note=json.dumps(picture.provenance), summary=f"mosaic of {picture.provenance.get('tiles', '')} tiles",
    )


def write_session_mosaic(path: Path, session: Path, slide: str) -> None:
    """Write the mosaic file of a session's slide in the format that the name's ending says."""
    from mobilescope.data.mosaics import Mosaic  # brings HDF5

    with Mosaic.open(session, slide) as mosaic:
        rows, columns = mosaic.shape

        def bands() -> Iterator[Piece]:
            for row in range(0, rows, _BAND_ROWS):
                yield Piece(row, 0, mosaic.read(row, 0, min(_BAND_ROWS, rows - row), columns))

        picture = MosaicPicture(
            (rows, columns, 3), "uint8", mosaic.pixel_size_um, mosaic.origin_um,
            {"tiles": len(mosaic.tile_positions_px), **mosaic.provenance},
        )
        write_mosaic(path, bands(), picture)
