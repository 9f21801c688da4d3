"""Pictures of every kind give the right pixels, or are refused with what is wrong and what to do."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from small_models import save_small_model

from mobilescope.app.enhancement.enhancing import EnhanceOptions, enhance_path
from mobilescope.app.pictures.images import open_picture, read_rgb, write_rgb
from mobilescope.core.errors import InputFileError, InputImageError, MobilescopeError


def picture(rows=33, columns=21, top=255):
    ramp = np.arange(rows * columns * 3).reshape(rows, columns, 3)
    return np.round(ramp / ramp.max() * top).astype(np.uint8 if top == 255 else np.uint16)


def grey_png(path):
    cv2.imwrite(str(path), picture()[..., 0])
    return np.repeat(picture()[..., :1], 3, axis=-1)


def rgba_png(path):
    alpha = np.full((33, 21, 1), 255, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.concatenate([picture(), alpha], axis=-1)).save(path)
    return np.where(alpha == 0, np.uint8(255), picture())


def deep_png(path):
    write_rgb(path, picture(top=65535))
    return picture(top=65535)


def palette_png(path):
    image = picture() // 128 * 200
    Image.fromarray(image).quantize(8).save(path)
    return image


def deep_tiff(path):
    tifffile.imwrite(path, picture(top=65535), photometric="rgb", byteorder=">")
    return picture(top=65535)


def float_tiff(path):
    tifffile.imwrite(path, picture() / 255.0, photometric="rgb")
    return (picture() / 255).astype(np.float32)


def one_pixel(path):
    write_rgb(path, picture(1, 1))
    return picture(1, 1)


def one_row(path):
    write_rgb(path, picture(1, 31))
    return picture(1, 31)


GOOD = {
    "grey.png": grey_png, "rgba.png": rgba_png, "deep.png": deep_png, "palette.png": palette_png,
    "deep.tif": deep_tiff, "float.tif": float_tiff, "pixel.png": one_pixel, "row.tif": one_row,
}


@pytest.mark.parametrize("name", GOOD)
def test_pictures_are_read_as_what_they_show_and_enhanced(tmp_path, name):
    expected = GOOD[name](tmp_path / name)
    found = read_rgb(tmp_path / name)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    model = save_small_model(tmp_path / "model.pt")
    options = EnhanceOptions(device="cpu", precision="fp32", engine="torch")
    enhance_path(model, tmp_path / name, tmp_path / "out.tif", options)
    write_rgb(tmp_path / "plain.tif", expected)
    enhance_path(model, tmp_path / "plain.tif", tmp_path / "expected.tif", options)
    enhanced = read_rgb(tmp_path / "out.tif")
    assert enhanced.dtype == expected.dtype
    assert enhanced.shape[:2] == tuple(-(-5 * side // 2) for side in expected.shape[:2])
    np.testing.assert_array_equal(enhanced, read_rgb(tmp_path / "expected.tif"))


def cmyk(path):
    Image.fromarray(picture()).convert("CMYK").save(path)


def animation(path):
    frames = [Image.fromarray(picture() // divisor) for divisor in (1, 2, 3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def half(path):
    write_rgb(path, np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def planes(path):
    tifffile.imwrite(path, np.zeros((5, 20, 20, 3), np.uint8), photometric="rgb")


def huge(path):
    Image.new("1", (20_000, 10_000)).save(path)


def integers(path):
    tifffile.imwrite(path, np.zeros((20, 20, 3), np.int32), photometric="rgb")


BAD = {
    "empty.png": (lambda path: path.touch(), InputFileError, "empty"),
    "empty.tif": (lambda path: path.touch(), InputFileError, "empty"),
    "text.jpg": (lambda path: path.write_text("words"), InputFileError, "can't be read"),
    "text.tif": (lambda path: path.write_text("words"), InputFileError, "can't be read"),
    "half.png": (half, InputFileError, "can't be read"),
    "half.jpg": (half, InputFileError, "truncated"),
    "half.tif": (half, InputFileError, "truncated|can't be read"),
    "cmyk.jpg": (cmyk, InputImageError, "CMYK"),
    "cmyk.tif": (cmyk, InputImageError, "CMYK"),
    "animation.png": (animation, InputImageError, "animation of 3"),
    "huge.png": (huge, InputImageError, "tiled TIFF"),
    "planes.tif": (planes, InputImageError, "5"),
    "integers.tif": (integers, InputImageError, "int32"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_for_us_is_refused_by_name(tmp_path, name):
    make, error, words = BAD[name]
    make(tmp_path / name)
    with pytest.raises(error) as told:
        read_rgb(tmp_path / name)
    assert name in told.value.cause
    assert re.search(words, str(told.value))
    assert "; " in str(told.value), "no way out is named"


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (np.inf, "NaN or infinite"), (200.0, "0–1"), (-1.0, "0–1")]
)
def test_floats_on_another_scale_are_refused_by_name(tmp_path, value, words):
    image = (picture() / 255).astype(np.float32)
    image[3, 4, 1] = value
    tifffile.imwrite(tmp_path / "float.tif", image, photometric="rgb")
    model = save_small_model(tmp_path / "model.pt")
    for target in ("out.png", "out.ome.tif"):
        with pytest.raises(MobilescopeError, match=rf"float\.tif.*{words}"):
            enhance_path(model, tmp_path / "float.tif", tmp_path / target)
        assert not (tmp_path / target).exists()


def test_compressions_of_slides_are_read_without_further_packages(data):
    for name, shape in (("he_monuseg_train/mr_18-5592.tif", (1000, 1000, 3)), ("wsi/cmu1_small_region.svs", None)):
        opened = open_picture(data / name)
        assert shape is None or opened.shape == shape
        assert opened.source.read(10, 20, 30, 40).std() > 0
    assert opened.pixel_size_um == 0.499


@pytest.mark.parametrize("shape", [(1, 60), (60, 1), (1, 1), (3, 3), (4, 50), (50, 4), (50, 80)], ids=str)
def test_colours_in_planes_are_those_of_pixels(tmp_path, shape):
    """A single row in planes came out as a grey picture of three."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(pixels, 2, 0), **options)
    np.testing.assert_array_equal(read_rgb(tmp_path / "planes.tif"), pixels)
