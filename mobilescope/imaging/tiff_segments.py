"""Tiles and strips of TIFF pages decoded one by one: JPEG and LZW by OpenCV and Pillow, the others by tifffile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Decoder = Callable[[bytes, int], NDArray[np.generic]]

# Marks the samples of a JPEG stream as RGB: TIFF says so in its own tag and leaves the mark out.
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
_SHORT, _LONG = 3, 4


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return the rows and columns of a page's tiles or strips; its last strip may have fewer rows."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def segment_decoder(page: tifffile.TiffPage) -> Decoder:
    """Return a function from a segment's bytes and number to its pixels (rows, columns[, samples]).

    It raises ValueError for what can't be decoded.
    """
    if page.compression == tifffile.COMPRESSION.JPEG and page.bitspersample == 8:
        return _jpeg_decoder(page)
    if page.compression == tifffile.COMPRESSION.LZW and page.samplesperpixel in (1, 3):
        return _lzw_decoder(page)
    tables = page.jpegtables

    def decode(data: bytes, index: int) -> NDArray[np.generic]:
        pixels, _, _ = page.decode(data, index, jpegtables=tables)
        if pixels is None:
            raise ValueError(f"no pixels in segment {index}")
        return np.asarray(pixels[0])

    return decode


def _jpeg_decoder(page: tifffile.TiffPage) -> Decoder:
    tables = page.jpegtables
    mark = _ADOBE_RGB if page.photometric == tifffile.PHOTOMETRIC.RGB else b""
    head = b"\xff\xd8" + mark + (tables[2:-2] if tables else b"")

    def decode(data: bytes, index: int) -> NDArray[np.generic]:
        return _decoded(head + data[2:], cv2.IMREAD_COLOR, index)

    return decode


def _lzw_decoder(page: tifffile.TiffPage) -> Decoder:
    """Return a decoder that reads each segment as a small TIFF of one strip.

    Pillow reads 8 bits alone, and finds damage; OpenCV reads the others.
    """
    order = page.parent.byteorder
    most_rows, columns = segment_shape(page)

    def decode(data: bytes, index: int) -> NDArray[np.generic]:
        rows = most_rows if page.is_tiled else min(most_rows, int(page.imagelength) - index * most_rows)
        encoded = _tiff_head(page, order, rows, columns, len(data)) + data
        if page.bitspersample != 8:
            return _decoded(encoded, cv2.IMREAD_UNCHANGED, index)
        try:
            with Image.open(BytesIO(encoded)) as image:
                return np.asarray(image)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"no image in segment {index}: {error}") from error

    return decode


def _tiff_head(page: tifffile.TiffPage, order: str, rows: int, columns: int, data_bytes: int) -> bytes:
    """Return what stands before the data in a TIFF of one strip that is compressed as the page's segments are."""
    samples = int(page.samplesperpixel)
    sample_format = {"f": 3, "i": 2}.get(np.dtype(page.dtype).kind, 1)
    entries = [
        (256, _LONG, columns), (257, _LONG, rows), (258, _SHORT, int(page.bitspersample)),
        (259, _SHORT, int(page.compression)), (262, _SHORT, int(page.photometric)), (273, _LONG, 0),
        (277, _SHORT, samples), (278, _LONG, rows), (279, _LONG, data_bytes), (284, _SHORT, 1),
        (317, _SHORT, int(page.predictor)), (339, _SHORT, sample_format),
    ]
    per_sample_at = 8 + 2 + 12 * len(entries) + 4
    data_at = per_sample_at + (2 * 2 * samples if samples > 2 else 0)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8) + struct.pack(f"{order}H", len(entries))
    beside = b""
    for tag, kind, value in entries:
        if tag in (258, 339) and samples > 2:  # one for each sample, which does not fit into an entry
            head += struct.pack(f"{order}HHII", tag, kind, samples, per_sample_at + len(beside))
            beside += struct.pack(f"{order}{samples}H", *[value] * samples)
        elif kind == _SHORT:
            head += struct.pack(f"{order}HHIHH", tag, kind, 1, value, 0)
        else:
            head += struct.pack(f"{order}HHII", tag, kind, 1, data_at if tag == 273 else value)
    return head + struct.pack(f"{order}I", 0) + beside


def _decoded(encoded: bytes, flags: int, index: int) -> NDArray[np.generic]:
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    if pixels is None:
        raise ValueError(f"no image in segment {index}")
    return np.asarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)
