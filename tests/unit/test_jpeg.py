"""Compressing real images to a wanted ratio, and what comes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from phone_pairs import read_rgb

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.jpeg import BEST_QUALITY, compress, compress_to_ratio, decompress, lossless_bytes

IMAGES = ["he_monuseg_train/mr_A7-A13E.tif", "blood/bccd_00012.jpg", "wsi/cmu1_small_region.svs"]


@pytest.fixture(scope="module", params=IMAGES)
def image(request):
    whole = read_rgb(request.param)
    top, left = (whole.shape[0] - 400) // 2, (whole.shape[1] - 480) // 2
    return np.ascontiguousarray(whole[top : top + 400, left : left + 480])


def psnr_db(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


def test_no_quality_comes_closer_to_the_ratio(image):
    ratios = {quality: lossless_bytes(image) / len(compress(image, quality)) for quality in range(1, BEST_QUALITY + 1)}
    for wanted in (4, 10, 21, 60):
        found = compress_to_ratio(image, wanted)
        assert found.ratio == ratios[found.quality] == lossless_bytes(image) / len(found.data)
        assert abs(found.ratio - wanted) == min(abs(ratio - wanted) for ratio in ratios.values())


def test_what_can_not_be_reached_is_told_by_the_result(image):
    most, least = compress_to_ratio(image, 1e6), compress_to_ratio(image, 1.0001)
    assert (most.quality, least.quality) == (1, BEST_QUALITY)
    assert most.ratio < 1e6
    assert least.ratio > 1.0001


def test_the_picture_survives_the_better_the_less_it_shrinks(image):
    lossy = {wanted: decompress(compress_to_ratio(image, wanted).data) for wanted in (4, 21)}
    for decoded in lossy.values():
        assert (decoded.dtype, decoded.shape) == (np.uint8, image.shape)
    assert psnr_db(image, lossy[4]) > psnr_db(image, lossy[21]) > 22


def test_colours_keep_their_order():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 200
    decoded = decompress(compress(image, 90))
    assert np.abs(decoded.astype(int) - image).max() < 8


def test_colour_is_stored_at_half_resolution_as_phones_do(image):
    data = compress(image, 90)
    # The frame header's first component is luminance; its sampling factors are 2 by 2.
    at = data.index(b"\xff\xc0")
    assert data[at + 9] == 3
    assert [data[at + 11 + 3 * component] for component in range(3)] == [0x22, 0x11, 0x11]


def test_the_same_image_gives_the_same_bytes(image):
    assert compress_to_ratio(image, 21) == compress_to_ratio(image.copy(), 21)


def test_lossless_size_is_that_of_the_papers_tiff():
    """R18: 0.1 mm² at 0.404 µm is a TIFF of 1.846 MB on average."""
    side = round((0.1e6**0.5) / 0.404)
    assert lossless_bytes(np.zeros((side, side, 3), np.uint8)) == pytest.approx(1.846e6, rel=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.uint16),
        np.zeros((0, 8, 3), np.uint8), np.zeros((1, 65501, 3), np.uint8),
    ],
    ids=["grey", "alpha", "16 bits", "empty", "too long"],
)
def test_images_that_are_no_rgb_bytes_are_refused(wrong):
    with pytest.raises(InputImageError):
        compress(wrong, 90)


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_bytes_that_are_no_jpeg_are_refused(data):
    with pytest.raises(InputImageError, match="not a JPEG"):
        decompress(data)


def test_opencv_reads_what_is_written(image, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(compress_to_ratio(image, 21).data)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], decompress(path.read_bytes()))
