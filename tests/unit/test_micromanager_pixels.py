"""Frames of every layout that Micro-Manager's cameras have become 8-bit RGB, or are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import DeviceError
from mobilescope.devices.micromanager.pixels import FrameFormat, to_rgb

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
BGRA = np.dstack([RGB[..., ::-1], np.full((2, 3), 77, dtype=np.uint8)])


@pytest.mark.parametrize("frame", [BGRA, BGRA.reshape(-1), BGRA.view("=u4")[..., 0]], ids=["BGRA", "flat", "packed"])
def test_colour_is_blue_first(frame):
    assert np.array_equal(to_rgb(frame, FrameFormat(2, 3, 4, 4, 8)), RGB)


def test_deep_colour_is_scaled():
    deep = BGRA.astype(np.uint16) * 257
    layout = FrameFormat(2, 3, 4, 8, 16)
    assert np.array_equal(to_rgb(deep, layout), RGB)
    assert np.array_equal(to_rgb(deep.view("=u8")[..., 0], layout), RGB)


@pytest.mark.parametrize("depth", [10, 12, 14, 16])
def test_grey_is_scaled_by_its_bit_depth(depth):
    full = 2**depth - 1
    frame = np.array([[0, full // 2, full]], dtype=np.uint16)
    picture = to_rgb(frame, FrameFormat(1, 3, 1, 2, depth))
    assert picture[0, :, 0].tolist() == [0, 127, 255]
    assert (picture == picture[..., :1]).all()


def test_8_bit_grey_is_copied():
    frame = np.array([[3, 250]], dtype=np.uint8)
    assert to_rgb(frame, FrameFormat(1, 2, 1, 1, 8)).tolist() == [[[3] * 3, [250] * 3]]


@pytest.mark.parametrize("frame", [BGRA[:1], BGRA[..., :3], np.tile(BGRA, (2, 1, 1))])
def test_half_frames_are_refused(frame):
    with pytest.raises(DeviceError, match=rf"{frame.nbytes} bytes where a frame of 3x2 colour, 8 bit has 24"):
        to_rgb(frame, FrameFormat(2, 3, 4, 4, 8))


def test_pixels_beyond_their_bit_depth_are_refused():
    with pytest.raises(DeviceError, match="12 bit and gives a pixel of 5000"):
        to_rgb(np.array([[5000]], dtype=np.uint16), FrameFormat(1, 1, 1, 2, 12))


@pytest.mark.parametrize("layout", [(1, 4, 32), (3, 3, 8), (4, 16, 32)])
def test_other_layouts_are_refused(layout):
    with pytest.raises(DeviceError, match="choose a pixel type of 8 or 16 bit"):
        to_rgb(np.zeros(64, dtype=np.uint8), FrameFormat(1, 1, *layout))
