"""Development of a session's phone captures with the settings stored beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.protocols import PhoneCapture
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.raw import develop_srgb


def develop_capture(session: Session, capture: CaptureRecord) -> NDArray[np.uint16]:
    """Return a capture at half size, 16-bit sRGB, (rows, columns, 3); its pixels are twice the Bayer pitch apart."""
    return develop_srgb(
        session.bayer(capture),
        cfa=capture.cfa,
        black_level=capture.black_level,
        white_level=capture.white_level,
        white_balance=capture.white_balance,
    )


def develop_picture(capture: PhoneCapture) -> NDArray[np.uint16]:
    """Return a capture that is not stored yet as `develop_capture` returns it afterwards."""
    return develop_srgb(
        capture.bayer,
        cfa=capture.cfa,
        black_level=capture.black_level,
        white_level=capture.white_level,
        white_balance=capture.white_balance,
    )
