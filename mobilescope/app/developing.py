"""Development of phone captures with the settings stored beside them: half size, 16-bit sRGB.

Pixels are twice the Bayer pitch apart. Of a phone that gives no raw frame, the JPEG is brought to the same lattice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.protocols import PhoneCapture
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.jpeg import decompress
from mobilescope.imaging.raw import develop_srgb, halve_srgb


def develop_capture(session: Session, capture: CaptureRecord) -> NDArray[np.uint16]:
    """Return a session's capture, shape (rows, columns, 3)."""
    if not capture.cfa:
        return halve_srgb(decompress(session.jpeg(capture)))
    return _developed(session.bayer(capture), capture)


def develop_fresh(capture: PhoneCapture) -> NDArray[np.uint16]:
    """Return a capture that was just taken, shape (rows, columns, 3)."""
    if capture.bayer is None:
        return halve_srgb(decompress(capture.jpeg))
    return _developed(capture.bayer, capture)


def _developed(bayer: NDArray[np.uint16], settings: CaptureRecord | PhoneCapture) -> NDArray[np.uint16]:
    return develop_srgb(
        bayer,
        cfa=settings.cfa,
        black_level=settings.black_level,
        white_level=settings.white_level,
        white_balance=settings.white_balance,
    )
