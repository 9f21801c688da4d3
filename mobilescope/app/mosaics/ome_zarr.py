"""Pictures of any size as OME-Zarr (NGFF 0.5 on Zarr 3), written from top to bottom with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import mobilescope
from mobilescope.app.mosaics.pyramids import halved, pyramid_sizes
from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.core.errors import OutputError
from mobilescope.core.whole_files import folder_replaced_when_written
from mobilescope.imaging.bands import Piece

# Few enough files for a slide, small enough to look at a part.
CHUNK_PX = 1024
_COMPRESSION_LEVEL = 3


def write_ome_zarr(
    path: Path,
    wide: Iterator[Piece],
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size_um: float | None,
    origin_um: tuple[float, float] = (0.0, 0.0),
    name: str,
) -> None:
    """Write bands as a multiscale image with axes c, y, x; the folder is whole or not there.

    Parameters
    ----------
    wide : iterator of Piece
        Bands as wide as the picture, from top to bottom; what it raises comes through.
    shape : tuple
        The picture's (rows, columns, channels), one channel or three.
    origin_um : tuple of float
        (x, y) of the centre of pixel (0, 0).

    Raises
    ------
    OutputError, DiskSpaceError
        The folder can't be written, or another thing of that name is in the way.
    """
    if path.exists() and not (path / "zarr.json").is_file():
        raise OutputError(f"{path} exists and is no Zarr folder", "give another name, or move it away")
    prepare_folder(path.parent)
    with folder_replaced_when_written(path) as temporary:
        _write(temporary, wide, shape, np.dtype(dtype), pixel_size_um, origin_um, name)


class _Level:
    """One level being written: gathers rows into whole chunks and passes each strip, halved, to the next level."""

    def __init__(self, arrays: list[Any], dtype: np.dtype[Any]) -> None:
        self._array, *rest = arrays
        channels, _, columns = self._array.shape
        self._strip = np.empty((CHUNK_PX, columns, channels), dtype)
        self._filled = self._written = 0
        self._next = _Level(rest, dtype) if rest else None

    def add(self, pixels: NDArray[Any]) -> None:
        """Take the next rows, (n, columns, channels)."""
        taken = 0
        while taken < len(pixels):
            step = min(CHUNK_PX - self._filled, len(pixels) - taken)
            self._strip[self._filled:self._filled + step] = pixels[taken:taken + step]
            self._filled, taken = self._filled + step, taken + step
            if self._filled == CHUNK_PX:
                self._flush()

    def finish(self) -> None:
        """Write what is left."""
        if self._filled:
            self._flush()
        if self._next is not None:
            self._next.finish()

    def _flush(self) -> None:
        strip = self._strip[:self._filled]
        self._array[:, self._written:self._written + self._filled] = np.moveaxis(strip, 2, 0)
        if self._next is not None:
            self._next.add(halved(strip))
        self._written, self._filled = self._written + self._filled, 0


def _write(
    path: Path, wide: Iterator[Piece], shape: tuple[int, int, int], dtype: np.dtype[Any],
    pixel_size_um: float | None, origin_um: tuple[float, float], name: str,
) -> None:
    import zarr  # takes half a second to import
    from zarr.codecs import ZstdCodec

    rows, columns, channels = shape
    sizes = pyramid_sizes(rows, columns)
    group = zarr.create_group(store=path, zarr_format=3)
    arrays = [
        group.create_array(
            str(level), shape=(channels, *size), dtype=dtype, chunks=(channels, *(min(CHUNK_PX, n) for n in size)),
            compressors=ZstdCodec(level=_COMPRESSION_LEVEL), dimension_names=("c", "y", "x"),
        )
        for level, size in enumerate(sizes)
    ]
    group.attrs["ome"] = _metadata(len(sizes), channels, dtype, pixel_size_um, origin_um, name)
    first = _Level(arrays, dtype)
    for band in wide:
        first.add(band.pixels)
    first.finish()


def _metadata(
    levels: int, channels: int, dtype: np.dtype[Any], pixel_size_um: float | None, origin_um: tuple[float, float],
    name: str,
) -> dict[str, Any]:
    """Return the NGFF 0.5 description; without a pixel size the scale is in pixels and has no unit."""
    pixel = pixel_size_um or 1.0
    unit = {"unit": "micrometer"} if pixel_size_um else {}
    datasets = []
    for level in range(levels):
        # The centre of a coarse pixel lies between those of the fine ones it was made of.
        shift = (2**level - 1) / 2 * pixel
        datasets.append({
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, pixel * 2**level, pixel * 2**level]},
                {"type": "translation", "translation": [0.0, origin_um[1] + shift, origin_um[0] + shift]},
            ],
        })
    greatest = int(np.iinfo(dtype).max)
    colours = ("FF0000", "00FF00", "0000FF") if channels == 3 else ("FFFFFF",)
    labels = ("red", "green", "blue") if channels == 3 else ("grey",)
    return {
        "version": "0.5",
        "multiscales": [{
            "name": name,
            "axes": [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"} | unit,
                     {"name": "x", "type": "space"} | unit],
            "datasets": datasets,
            "type": "mean",
        }],
        "omero": {
            "channels": [
                {"label": label, "color": colour, "active": True,
                 "window": {"min": 0, "max": greatest, "start": 0, "end": greatest}}
                for label, colour in zip(labels, colours, strict=True)
            ],
        },
        "_creator": {"name": "mobilescope", "version": mobilescope.__version__},
    }
