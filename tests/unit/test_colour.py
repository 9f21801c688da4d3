"""Colour against figures from elsewhere: the sRGB standard, published Lab values, CIE-94 by its own formula."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import (
    ColourMatrix,
    cie94,
    decode_8bit,
    encode_8bit,
    encode_16bit,
    lit_channel,
    luminance,
    srgb_decode,
    srgb_encode,
    to_float,
    to_uint8,
)

# CIE Lab of the sRGB primaries under D65 (IEC 61966-2-1 matrix, 2 degree observer), as colour calculators give them.
LAB = {
    "white": (100.0, 0.0, 0.0), "black": (0.0, 0.0, 0.0), "red": (53.2408, 80.0925, 67.2032),
    "green": (87.7347, -86.1827, 83.1793), "blue": (32.2970, 79.1875, -107.8602),
}
RGB = {
    "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}


def iec_encode(light):
    """IEC 61966-2-1, in double precision."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055)


def cie94_by_formula(reference, sample):
    """CIE 116-1995 with the graphic arts weights: K_L = 1, K1 = 0.045, K2 = 0.015, chroma of the reference."""
    (light_1, a_1, b_1), (light_2, a_2, b_2) = reference, sample
    chroma_1, chroma_2 = np.hypot(a_1, b_1), np.hypot(a_2, b_2)
    d_light, d_chroma = light_1 - light_2, chroma_1 - chroma_2
    d_hue_squared = max(0.0, (a_1 - a_2) ** 2 + (b_1 - b_2) ** 2 - d_chroma**2)
    s_chroma, s_hue = 1 + 0.045 * chroma_1, 1 + 0.015 * chroma_1
    return np.sqrt(d_light**2 + (d_chroma / s_chroma) ** 2 + d_hue_squared / s_hue**2)


def lab_by_formula(rgb):
    rgb = np.asarray(rgb, dtype=np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ linear / np.array([0.95047, 1.0, 1.08883])
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def patch(*rgb):
    return np.full((2, 3, 3), rgb, dtype=np.float32)


def test_the_transfer_is_that_of_the_standard():
    light = np.concatenate([np.linspace(0, 0.01, 500), np.linspace(0, 1, 1000), [0.0031308]])
    np.testing.assert_allclose(srgb_encode(light), iec_encode(light), atol=2e-6)
    assert srgb_encode(np.array([0.0, 0.18, 0.2140, 1.0])) == pytest.approx([0.0, 0.4614, 0.5, 1.0], abs=1e-4)


def test_decoding_inverts_encoding():
    value = np.linspace(0, 1, 4001)
    np.testing.assert_allclose(srgb_encode(srgb_decode(value)), value, atol=2e-6)


def test_light_outside_the_range_is_clipped():
    np.testing.assert_allclose(srgb_encode(np.array([-0.5, 1.5])), [0, 1], atol=1e-6)
    np.testing.assert_array_equal(encode_8bit(np.array([-0.5, 1.5])), [0, 255])
    np.testing.assert_array_equal(encode_16bit(np.array([-0.5, 1.5])), [0, 65535])


def test_the_tables_follow_the_formula():
    light = np.random.default_rng(0).uniform(0, 1, 100_000) ** 3
    assert np.abs(encode_8bit(light) - 255 * iec_encode(light)).max() <= 1
    # A step of the 16-bit table is 12.92 counts in the linear part.
    assert np.abs(encode_16bit(light) - 65535 * iec_encode(light)).max() <= 7
    assert (encode_8bit(light).dtype, encode_16bit(light).dtype) == (np.uint8, np.uint16)


def test_every_byte_survives_decoding_and_encoding():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(encode_8bit(decode_8bit(every)), every)


def test_images_of_every_stored_type_become_floats():
    assert to_float(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert to_float(np.array([0, 65535], np.uint16)).tolist() == [0, 1]
    for kind in (np.float16, np.float32, np.float64):
        assert to_float(np.array([0.25], kind)).dtype == np.float32
    for kind in (np.int32, np.bool_, np.uint32):
        with pytest.raises(InputImageError, match=np.dtype(kind).name):
            to_float(np.zeros(3, kind))


def test_bytes_are_rounded_and_clipped():
    np.testing.assert_array_equal(to_uint8(np.array([-1, 0.4 / 255, 0.6 / 255, 0.5, 2])), [0, 0, 1, 128, 255])


def test_luminance_has_the_weights_of_bt601():
    colours = np.array([RGB[name] for name in ("red", "green", "blue", "white")])
    np.testing.assert_allclose(luminance(colours), [0.299, 0.587, 0.114, 1.0], rtol=1e-6)


def test_the_formula_of_this_test_gives_a_published_difference():
    # Lab pair and value as in the colormath library's documentation of CIE-94, graphic arts.
    assert cie94_by_formula((0.9, 16.3, -2.22), (0.7, 14.2, -1.80)) == pytest.approx(1.249, abs=5e-4)


@pytest.mark.parametrize("reference", RGB)
@pytest.mark.parametrize("sample", RGB)
def test_cie94_of_the_primaries(reference, sample):
    expected = cie94_by_formula(LAB[reference], LAB[sample])
    # White points are published with four to six digits, which leaves a few hundredths.
    np.testing.assert_allclose(cie94(patch(*RGB[reference]), patch(*RGB[sample])), expected, atol=0.05)


def test_cie94_weighs_by_the_chroma_of_its_first_image():
    red, white = patch(1, 0, 0), patch(1, 1, 1)
    # Against white no chroma is forgiven: sqrt(46.76² + 104.55²); against red it is divided by 1 + 0.045 · 104.55.
    assert cie94(white, red).mean() == pytest.approx(114.53, abs=0.05)
    assert cie94(red, white).mean() == pytest.approx(50.23, abs=0.05)


def test_cie94_of_random_colours():
    generator = np.random.default_rng(4)
    first, second = generator.uniform(0, 1, (2, 6, 5, 3)).astype(np.float32)
    expected = [
        cie94_by_formula(lab_by_formula(a), lab_by_formula(b))
        for a, b in zip(first.reshape(-1, 3), second.reshape(-1, 3), strict=True)
    ]
    found = cie94(first, second)
    np.testing.assert_allclose(found.ravel(), expected, atol=0.02)
    assert found.shape == (6, 5)
    np.testing.assert_allclose(cie94(first, first), 0, atol=1e-4)


def test_a_colour_matrix_is_recovered():
    generator = np.random.default_rng(1)
    matrix = np.array([[0.7, 0.2, 0.0, 0.05], [0.1, 0.6, 0.1, 0.02], [0.0, 0.3, 0.5, 0.1]])
    source = generator.uniform(0, 1, (40, 30, 3))
    target = source @ matrix[:, :3].T + matrix[:, 3]
    fitted = ColourMatrix.fit(source, target)
    np.testing.assert_allclose(fitted.matrix, matrix, atol=1e-9)
    np.testing.assert_allclose(fitted.apply(source), target, atol=1e-6)


def test_a_colour_matrix_keeps_its_output_in_range():
    stretch = ColourMatrix(np.column_stack([3 * np.eye(3), [-1, -1, -1]]))
    np.testing.assert_allclose(stretch.apply(patch(0.1, 0.5, 0.9))[0, 0], [0, 0.5, 1])


@pytest.mark.parametrize(
    ("colour", "channel"), [((200, 180, 160), 1), ((230, 90, 200), 1), ((200, 3, 2), 0), ((0, 20, 250), 2)]
)
def test_a_picture_is_judged_in_green_unless_its_light_has_none(colour, channel):
    assert lit_channel(np.full((16, 16, 3), colour, np.uint8)) == channel
