"""Pyramids of any size: the levels are means of the level above, written in parts, and half a file is never left."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile

from mobilescope.app.mosaics.pyramids import halved, pyramid_sizes, write_pyramid
from mobilescope.app.pictures.picture_notes import read_note
from mobilescope.core.errors import CancelledError, OutputError
from mobilescope.imaging.bands import Piece

NOTE = '{"text": "µ & <b>, \\"quoted\\""}'


def bands(image, heights=(3, 200, 77)):
    row = 0
    for height in itertools.cycle(heights):
        yield Piece(row, 0, image[row : row + height])
        row += height
        if row >= len(image):
            return


def write(path, image, pieces=None, **options):
    settings = {"pixel_size_um": 0.37, "note": NOTE, "summary": "computed"} | options
    write_pyramid(path, pieces or bands(image), image.shape, image.dtype, **settings)


def picture(rows, columns, dtype=np.uint8, seed=0):
    random = np.random.default_rng(seed).random((rows, columns, 3), np.float32)
    return random if dtype == np.float32 else np.round(random * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (513, 700), (1300, 1025)])
def test_levels_are_the_picture_and_its_means(tmp_path, shape, dtype):
    path, image = tmp_path / "slide.ome.tif", picture(*shape, dtype)
    write(path, image)
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert series.axes == "YXS"
        assert [level.shape[:2] for level in series.levels] == pyramid_sizes(*shape)
        found = [level.asarray() for level in series.levels]
        assert all(level.keyframe.is_tiled for level in series.levels)
    np.testing.assert_array_equal(found[0], image)
    for finer, coarser in itertools.pairwise(found):
        padded = np.pad(finer, ((0, finer.shape[0] % 2), (0, finer.shape[1] % 2), (0, 0)), mode="edge")
        blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, 3).astype(np.float64)
        step = 1e-6 if dtype == np.float32 else 0.5
        np.testing.assert_allclose(coarser, blocks.mean(axis=(1, 3)), atol=step)
    assert [path.name for path in tmp_path.iterdir()] == ["slide.ome.tif"]


def test_viewers_find_the_pixel_size_and_the_note(tmp_path):
    path = tmp_path / "slide.ome.tif"
    write(path, picture(700, 600))
    assert read_note(path) == NOTE
    with tifffile.TiffFile(path) as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.37, "µm")
        page = tiff.series[0].levels[1].keyframe
        assert 1e4 * page.tags["XResolution"].value[1] / page.tags["XResolution"].value[0] == pytest.approx(0.74)


def test_without_a_pixel_size_none_is_stated(tmp_path):
    path = tmp_path / "slide.ome.tif"
    write(path, picture(20, 20), pixel_size_um=None)
    with tifffile.TiffFile(path) as tiff:
        assert "PhysicalSizeX" not in tiff.ome_metadata


@pytest.mark.parametrize("failure", [CancelledError("stopped"), KeyboardInterrupt(), RuntimeError("the engine")])
def test_what_stops_it_comes_through_and_leaves_what_was_there(tmp_path, failure):
    path, image = tmp_path / "slide.ome.tif", picture(2000, 600)
    path.write_bytes(b"an earlier file")

    def breaking():
        yield from itertools.islice(bands(image), 9)
        raise failure

    with pytest.raises(type(failure)):
        write(path, image, breaking())
    assert path.read_bytes() == b"an earlier file"
    assert [path.name for path in tmp_path.iterdir()] == ["slide.ome.tif"]


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be made"):
        write(tmp_path / "file" / "slide.ome.tif", picture(20, 20))


def test_halving_rounds_to_nearest():
    np.testing.assert_array_equal(halved(np.array([[[0] * 3, [1] * 3], [[1] * 3, [1] * 3]], np.uint8)), [[[1, 1, 1]]])
    assert halved(np.full((1, 3, 3), 7, np.uint16)).tolist() == [[[7] * 3, [7] * 3]]
