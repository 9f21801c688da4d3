"""Pictures of any size as pyramidal OME-TIFF, written from top to bottom with bounded memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.pictures.picture_notes import note_for_ome
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.imaging.bands import Piece, grid_tiles

TILE_PX = 512
_BAND_ROWS = 512
_NARROW_ROWS = 128
# Tiles that wait to be compressed side by side.
_ENCODED_BYTES = 1 << 24
# Higher levels take twice the time and more for some hundredths of the size.
_DEFLATE_LEVEL = 4


def pyramid_sizes(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the (rows, columns) of each level: halved, rounded up, until one tile holds it."""
    sizes = [(rows, columns)]
    while max(sizes[-1]) > TILE_PX:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def write_pyramid(
    path: Path,
    wide: Iterator[Piece],
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size_um: float | None,
    note: str,
    summary: str,
) -> None:
    """Write bands as a tiled BigTIFF with sub-resolutions, deflate-compressed; the file is whole or not there.

    While a level is written, the next one, half as fine, is put down in a nameless file beside ``path``; so neither
    memory nor the time to read depends on the number of rows.

    Parameters
    ----------
    wide : iterator of Piece
        Bands as wide as the picture, from top to bottom; what it raises comes through.
    shape : tuple
        The picture's (rows, columns, channels), one channel or three.
    note, summary : str
        Text that the file carries as a structured annotation, and what a reader sees of it first.

    Raises
    ------
    DiskSpaceError, OutputError
        The file can't be written.
    """
    sizes, channels = pyramid_sizes(*shape[:2]), shape[2]
    spilled = sum(rows * columns for rows, columns in sizes[1:]) * channels * np.dtype(dtype).itemsize
    prepare_folder(path.parent, needed_bytes=spilled)
    with (
        replaced_when_written(path) as temporary, contextlib.ExitStack() as spills,
        tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as tiff,
    ):
        for level, (rows, columns) in enumerate(sizes):
            bands = _narrow(wide)
            if level + 1 < len(sizes):
                spill = spills.enter_context(tempfile.TemporaryFile(dir=path.parent))
                bands = _halving(bands, spill)
                wide = _spilled(spill, (*sizes[level + 1], channels), dtype)
            pitch = None if pixel_size_um is None else pixel_size_um * 2**level
            tiff.write(
                _whole_tiles(bands), shape=(rows, columns, 3)[: 3 if channels == 3 else 2], dtype=dtype,
                tile=(TILE_PX, TILE_PX), photometric="rgb" if channels == 3 else "minisblack",
                compression="zlib", compressionargs={"level": _DEFLATE_LEVEL}, predictor=np.dtype(dtype).kind == "u",
                buffersize=_ENCODED_BYTES,
                subifds=len(sizes) - 1 if level == 0 else None, subfiletype=1 if level else 0,
                metadata=_metadata(path, channels, pixel_size_um, note, summary) if level == 0 else None,
                resolution=None if pitch is None else (1e4 / pitch, 1e4 / pitch),
                resolutionunit=None if pitch is None else "CENTIMETER",
            )


def _metadata(
    path: Path, channels: int, pixel_size_um: float | None, note: str, summary: str
) -> dict[str, object]:
    size: dict[str, object] = {}
    if pixel_size_um is not None:
        size = {
            "PhysicalSizeX": pixel_size_um, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_size_um, "PhysicalSizeYUnit": "µm",
        }
    name = path.name.split(".")[0]
    axes = "YXS" if channels == 3 else "YX"
    return {"axes": axes, "Name": name, "Description": summary, **size, **note_for_ome(note, summary)}


def _narrow(bands: Iterator[Piece]) -> Iterator[Piece]:
    """Yield bands of few rows, so that little is held beside them; copies, so that no wide band is held by its rows."""
    for band in bands:
        for row in range(0, len(band.pixels), _NARROW_ROWS):
            yield Piece(band.row + row, 0, band.pixels[row : row + _NARROW_ROWS].copy())
        del band


def _whole_tiles(bands: Iterator[Piece]) -> Iterator[NDArray[np.generic]]:
    """Yield the tiles of a level, those at its right and lower edge filled up by repeating their last pixels."""
    for tile in grid_tiles(bands, TILE_PX):
        missing = TILE_PX - tile.shape[0], TILE_PX - tile.shape[1]
        whole = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else tile
        yield whole if whole.shape[2] == 3 else whole[..., 0]


def _halving(bands: Iterator[Piece], spill: IO[bytes]) -> Iterator[Piece]:
    """Pass bands on, and write their means of 2×2 pixels into a file."""
    odd: NDArray[np.generic] | None = None
    for band in bands:
        rows = band.pixels if odd is None else np.concatenate([odd, band.pixels])
        even = len(rows) // 2 * 2
        odd = rows[even:].copy() if even < len(rows) else None
        if even:
            spill.write(halved(rows[:even]).data)
        yield band
    if odd is not None:
        spill.write(halved(odd).data)


def halved(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return means of 2×2 pixels; at an odd edge, of the pixels that are there."""
    rows, columns = pixels.shape[:2]
    if rows % 2 or columns % 2:
        pixels = np.pad(pixels, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    half = np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))
    return half.reshape(*half.shape[:2], *pixels.shape[2:])  # OpenCV drops a single channel's axis


def _spilled(spill: IO[bytes], shape: tuple[int, int, int], dtype: DTypeLike) -> Iterator[Piece]:
    """Yield bands of what a level's file holds, read when the level above is done."""
    spill.seek(0)
    rows, columns, channels = shape
    for row in range(0, rows, _BAND_ROWS):
        count = min(_BAND_ROWS, rows - row)
        data = spill.read(count * columns * channels * np.dtype(dtype).itemsize)
        yield Piece(row, 0, np.frombuffer(data, dtype).reshape(count, columns, channels))
