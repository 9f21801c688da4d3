"""Pixels of an image file at full resolution, read where they are asked for: plain images, tiled and striped TIFF."""

from __future__ import annotations

import math
import struct
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.core.input_files import check_file
from mobilescope.imaging.tiff_segments import segment_decoder, segment_shape

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

_FORMATS = "give a PNG, JPEG or TIFF (also OME-TIFF or a tiled slide such as SVS)"
_EXPORT_AGAIN = "copy it again, or export it with LZW or JPEG compression"
_CACHE_BYTES = 64_000_000
_MOST_PIXELS_IN_MEMORY = 400_000_000
_LARGEST_SEGMENT_BYTES = 64_000_000
_SQUARE_WITHIN = 0.01
_FLOATS = (np.float32, np.float64)
_PLAIN_PHOTOMETRICS = (
    tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR
)


class PixelSource(Protocol):
    """Encoded RGB pixels of one image."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the samples."""

    def read(self, row: int, column: int, rows: int, columns: int) -> Pixels:
        """Return a window wholly inside the image, shape (rows, columns, 3)."""


class ArraySource:
    """An image held in memory."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._pixels.shape[0]), int(self._pixels.shape[1])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the samples."""
        return self._pixels.dtype

    def read(self, row: int, column: int, rows: int, columns: int) -> Pixels:
        """Return a view of the window."""
        return self._pixels[row : row + rows, column : column + columns]


