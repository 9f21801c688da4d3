"""Whether a capture is as dark or as lit as its light says: what the picture shows, not what the light reports."""

from __future__ import annotations

import numpy as np

from mobilescope.core.errors import DeviceError
from mobilescope.core.protocols import PhoneCapture
from mobilescope.imaging.colour import srgb_decode
from mobilescope.imaging.jpeg import decompress

# Parts of the range between black and white.
_DARKEST_LIT = 0.005
_BRIGHTEST_DARK = 0.01
# The dark's black level is not the same all over, and hot pixels shine; of a lit specimen some part is clear.
_DARK_PERCENTILE = 50.0
_LIT_PERCENTILE = 99.0


def check_dark(capture: PhoneCapture, what: str) -> None:
    """Refuse a dark frame that light got into, as a DeviceError."""
    level = _level(capture, _DARK_PERCENTILE)
    if level > _BRIGHTEST_DARK:
        raise DeviceError(
            f"{what} is not dark: half of the picture is above {level:.1%} of the range",
            "cover the phone scope, then run the same command again",
        )


def check_lit(capture: PhoneCapture, what: str) -> None:
    """Refuse a capture in which nothing is lit though the light says it is on, as a DeviceError."""
    level = _level(capture, _LIT_PERCENTILE)
    if level < _DARKEST_LIT:
        raise DeviceError(
            f"{what} is dark ({level:.2%} of the range), though the light reports that it is on",
            "see whether light reaches the slide, and lengthen the exposure; then run the same command again",
        )


def _level(capture: PhoneCapture, percentile: float) -> float:
    """Return a percentile of the picture's light, from 0 at black to 1 at white."""
    picture = decompress(capture.jpeg) if capture.bayer is None else capture.bayer
    # Two rows of eight have all colours of the mosaic, and take a quarter of the time.
    rows = picture[np.arange(picture.shape[0]) % 8 < 2]
    counts = float(np.percentile(rows, percentile))
    level = (counts - capture.black_level) / (capture.white_level - capture.black_level)
    # Of a JPEG, 1 % of the counts is less than a thousandth of the light: the noise of the dark is more.
    return float(srgb_decode(np.array(level))) if capture.bayer is None else level
