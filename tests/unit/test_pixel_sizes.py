"""A written picture tells other programs how large its pixels are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mobilescope.app.pictures.images import write_rgb
from mobilescope.app.pictures.picture_notes import read_note
from mobilescope.imaging.pixel_sources import open_pixels

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
UM_PER_INCH = 25_400


def told_um(path):
    """Return the pixel size that Pillow reads, from dots an inch."""
    with Image.open(path) as image:
        image.load()
        return UM_PER_INCH / image.info["dpi"][0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("pixel_um", [0.37, 0.925, 6.5])
def test_png_jpeg_and_tiff_carry_it_and_the_picture_stays(tmp_path, suffix, pixel_um):
    sized, plain = tmp_path / f"sized{suffix}", tmp_path / f"plain{suffix}"
    write_rgb(sized, PICTURE, pixel_size_um=pixel_um, note="a note")
    write_rgb(plain, PICTURE)
    assert told_um(sized) == pytest.approx(pixel_um, rel=1e-3)
    assert read_note(sized) == "a note"
    np.testing.assert_array_equal(cv2.imread(str(sized)), cv2.imread(str(plain)))


def test_a_jpeg_of_pixels_too_small_for_its_header_is_written_without(tmp_path):
    path = tmp_path / "fine.jpg"
    write_rgb(path, PICTURE, pixel_size_um=0.1)
    with Image.open(path) as image:
        assert image.info["jfif_unit"] == 0


def test_a_tiff_is_in_centimetres(tmp_path):
    path = tmp_path / "picture.tif"
    write_rgb(path, PICTURE, pixel_size_um=0.37)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.get_resolution("MICROMETER") == pytest.approx((1 / 0.37, 1 / 0.37), rel=1e-4)


def stated_um(path, **options):
    tifffile.imwrite(path, PICTURE, photometric="rgb", **options)
    return open_pixels(path)[1]


@pytest.mark.parametrize(
    ("ratio", "pixel_um"), [(1.0, 0.5), (1.004, 0.5), (1.5, None), (0.5, None)],
    ids=["square", "nearly", "wide", "high"],
)
def test_pixels_that_are_not_square_have_no_stated_size(tmp_path, ratio, pixel_um):
    expected = None if pixel_um is None else pytest.approx(pixel_um)
    tags = {"resolution": (20_000, 20_000 / ratio), "resolutionunit": "CENTIMETER"}
    assert stated_um(tmp_path / "tags.tif", **tags) == expected
    ome = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5 * ratio}
    assert stated_um(tmp_path / "picture.ome.tif", metadata=ome) == expected


def test_a_size_along_x_alone_is_taken(tmp_path):
    assert stated_um(tmp_path / "x.ome.tif", metadata={"axes": "YXS", "PhysicalSizeX": 0.5}) == 0.5
    assert stated_um(tmp_path / "none.ome.tif", metadata={"axes": "YXS", "PhysicalSizeX": 0}) is None


@pytest.mark.parametrize("stated", ["0", "-1", "nan", "inf", "about half"])
def test_a_size_that_no_pixel_has_is_not_taken(tmp_path, stated):
    described = {"description": f"Aperio|AppMag = 20|MPP = {stated}", "metadata": None}
    assert stated_um(tmp_path / "aperio.tif", **described) is None
    path = tmp_path / "picture.ome.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 0.123456789012})
    path.write_bytes(path.read_bytes().replace(b"0.123456789012", stated.encode().ljust(14)))
    assert open_pixels(path)[1] is None
