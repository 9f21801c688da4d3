"""A Bayer frame develops to half its size, each cell to one pixel, whatever the order of its colours."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.raw import cfa_sites, develop_half_size, develop_srgb

ORDERS = ("RGGB", "BGGR", "GRBG", "GBRG")
# Two cells: (red, the two greens, blue) as raw counts between black 64 and white 1024.
CELLS = [(304, (544, 608), 160), (64, (1024, 960), 784)]


def frame(order):
    """Lay the cells out side by side in an order; the greens keep the order of their rows."""
    bayer = np.empty((2, 4), np.uint16)
    for number, (red, greens, blue) in enumerate(CELLS):
        counts = {"R": [red], "G": list(greens), "B": [blue]}
        for place, colour in enumerate(order):
            bayer[place // 2, 2 * number + place % 2] = counts[colour].pop(0)
    return bayer


def levels(**changes):
    return {"black_level": 64, "white_level": 1024, "white_balance": (1.0, 1.0, 1.0), **changes}


@pytest.mark.parametrize("order", ORDERS)
def test_each_cell_becomes_one_pixel(order):
    developed = develop_half_size(frame(order), cfa=order, **levels())
    np.testing.assert_allclose(developed, [[[0.25, (0.5 + 544 / 960) / 2, 0.1], [0, (1 + 896 / 960) / 2, 0.75]]])
    assert developed.dtype == np.float32


@pytest.mark.parametrize("order", ORDERS)
def test_white_balance_goes_to_its_own_colour(order):
    plain = develop_half_size(frame(order), cfa=order, **levels())
    gained = develop_half_size(frame(order), cfa=order, **levels(white_balance=(2.0, 0.5, 1.2)))
    np.testing.assert_allclose(gained, plain * [2.0, 0.5, 1.2], rtol=1e-6)


def test_light_is_clipped_at_black_and_at_white_after_the_gains():
    bayer = np.array([[10, 1023], [1023, 600]], np.uint16)
    developed = develop_half_size(bayer, cfa="RGGB", **levels(white_balance=(1.0, 1.5, 0.5)))
    np.testing.assert_allclose(developed[0, 0], [0, 1, 0.5 * 536 / 960])


def test_the_coded_picture_is_the_developed_one_through_the_transfer():
    picture = develop_srgb(frame("RGGB"), cfa="RGGB", **levels())
    light = np.array([0.25, (0.5 + 544 / 960) / 2, 0.1])
    np.testing.assert_allclose(picture[0, 0], 65535 * (1.055 * light ** (1 / 2.4) - 0.055), atol=2)
    assert picture.dtype == np.uint16


@pytest.mark.parametrize("shape", [(3, 4), (4, 5), (7, 7)])
def test_an_odd_frame_is_refused(shape):
    with pytest.raises(InputImageError, match="even"):
        develop_half_size(np.zeros(shape, np.uint16), cfa="RGGB", **levels())


@pytest.mark.parametrize("order", ["", "RGB", "RGBG!", "RRGB", "rggb", "XXXX"])
def test_an_unknown_order_is_refused(order):
    with pytest.raises(InputImageError, match="colour filter array"):
        cfa_sites(order)


def test_levels_in_the_wrong_order_are_refused():
    with pytest.raises(InputImageError, match="white level"):
        develop_half_size(frame("RGGB"), cfa="RGGB", **levels(black_level=1024))


def test_a_real_frame_develops_the_same_from_either_order(data):
    """One photograph is stored in two mosaics; 14 bit, black at 600."""
    frames = {
        order: np.fromfile(data / "raw" / f"DSC_1339_768x512_{order.lower()}.raw", np.uint16).reshape(512, 768)
        for order in ("RGGB", "BGGR")
    }
    levels = {"black_level": 600, "white_level": 16383, "white_balance": (2.0, 1.0, 1.5)}
    first, second = (develop_srgb(bayer, cfa=order, **levels) for order, bayer in frames.items())
    assert (frames["RGGB"] != frames["BGGR"]).any()
    np.testing.assert_array_equal(first, second)
    assert first.shape == (256, 384, 3)
    assert 0.05 < first.mean() / 65535 < 0.95
