"""Development of phone captures: defects and flat field first, then half size, 16-bit sRGB.

Pixels are twice the Bayer pitch apart. Of a phone that gives no raw frame, the JPEG is brought to the same lattice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pictures.development import Recipe, development_of, recipe_of
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.protocols import PhoneCapture
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.defects import without_defects
from mobilescope.imaging.halving import halve_srgb
from mobilescope.imaging.jpeg import decompress
from mobilescope.imaging.raw import develop_srgb


def develop_capture(
    session: Session, capture: CaptureRecord, development: DevelopmentConfig | None = None
) -> NDArray[np.uint16]:
    """Return a session's capture, whole, shape (rows, columns, 3); developed as the session says unless told."""
    recipe = recipe_of(session, development or development_of(session))
    if not capture.cfa:
        picture = decompress(session.jpeg(capture))
        if recipe.pictures == "raw":
            return halve_srgb(picture, recipe.jpeg_gains)
        return halve_srgb(picture, recipe.gains, defects=recipe.defects, shading=recipe.shading)
    return _developed(session.bayer(capture), capture, recipe)


def _developed(bayer: NDArray[np.uint16], capture: CaptureRecord, recipe: Recipe) -> NDArray[np.uint16]:
    return develop_srgb(
        without_defects(bayer, recipe.defects),
        cfa=capture.cfa,
        black_level=capture.black_level,
        white_level=capture.white_level,
        white_balance=recipe.gains,
        shading=recipe.shading,
    )


def develop_fresh(capture: PhoneCapture) -> NDArray[np.uint16]:
    """Return a capture that was just taken, shape (rows, columns, 3), as the phone says that it is to be developed."""
    if capture.bayer is None:
        return halve_srgb(decompress(capture.jpeg))
    return develop_srgb(
        capture.bayer,
        cfa=capture.cfa,
        black_level=capture.black_level,
        white_level=capture.white_level,
        white_balance=capture.white_balance,
    )
