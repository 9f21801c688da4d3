"""A mosaic written in bands reads back whole, in windows and levels; a half one never shows."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
from damage import flip_in_chunk
from session_samples import header

from mobilescope.core.errors import InputFileError, InputImageError, NewerVersionError, OutputError, SessionError
from mobilescope.data.files import open_for_reading
from mobilescope.data.layout import mosaic_path
from mobilescope.data.mosaics import MOSAIC_FORMAT, Mosaic, MosaicWriter
from mobilescope.data.schema import SCHEMA_VERSION
from mobilescope.data.writer import SessionWriter

ROWS, COLUMNS = 1301, 1111
POSITIONS = [[0.0, 0.0], [900.25, 3.5], [-2.0, 921.0]]


@pytest.fixture(scope="module")
def picture():
    generator = np.random.default_rng(5)
    coarse = generator.integers(0, 256, (ROWS // 16 + 1, COLUMNS // 16 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:ROWS, :COLUMNS])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def write(path, picture, covered=None, band=97, stop=None):
    covered = np.ones(picture.shape[:2], bool) if covered is None else covered
    with MosaicWriter(
        path, "lung-1", picture.shape[:2], 0.37, (-12.5, 40.0), {"overlap": 0.1, "version": "0.1.0"}, POSITIONS
    ) as mosaic:
        for top in range(0, len(picture) if stop is None else stop, band):
            mosaic.write_band(picture[top:top + band], covered[top:top + band])


def test_bands_of_any_height_read_back(path, picture):
    for band in (1301, 256, 97):
        write(path, picture, band=band)
        with Mosaic.open(path, "lung-1") as mosaic:
            assert mosaic.shape == (ROWS, COLUMNS)
            np.testing.assert_array_equal(mosaic.read(0, 0, ROWS, COLUMNS), picture)
            np.testing.assert_array_equal(mosaic.read(300, 250, 17, 301), picture[300:317, 250:551])
            assert mosaic.coverage(0, 0, ROWS, COLUMNS).all()


def test_what_belongs_to_a_mosaic_is_kept(path, picture):
    write(path, picture)
    with Mosaic.open(path, "lung-1") as mosaic:
        assert (mosaic.pixel_size_um, mosaic.origin_um) == (0.37, (-12.5, 40.0))
        assert mosaic.provenance == {"overlap": 0.1, "version": "0.1.0"}
        np.testing.assert_array_equal(mosaic.tile_positions_px, POSITIONS)


def test_levels_halve_to_a_small_one_and_stay_in_place(path, picture):
    write(path, picture)
    with Mosaic.open(path, "lung-1") as mosaic:
        assert mosaic.levels == 2
        half = mosaic.read(0, 0, 651, 556, level=1)
        even = picture[:1300, :1110].astype(float)
        expected = (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4
        assert np.abs(half[:650, :555] - expected).max() <= 0.5
        np.testing.assert_array_equal(half[650, 555], picture[1300, 1110])
        np.testing.assert_allclose(mosaic.grid(1).region.x_um, mosaic.grid(0).region.x_um)
        np.testing.assert_allclose(mosaic.grid(1).x_um, -12.5 + 0.37 / 2)
        assert (mosaic.grid(1).rows, mosaic.grid(1).columns) == (651, 556)


def test_uncovered_pixels_do_not_darken_the_edge_of_the_next_level(path, picture):
    covered = np.ones((ROWS, COLUMNS), bool)
    covered[:, 501:] = False
    bright = np.where(covered[..., None], np.uint8(200), np.uint8(0)) * np.ones(3, np.uint8)
    write(path, bright, covered)
    with Mosaic.open(path, "lung-1") as mosaic:
        assert (mosaic.read(0, 250, 50, 1, level=1) == 200).all()
        assert mosaic.coverage(0, 250, 50, 2, level=1)[0].tolist() == [True, False]


def test_windows_may_leave_the_mosaic(path, picture):
    write(path, picture)
    with Mosaic.open(path, "lung-1") as mosaic:
        window = mosaic.read(-3, COLUMNS - 4, 10, 8)
        assert (window[:3] == 0).all()
        assert (window[:, 4:] == 0).all()
        np.testing.assert_array_equal(window[3:, :4], picture[:7, -4:])
        assert not mosaic.coverage(ROWS + 5, 0, 3, 3).any()


def test_an_unfinished_mosaic_leaves_the_earlier_one(path, picture):
    write(path, picture)
    with pytest.raises(SessionError, match="of 1301 rows"):
        write(path, 255 - picture, stop=300)
    with Mosaic.open(path, "lung-1") as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 0, 5, 5), picture[:5, :5])
    assert [entry.name for entry in path.parent.iterdir()] == [mosaic_path(path, "lung-1").name]


def test_bands_of_another_shape_are_refused(path):
    for band, covered in (
        (np.zeros((4, 8, 3), np.uint8), np.ones((4, 8))),
        (np.zeros((4, 9, 3), np.uint16), np.ones((4, 9))),
        (np.zeros((4, 9, 3), np.uint8), np.ones((3, 9))),
        (np.zeros((10, 9, 3), np.uint8), np.ones((10, 9))),
    ):
        with MosaicWriter(path, "lung-1", (9, 9), 1.0, (0, 0), {}, POSITIONS) as mosaic:
            with pytest.raises(InputImageError):
                mosaic.write_band(band, covered)
            mosaic.write_band(np.zeros((9, 9, 3), np.uint8), np.ones((9, 9)))


def test_missing_truncated_foreign_and_newer_mosaics_are_refused(path, picture):
    with pytest.raises(InputFileError, match="stitch the session first"):
        Mosaic.open(path, "lung-1")
    write(path, picture)
    target = mosaic_path(path, "lung-1")
    with open_for_reading(target, MOSAIC_FORMAT, 1):
        pass
    with pytest.raises(InputFileError, match="not a mobilescope-session"):
        open_for_reading(target, "mobilescope-session", 1)
    with pytest.raises(NewerVersionError):
        open_for_reading(target, MOSAIC_FORMAT, 0)
    os.truncate(target, target.stat().st_size - 10)
    with pytest.raises(InputFileError, match="truncated"):
        Mosaic.open(path, "lung-1")
    with pytest.raises(OutputError, match="nowhere"):
        write(path.parent / "nowhere" / "run.h5", picture)


def test_the_session_links_to_its_mosaic(path, picture):
    with SessionWriter.create_or_resume(path, header(), margin_bytes=0):
        pass
    write(path, picture)
    with open_for_reading(path, "mobilescope-session", SCHEMA_VERSION) as file:
        linked = file["derived/mosaic-lung-1"]["levels/0/pixels"]
        np.testing.assert_array_equal(linked[:4], picture[:4])


def test_one_changed_bit_is_found_and_its_place_told(path, picture):
    write(path, picture)
    target = mosaic_path(path, "lung-1")
    with Mosaic.open_file(target) as mosaic:
        assert mosaic.verify() == []
    flip_in_chunk(target, "levels/0/pixels", 6)
    with Mosaic.open_file(target) as mosaic:
        (problem,) = mosaic.verify()
        assert problem.startswith("level 0, rows 256 to 511")
        with pytest.raises(InputFileError, match="levels/0/pixels can't be read") as refused:
            mosaic.read(300, 200, 20, 400)
        assert refused.value.remedy == "stitch the session again"
        np.testing.assert_array_equal(mosaic.read(600, 0, 20, 400), picture[600:620, :400])


@pytest.mark.parametrize("missing", ["provenance", "tile_positions_px", "levels/0/pixels"])
def test_a_mosaic_that_lacks_a_part_is_refused(path, picture, missing):
    write(path, picture)
    target = mosaic_path(path, "lung-1")
    with h5py.File(target, "r+", libver=("v110", "v110")) as file:
        del file[missing]
    with pytest.raises(InputFileError, match="damaged") as refused:
        Mosaic.open(path, "lung-1")
    assert refused.value.remedy == "stitch the session again"