class SegmentedSource:
    """A TIFF page whose tiles or strips are decoded when touched; the last few tens of megabytes are kept."""

    def __init__(self, path: Path, page: tifffile.TiffPage) -> None:
        self._path = path
        self._shape = (int(page.imagelength), int(page.imagewidth))
        self._tile_rows, self._tile_columns = segment_shape(page)
        self._tiles_across = -(-self._shape[1] // self._tile_columns)
        self._spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        self._decode = segment_decoder(page)
        self._blank = _white(np.dtype(page.dtype), (self._tile_rows, self._tile_columns, 3))
        self._tile = lru_cache(maxsize=max(16, _CACHE_BYTES // self._blank.nbytes))(self._read_tile)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the samples."""
        return self._blank.dtype

    def read(self, row: int, column: int, rows: int, columns: int) -> Pixels:
        """Return the window, put together from its segments."""
        window = np.empty((rows, columns, 3), dtype=self._blank.dtype)
        for tile_row in range(row // self._tile_rows, (row + rows - 1) // self._tile_rows + 1):
            for tile_column in range(column // self._tile_columns, (column + columns - 1) // self._tile_columns + 1):
                top, left = tile_row * self._tile_rows - row, tile_column * self._tile_columns - column
                target = window[max(top, 0) : top + self._tile_rows, max(left, 0) : left + self._tile_columns]
                tile = self._tile(tile_row * self._tiles_across + tile_column)[max(-top, 0) :, max(-left, 0) :]
                target[...] = tile[: target.shape[0], : target.shape[1]]
        return window

    def _read_tile(self, index: int) -> Pixels:
        """Return one decoded segment; one that the file leaves out is white."""
        offset, count = self._spans[index]
        if count == 0:
            return self._blank
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                data = file.read(count)
        except OSError as error:
            raise InputFileError(f"{self._path} can't be read: {error.strerror}", "check the disk it is on") from error
        if len(data) < count:
            raise InputFileError(f"{self._path} is truncated in tile {index}", "copy the file again")
        try:
            return as_rgb(self._decode(data, index), self._path, floats=True)
        except (ValueError, RuntimeError, cv2.error) as error:
            raise InputFileError(f"{self._path}: tile {index} can't be decoded ({error})", "copy it again") from error


def _white(dtype: DTypeLike, shape: tuple[int, ...]) -> Pixels:
    """Return pixels of the largest value; those of floats are float32."""
    if np.dtype(dtype).kind == "f":
        return np.ones(shape, np.float32)
    return np.full(shape, 255, np.uint8) if dtype == np.uint8 else np.full(shape, 65535, np.uint16)


def as_rgb(pixels: NDArray[np.generic], path: Path, *, floats: bool = False) -> Pixels:
    """Return (rows, columns, 3) from grey, grey+alpha, RGB or RGBA pixels; alpha is laid over white.

    Parameters
    ----------
    floats : bool
        Take float32 and float64 as well, and return float32.

    Raises
    ------
    InputImageError
        For other sample types than uint8 and uint16, and other shapes.
    """
    if floats and pixels.dtype in _FLOATS:
        pixels = pixels.astype(np.float32, copy=False)
    elif pixels.dtype not in (np.uint8, np.uint16):
        raise _foreign_samples(path, pixels.dtype)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise InputImageError(f"{path} has the shape {pixels.shape}", "give one grey, RGB or RGBA image")
    if pixels.shape[2] in (2, 4):
        white = _white(pixels.dtype, (1,)).astype(np.float32)
        alpha = pixels[..., -1:].astype(np.float32) / white
        pixels = pixels[..., :-1]
        if alpha.min() < 1:
            mixed = pixels.astype(np.float32) * alpha + white * (1 - alpha)
            pixels = (mixed if pixels.dtype == np.float32 else np.round(mixed)).astype(pixels.dtype)
    colour: Pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    return colour


def open_pixels(path: Path, *, floats: bool = False) -> tuple[PixelSource, float | None]:
    """Open an image file.

    Parameters
    ----------
    floats : bool
        Take TIFF of floating-point samples as well; their values are as the file has them.

    Returns
    -------
    source : PixelSource
        Full-resolution pixels.
    pixel_size_um : float or None
        What the file says, if it does.

    Raises
    ------
    InputFileError
        A file that is missing, truncated or no image.
    InputImageError
        An image of an unsuitable type, shape or size.
    """
    check_file(path, "image file")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _open_tiff(path, floats)
    return ArraySource(_read_plain(path)), None


def _read_plain(path: Path) -> Pixels:
    """Decode a PNG, JPEG or any other file that Pillow knows, wholly and strictly."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are merely large; what is too large is refused below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            if image.width * image.height > _MOST_PIXELS_IN_MEMORY:
                raise _too_large(path, image.height, image.width)
            image.load()
            if image.format == "PNG" and _png_depth(path) == 16:
                # Pillow keeps 8 of the 16 bits of colour samples; it has only checked the file here.
                return as_rgb(_read_with_opencv(path), path)
            plain = {"1": "L", "P": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB"}.get(image.mode)
            return as_rgb(np.asarray(image.convert(plain) if plain else image), path)
    except Image.DecompressionBombError as error:
        raise InputImageError(f"{path}: {error}", "convert it to a tiled TIFF, which is read in parts") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputFileError(f"{path} can't be read as an image ({error})", _FORMATS) from error


def _png_depth(path: Path) -> int:
    """Return the bits per sample that a PNG's header states."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _read_with_opencv(path: Path) -> NDArray[np.generic]:
    """Decode with OpenCV at the file's own depth and return RGB order."""
    data = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None:
        raise ValueError("OpenCV finds no image in it")
    if data.ndim == 3:
        order = [2, 1, 0] if data.shape[2] == 3 else [2, 1, 0, 3]
        return np.asarray(data[..., order])
    return np.asarray(data)


def _open_tiff(path: Path, floats: bool) -> tuple[PixelSource, float | None]:
    """Open the first image of a TIFF at full resolution."""
    try:
        with tifffile.TiffFile(path) as tiff:
            level = tiff.series[0].levels[0]
            page = level.keyframe
            rows, columns = int(page.imagelength), int(page.imagewidth)
            pixel_size_um = tiff_pixel_size_um(tiff)
            planes = [n for n, axis in zip(level.shape, level.axes, strict=True) if axis not in "YXSC"]
            if np.prod(planes) > 1:
                raise InputImageError(f"{path} holds {planes} planes ({level.axes})", "export one plane as RGB")
            if page.dtype not in (np.uint8, np.uint16) and not (floats and page.dtype in _FLOATS):
                raise _foreign_samples(path, page.dtype)
            ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if max(ends) > path.stat().st_size:
                raise InputFileError(f"{path} is truncated: {max(ends)} bytes expected", "copy the file again")
            if page.photometric not in _PLAIN_PHOTOMETRICS:
                return ArraySource(_read_plain(path)), pixel_size_um
            if len(level.pages) == 1 and page.planarconfig == 1 and _in_segments(page):
                return SegmentedSource(path, page), pixel_size_um
            if rows * columns > _MOST_PIXELS_IN_MEMORY:
                raise _too_large(path, rows, columns)
            try:
                pixels = level.asarray()
            except ValueError:  # a compression that tifffile leaves to a further package
                return ArraySource(as_rgb(_read_with_opencv(path), path, floats=floats)), pixel_size_um
            places = [level.axes.index(axis) for axis in "YX"]
            pixels = np.moveaxis(pixels, places, (0, 1)).reshape(rows, columns, -1)
            return ArraySource(as_rgb(pixels, path, floats=floats)), pixel_size_um
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, RuntimeError, struct.error) as error:
        raise InputFileError(f"{path} can't be read as a TIFF ({error})", _EXPORT_AGAIN) from error


def _in_segments(page: tifffile.TiffPage) -> bool:
    """Tell whether segments are small enough and decode with what is installed, by decoding the first stored one."""
    rows, columns = segment_shape(page)
    if rows * columns * page.samplesperpixel * np.dtype(page.dtype).itemsize > _LARGEST_SEGMENT_BYTES:
        return False
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        if count:
            page.parent.filehandle.seek(offset)
            try:
                segment_decoder(page)(page.parent.filehandle.read(count), index)
            except (ValueError, RuntimeError, IndexError, cv2.error):
                return False
            return True
    return True


def _foreign_samples(path: Path, dtype: object) -> InputImageError:
    """Return the error for samples that are neither bytes nor 16-bit words."""
    return InputImageError(f"{path} holds {dtype} samples", "convert it to 8- or 16-bit unsigned integers")


def _too_large(path: Path, rows: int, columns: int) -> InputImageError:
    """Return the error for an image that would not fit in memory."""
    return InputImageError(
        f"{path} is {columns}x{rows} pixels and can't be read in parts",
        "convert it to a tiled TIFF with JPEG or deflate compression",
    )


def tiff_pixel_size_um(tiff: tifffile.TiffFile) -> float | None:
    """Return the pixel pitch that a TIFF states (OME, Aperio, ImageJ or resolution tags), or None.

    Resolution tags count only where they give a microscope's pitch (below 20 µm): 72 or 300 dpi is a default
    that says nothing. Pixels that are not square have no pitch.
    """
    x_um, y_um = (_pitch_um(tiff, axis) for axis in ("X", "Y"))
    if x_um is None or (y_um is not None and abs(y_um / x_um - 1) > _SQUARE_WITHIN):
        return None
    return x_um


def _positive(stated: object) -> float | None:
    """Return a stated size as a number, None where it is none that a pixel can have."""
    try:
        size = float(str(stated))
    except ValueError:
        return None
    return size if 0 < size < math.inf else None


def _pitch_um(tiff: tifffile.TiffFile, axis: Literal["X", "Y"]) -> float | None:
    """Return the pitch that a TIFF states along an axis; one that does not tell axes apart states both."""
    page = tiff.pages.first
    if tiff.is_ome and tiff.ome_metadata:
        image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        stated = (image[0] if isinstance(image, list) else image)["Pixels"]
        key = f"PhysicalSize{axis}"
        unit_um = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}.get(stated.get(f"{key}Unit", "µm"))
        pitch = _positive(stated.get(key))
        return None if pitch is None or unit_um is None else pitch * unit_um
    for item in page.description.split("|"):
        key, _, value = item.partition("=")
        if key.strip() == "MPP":
            return _positive(value)
    if f"{axis}Resolution" not in page.tags:
        return None
    pixels, units = page.tags[f"{axis}Resolution"].value
    if not pixels or not units:
        return None
    imagej_unit = (tiff.imagej_metadata or {}).get("unit", "")
    if imagej_unit in ("micron", "um", "µm", "\\u00B5m"):
        return float(units / pixels)
    unit = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2
    unit_um = {2: 25400.0, 3: 10000.0}.get(unit)
    if unit_um is None:
        return None
    pitch = unit_um * units / pixels
    return float(pitch) if pitch < 20 else None
