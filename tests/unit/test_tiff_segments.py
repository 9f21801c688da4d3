"""Compressed slides are read in parts: what OpenCV and Pillow wrote comes back, whatever the layout and byte order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mobilescope.core.errors import InputFileError
from mobilescope.imaging.pixel_sources import SegmentedSource, open_pixels
from mobilescope.imaging.tiff_segments import segment_shape

LZW = 5


def picture(dtype=np.uint8, rows=301, columns=203):
    ramp = np.arange(rows * columns * 3).reshape(rows, columns, 3) % 997
    return (ramp / 997).astype(dtype) if dtype == np.float32 else (ramp * (np.iinfo(dtype).max // 250)).astype(dtype)


def write_lzw(path, image, *, rows_per_strip, predictor=2):
    flags = [
        cv2.IMWRITE_TIFF_COMPRESSION, LZW, cv2.IMWRITE_TIFF_PREDICTOR, predictor,
        cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows_per_strip,
    ]
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image, flags)


def read(path):
    source, _ = open_pixels(path, floats=True)
    assert isinstance(source, SegmentedSource)
    return source.read(0, 0, *source.shape)


@pytest.mark.parametrize(("dtype", "predictor"), [(np.uint8, 1), (np.uint8, 2), (np.uint16, 2), (np.float32, 3)])
@pytest.mark.parametrize("rows_per_strip", [17, 1000])
def test_lzw_strips(tmp_path, dtype, predictor, rows_per_strip):
    write_lzw(tmp_path / "slide.tif", picture(dtype), rows_per_strip=rows_per_strip, predictor=predictor)
    np.testing.assert_array_equal(read(tmp_path / "slide.tif"), picture(dtype))


def test_grey_lzw(tmp_path):
    Image.fromarray(picture()[..., 0]).save(tmp_path / "grey.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read(tmp_path / "grey.tif"), np.repeat(picture()[..., :1], 3, axis=-1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lzw_tiles_in_either_byte_order(tmp_path, order, dtype):
    image, tiles = picture(dtype, 96, 128), []
    for row in range(0, 96, 32):
        for column in range(0, 128, 32):
            tile = image[row : row + 32, column : column + 32]
            # LZW knows bytes alone: words of the other order are packed as pairs of bytes.
            plain = np.ascontiguousarray(tile.astype(np.dtype(dtype).newbyteorder(order))).view(np.uint8)
            write_lzw(tmp_path / "tile.tif", plain.reshape(32, -1), rows_per_strip=32, predictor=1)
            with tifffile.TiffFile(tmp_path / "tile.tif") as tiff:
                (offset,), (count,) = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
            tiles.append((tmp_path / "tile.tif").read_bytes()[offset : offset + count])
    path = tmp_path / "slide.tif"
    # The compressed tiles are put where a writer without compression put plain ones.
    with tifffile.TiffWriter(path, byteorder=order) as writer:
        writer.write(image, tile=(32, 32), photometric="rgb")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert all(len(tile) <= count for tile, count in zip(tiles, page.databytecounts, strict=True))
        for offset, tile in zip(page.dataoffsets, tiles, strict=True):
            content[offset : offset + len(tile)] = tile
        compression = page.tags["Compression"].valueoffset
    content[compression : compression + 2] = LZW.to_bytes(2, "little" if order == "<" else "big")
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), image)


def test_a_damaged_segment_is_named(tmp_path):
    path = tmp_path / "slide.tif"
    write_lzw(path, picture(), rows_per_strip=50)
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
        assert segment_shape(tiff.pages[0]) == (50, 203)
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    source, _ = open_pixels(path)
    np.testing.assert_array_equal(source.read(0, 0, 150, 203), picture()[:150])
    with pytest.raises(InputFileError, match=r"slide\.tif: tile 3 can't be decoded"):
        source.read(0, 0, 200, 203)
