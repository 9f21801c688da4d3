"""A camera's frame as Micro-Manager hands it out, made into 8-bit RGB. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import DeviceError


@dataclass(frozen=True)
class FrameFormat:
    """How a camera's frame is laid out in memory.

    Attributes
    ----------
    rows, columns : int
    components : int
        1 for grey, 4 for colour: blue, green, red and an unused one, in this order.
    bytes_per_pixel : int
        Of all components together.
    bit_depth : int
        Bits of a component that carry light.
    """

    rows: int
    columns: int
    components: int
    bytes_per_pixel: int
    bit_depth: int

    @property
    def is_colour(self) -> bool:
        """Whether a pixel has colours."""
        return self.components == 4

    def __str__(self) -> str:
        """Say it for people."""
        kind = "colour" if self.is_colour else "grey"
        return f"{self.columns}x{self.rows} {kind}, {self.bit_depth} bit"


def to_rgb(frame: NDArray[np.generic], layout: FrameFormat) -> NDArray[np.uint8]:
    """Return a frame as RGB, shape (rows, columns, 3), uint8.

    Grey is copied to all three channels. Deeper pixels are scaled so that the greatest value of their bit depth
    becomes 255.

    Parameters
    ----------
    frame : ndarray of any shape and type
        The bytes of the frame, row by row. The Python backend gives (rows, columns), with the components of a colour
        packed into one number; the Java backend a flat array of bytes or shorts.

    Raises
    ------
    DeviceError
        The frame is not as long as its layout says, the layout is none that a microscope's camera has, or a pixel is
        brighter than its bit depth allows.
    """
    width = layout.bytes_per_pixel // max(1, layout.components)
    if layout.components not in (1, 4) or width not in (1, 2) or layout.bytes_per_pixel != width * layout.components:
        raise DeviceError(
            f"the camera gives {layout.components} components in {layout.bytes_per_pixel} bytes a pixel",
            "choose a pixel type of 8 or 16 bit, grey or RGB",
        )
    wanted = layout.rows * layout.columns * layout.bytes_per_pixel
    if frame.nbytes != wanted:
        raise DeviceError(
            f"the camera gave {frame.nbytes} bytes where a frame of {layout} has {wanted}: half a frame, or another's",
            "check the camera's cable, and that nothing else changes its settings",
        )
    octets = np.ascontiguousarray(frame).view(np.uint8).reshape(-1)
    components = octets if width == 1 else octets.view(np.uint16)
    values = components.reshape(layout.rows, layout.columns, layout.components)
    # OpenCV's own conversion is many times faster than strides.
    code = cv2.COLOR_BGRA2RGB if layout.is_colour else cv2.COLOR_GRAY2RGB
    colours = cv2.cvtColor(values, code)
    if width == 1:
        return np.asarray(colours, dtype=np.uint8)
    full = 2**layout.bit_depth - 1
    brightest = int(colours.max())
    if brightest > full:
        raise DeviceError(
            f"the camera says {layout.bit_depth} bit and gives a pixel of {brightest}", "set its bit depth right"
        )
    # In 32 bits, rounded to the nearest.
    return ((colours.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
