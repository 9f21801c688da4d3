"""Frames that are given to a session, held against what its header says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.core.protocols import PhoneCapture
from mobilescope.data.jpeg_header import jpeg_shape


def frame_of(array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """Return a contiguous frame of a type and shape; InputImageError for another."""
    if array.dtype != dtype or array.shape != shape:
        raise InputImageError(
            f"{what} must be {np.dtype(dtype)} of shape {shape}, got {array.dtype} of {array.shape}",
            "the session's header holds the frame shapes",
        )
    return np.ascontiguousarray(array)


def raw_frame(capture: PhoneCapture, shape: tuple[int, int]) -> NDArray[Any]:
    """Return what a session stores of a capture's raw frame, (rows, columns), uint16: zeros where it has a JPEG alone.

    Raises
    ------
    InputImageError
        The raw frame, or the JPEG without one, is not of the session's shape.
    """
    if capture.bayer is not None:
        return frame_of(capture.bayer, np.uint16, shape, "a phone's raw frame")
    if capture.cfa:
        raise InputImageError(f"a capture without a raw frame states the colour filters {capture.cfa}")
    given = jpeg_shape(capture.jpeg)
    if given != shape:
        raise InputImageError(
            f"a phone's JPEG must be of shape {shape}, got {given}",
            "the session's header holds the frame shapes; set the phone back to the size that it was begun with",
        )
    return np.zeros(shape, np.uint16)
