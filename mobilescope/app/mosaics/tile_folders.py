"""Folders of tiles: which file lies where, from a table of positions or a grid, and the tiles' pixels."""

from __future__ import annotations

import csv
import math
import re
import struct
import threading
import warnings
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.imaging.pixel_sources import open_pixels, tiff_pixel_size_um

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

TILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
COLUMNS = ("file", "x_um", "y_um")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_RGB = 0, 2
_CACHE_BYTES = 200_000_000


@dataclass(frozen=True, eq=False)
class TilePlan:
    """Tile files and where the stage says they are.

    Attributes
    ----------
    files : tuple of Path
    nominal_px : ndarray, shape (tiles, 2), float64
        (row, column) of each tile's pixel (0, 0), in any common frame.
    travel : tuple of int
        One label per tile, equal for tiles that the stage reached in the same direction.
    pixel_size_um : float or None
    """

    files: tuple[Path, ...]
    nominal_px: NDArray[np.float64]
    travel: tuple[int, ...]
    pixel_size_um: float | None


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a key by which tile-2 stands before tile-10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts if part]


def tiles_in(folder: Path) -> list[Path]:
    """Return a folder's tile files in natural order; hidden files are not tiles.

    Raises
    ------
    InputFileError
        There is no such folder, or no tile in it.
    """
    if not folder.is_dir():
        raise InputFileError(f"there is no folder {folder}", "check the path")
    found = [
        path for path in folder.iterdir()
        if path.suffix.lower() in TILE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise InputFileError(f"{folder} holds no tile", f"tiles end in {', '.join(TILE_SUFFIXES)}")
    return sorted(found, key=lambda path: natural_key(path.name))


def plan_from_table(
    folder: Path, table: Path, pixel_size_um: float | None, *, option: str = "--pixel-size-um"
) -> TilePlan:
    """Return the plan of a table ``file,x_um,y_um``: stage positions, x right and y down in the image.

    A position is that of a tile's centre, or of any other point that is the same in all tiles, since only their
    differences count. ``option`` is what the pixel size is asked for with.

    Raises
    ------
    InputFileError
        The table is missing, has other columns, names a file twice or one that is not there, or a number is not
        finite.
    UserError
        No pixel size is known.
    """
    if not folder.is_dir():
        raise InputFileError(f"there is no folder {folder}", "check the path")
    rows = read_positions(table)
    files = tuple(folder / name for name, _, _ in rows)
    missing = [name for (name, _, _), file in zip(rows, files, strict=True) if not file.is_file()]
    if missing:
        raise InputFileError(
            f"{table} names {len(missing)} files that are not in {folder}: {_listed(missing)}",
            "copy them there, or take their lines out of the table",
        )
    pixel = pixel_size_um or stated_pixel_size_um(files[0])
    if pixel is None:
        raise UserError(f"the pixel size of {files[0]} is not known", f"give it as {option}")
    nominal = np.array([(y, x) for _, x, y in rows], dtype=np.float64) / pixel
    return TilePlan(files, nominal, _travel(nominal), pixel)


def plan_from_grid(
    folder: Path, rows: int, columns: int, overlap: float, pixel_size_um: float | None
) -> TilePlan:
    """Return the plan of a grid whose tiles, sorted by name, lie row by row from left to right.

    Parameters
    ----------
    overlap : float
        Share of a tile's side that neighbours have in common, 0 to 0.9.

    Raises
    ------
    UserError
        The folder does not hold just as many tiles as the grid.
    """
    files = tuple(tiles_in(folder))
    if len(files) != rows * columns:
        raise UserError(
            f"{folder} holds {len(files)} tiles and a grid of {rows}x{columns} needs {rows * columns}",
            "add what is missing, take out what is no tile, or give the positions in a table (--positions)",
        )
    pitch = np.array(_stated_shape(files[0])) * (1 - overlap)
    nominal = np.array([(row, column) for row in range(rows) for column in range(columns)], dtype=np.float64) * pitch
    travel = tuple(row % 2 for row in range(rows) for _ in range(columns))
    return TilePlan(files, nominal, travel, pixel_size_um or stated_pixel_size_um(files[0]))


def read_positions(table: Path) -> list[tuple[str, float, float]]:
    """Return the lines of a table of positions."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [(name or "").strip() for name in reader.fieldnames or []]
            if any(column not in header for column in COLUMNS):
                raise InputFileError(
                    f"{table} has the columns {', '.join(header) or '(none)'}", f"it needs {', '.join(COLUMNS)}"
                )
            reader.fieldnames = header
            rows = [_table_row(table, reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{table} can't be read ({error})", "give a CSV file with file,x_um,y_um") from error
    if not rows:
        raise InputFileError(f"{table} holds no position", "write one line per tile")
    seen: set[str] = set()
    for name, _, _ in rows:
        if name in seen:
            raise InputFileError(f"{table} names {name} twice", "leave one line per tile")
        seen.add(name)
    return rows


def _table_row(table: Path, line: int, cells: dict[str, str | None]) -> tuple[str, float, float]:
    """Return one line's file, x and y."""
    name = (cells["file"] or "").strip()
    try:
        x_um, y_um = (float(cells[column] or "") for column in COLUMNS[1:])
    except ValueError as error:
        raise InputFileError(f"{table}, line {line}: {error}", "give positions as numbers in µm") from error
    if not name or not (math.isfinite(x_um) and math.isfinite(y_um)):
        raise InputFileError(f"{table}, line {line}: no file name or no finite position", "mend the line")
    return name, x_um, y_um


def _travel(nominal_px: NDArray[np.float64]) -> tuple[int, ...]:
    """Return 1 for tiles reached by a move to the right, else 0; a move down goes on as the row will."""
    labels = [0] * len(nominal_px)
    for k in range(1, len(nominal_px)):
        down, right = nominal_px[k] - nominal_px[k - 1]
        labels[k] = int(right > 0) if abs(right) > abs(down) else -1
    if labels:
        labels[0] = -1
    for k in range(len(labels) - 1, -1, -1):
        if labels[k] < 0:
            labels[k] = labels[k + 1] if k + 1 < len(labels) else 0
    return tuple(labels)


def stated_pixel_size_um(path: Path) -> float | None:
    """Return the pixel size that a TIFF states, None for other files and where it does not."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            return tiff_pixel_size_um(tiff)
    except (tifffile.TiffFileError, OSError, ValueError, KeyError, struct.error):
        return None


def _stated_shape(path: Path) -> tuple[int, int]:
    """Return a tile's rows and columns: from its header, if that is plain."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.height, image.width
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        rows, columns = read_tile(path).shape[:2]
        return int(rows), int(columns)


def read_tile(path: Path) -> Pixels:
    """Read a tile at its own depth, whole and strictly: (rows, columns, 1 or 3), uint8 or uint16.

    Raises
    ------
    InputFileError
        Missing, truncated, or no image.
    InputImageError
        Samples of another type, or a stack of planes.
    """
    try:
        with path.open("rb") as file:
            tiff = file.read(4) in _TIFF_STARTS
        decoded = _read_tiff(path) if tiff else _read_plain(path)
    except FileNotFoundError as error:
        raise InputFileError(f"there is no tile {path}", "check the path") from error
    except (tifffile.TiffFileError, OSError, SyntaxError, ValueError, IndexError, RuntimeError, struct.error) as error:
        raise InputFileError(f"the tile {path} can't be read ({error})", "copy it again, or take it out") from error
    pixels: NDArray[Any] = _as_colour(path) if decoded is None else decoded
    if pixels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise InputImageError(f"{path} holds {pixels.dtype} samples", "convert it to 8- or 16-bit unsigned integers")
    return pixels


def _as_colour(path: Path) -> NDArray[Any]:
    """Decode palettes, transparency and rarer compressions: slower, and always to colour."""
    source, _ = open_pixels(path)
    return source.read(0, 0, *source.shape)


def _read_tiff(path: Path) -> Pixels | None:
    """Decode a plain grey or RGB TIFF of one plane; None for others."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        plain = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
        if not plain or len(tiff.series) != 1 or tiff.series[0].ndim > 3 or page.planarconfig != 1:
            return None
        if max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)) > path.stat().st_size:
            raise InputFileError(f"the tile {path} is truncated", "copy it again, or take it out")
        if (page.ndim == 3 and page.shape[2] != 3) or len(tiff.series[0].pages) != 1:
            return None
        try:
            pixels = page.asarray()
        except ValueError:  # a compression that tifffile leaves to a further package
            return _decode_with_opencv(np.fromfile(path, dtype=np.uint8))
    return np.asarray(pixels.reshape(*pixels.shape[:2], -1))


def _decode_with_opencv(data: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Decode at the file's own depth; None where OpenCV can't, or the picture has transparency."""
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or (pixels.ndim == 3 and pixels.shape[2] != 3):
        return None
    return np.asarray(pixels[..., None] if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1]))


def _read_plain(path: Path) -> Pixels | None:
    """Decode a plain grey or RGB picture; None for others."""
    data = path.read_bytes()
    if _is_plain_png(data):
        # A fifth quicker than Pillow's way, and beside other threads; but of damage OpenCV says nothing.
        decoded = _decode_with_opencv(np.frombuffer(data, dtype=np.uint8))
        if decoded is not None:
            return decoded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I;16") or image.mode == "I":
                return np.asarray(image).astype(np.uint16)[..., None]
            # Of deep colour Pillow keeps 8 bits.
            if image.format == "PNG" and image.mode == "RGB" and data[24] == 16:
                return _decode_with_opencv(np.frombuffer(data, dtype=np.uint8))
            if image.mode not in ("L", "RGB"):
                return None
            pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _is_plain_png(data: bytes) -> bool:
    """Tell whether data are a whole PNG of grey or RGB samples of 8 or 16 bits, checksums included."""
    if data[:8] != _PNG_START or data[12:16] != b"IHDR":
        return False
    depth, colours = data[24], data[25]
    if depth not in (8, 16) or colours not in (_PNG_GREY, _PNG_RGB):
        return False
    view, place = memoryview(data), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(view[place:place + 4], "big")
        kind = bytes(view[place + 4:place + 8])
        if kind == b"tRNS" or zlib.crc32(view[place + 4:end]) != int.from_bytes(view[end:end + 4], "big"):
            return False
        if kind == b"IEND":
            return True
        place = end + 4
    return False


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class TileReader:
    """Reads tiles that must all be alike; the last ones are kept, within some 200 MB. Safe in threads."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self._kept: OrderedDict[int, Pixels] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        first = self._read(0)
        self.shape: tuple[int, int, int] = (int(first.shape[0]), int(first.shape[1]), int(first.shape[2]))
        self.dtype: DTypeLike = first.dtype

    def __call__(self, index: int) -> Pixels:
        """Return a tile, shape ``self.shape``.

        Raises
        ------
        InputImageError
            It differs from the first one in size, channels or depth.
        """
        pixels = self._read(index)
        if pixels.shape != self.shape or pixels.dtype != self.dtype:
            raise InputImageError(
                f"{self.files[index]} is {_described(pixels)}, {self.files[0].name} is {_described(self._read(0))}",
                "tiles of one mosaic have one size, depth and number of channels",
            )
        return pixels

    def _read(self, index: int) -> Pixels:
        with self._lock:
            if index in self._kept:
                return self._kept[index]
        pixels = read_tile(self.files[index])
        pixels.flags.writeable = False
        with self._lock:
            if index not in self._kept:
                self._kept[index] = pixels
                self._bytes += pixels.nbytes
            while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels


def _described(pixels: Pixels) -> str:
    rows, columns, channels = pixels.shape
    return f"{columns}x{rows} px, {'colour' if channels == 3 else 'grey'}, {8 * pixels.dtype.itemsize} bits"
