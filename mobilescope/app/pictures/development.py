"""What a session's captures are developed with: one white balance for all, defects, and the flat field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pictures.known_light import known_light
from mobilescope.core.config import validate
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.data.files import file_state
from mobilescope.data.phone_light import LightPictures
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.defects import GREATEST_SHARE, Places
from mobilescope.imaging.dng import preset_key
from mobilescope.imaging.flat_field import neutral_gains, shading_of
from mobilescope.imaging.white_balance import Gains

_NEUTRAL: Gains = (1.0, 1.0, 1.0)
_NO_PLACES: Places = np.empty((0, 2), dtype=np.intp)
_TAKE_LIGHT = "take dark frames and a clear field: mobilescope calibrate light"


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is done to each capture of a session.

    Attributes
    ----------
    pictures : {"raw", "jpeg"}
        Which captures gains, defects and shading are for: all of a phone's JPEGs where it gives no raw pictures.
    gains : tuple of float
        The white balance; of JPEGs, what their own is changed by.
    jpeg_gains : tuple of float
        The same of a JPEG that was taken among raw pictures; nothing else is done to it.
    defects : ndarray, shape (n, 2)
        Pixels (row, column) to be replaced, see `KnownLight.defects`.
    shading : ndarray or None
        What evens out the field, see `develop_half_size` and `halve_srgb`.
    provenance : dict
        The same in words and figures, ready for JSON.
    """

    pictures: LightPictures
    gains: Gains
    jpeg_gains: Gains
    defects: Places
    shading: NDArray[np.float32] | None
    provenance: dict[str, Any]


def development_of(session: Session) -> DevelopmentConfig:
    """Return how a session's captures are to be developed by the instrument that it was begun with."""
    described = session.header.instrument.get("instrument")
    table = described.get("development") if isinstance(described, dict) else None
    return DevelopmentConfig() if table is None else validate(
        DevelopmentConfig, table, source=str(session.path), prefix="instrument.development"
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """The last recipe: of which state of its files, and of what in them."""

    state: tuple[Any, ...]
    origin: tuple[Any, ...]
    recipe: Recipe


_last: _Found | None = None


def recipe_of(session: Session, development: DevelopmentConfig) -> Recipe:
    """Return what is done to the captures of a session.

    Raises
    ------
    UserError
        A white balance that this phone does not know.
    InputFileError, InputImageError
        Dark frames or a clear field that can't be read, are of another camera, or can't serve.
    """
    global _last
    path, known = session.path.absolute(), _last
    light = () if development.calibration is None else file_state(development.calibration)
    state = file_state(path), light, development
    if known is not None and known.state == state:
        return known.recipe
    # A session that is being written changes all the time, what its recipe is made of does not.
    first = _leading_capture(session)
    channels = session.flat_field_channels("phone")
    origin = path, first.sha256, first.jpeg_sha256, tuple(sorted(channels.items())), light, development
    recipe = known.recipe if known is not None and known.origin == origin else _recipe(session, first, development)
    _last = _Found(state, origin, recipe)
    return recipe


def _leading_capture(session: Session) -> CaptureRecord:
    """Return the capture that says what raw frames are developed with: the first raw one, if there is any."""
    captures = [capture for slide in session.slides for capture in session.captures(slide.name)]
    if not captures:
        raise InputFileError(f"{session.path} has no phone captures", "capture its slides first")
    return next((capture for capture in captures if capture.cfa), captures[0])


def _recipe(session: Session, first: CaptureRecord, development: DevelopmentConfig) -> Recipe:
    known = known_light(session, first, development)
    light: NDArray[np.float32] | None = None
    if development.flat_field or development.white_balance == "reference":
        light = known.smooth()
    hot, dead = known.defects() if development.defects else (_NO_PLACES, _NO_PLACES)
    defects = np.concatenate([hot, dead])
    rows, columns = session.header.phone_shape
    pixels = rows * columns if known.pictures == "raw" else (rows // 2) * (columns // 2)
    if len(defects) > GREATEST_SHARE * pixels:
        raise InputImageError(
            f"{len(defects)} of {pixels} pixels look defective by the dark frames and the clear field",
            "take them again, or set defects = false",
        )
    gains = _gains(first, development, light)
    evened = light is not None and development.flat_field
    provenance = {
        "white_balance": development.white_balance, "gains": [round(gain, 6) for gain in gains],
        "crops": development.crops, "flat_field": evened, "hot_pixels": len(hot), "dead_pixels": len(dead),
        "light": known.source, "settings": development.model_dump(mode="json", exclude_none=True),
    }
    return Recipe(
        known.pictures, gains, _NEUTRAL if isinstance(development.white_balance, str) else gains, defects,
        shading_of(light) if light is not None and evened else None, provenance,
    )


def _gains(first: CaptureRecord, development: DevelopmentConfig, light: NDArray[np.float32] | None) -> Gains:
    """Return the gains that hold for the whole session."""
    wanted = development.white_balance
    if not isinstance(wanted, str):
        return wanted
    if wanted == "camera" or first.settings.get("white_balance") == wanted:
        return first.white_balance if first.cfa else _NEUTRAL
    if wanted == "reference":
        if light is None:
            raise UserError("white_balance = 'reference': there is no clear field", _TAKE_LIGHT)
        return neutral_gains(light)
    if not first.cfa:
        raise UserError(
            f"white_balance = {wanted!r}: this phone gives no raw pictures, and its JPEGs don't tell its gains",
            'take "camera" or "reference", or gains as numbers',
        )
    written = first.settings.get(preset_key(wanted))
    if written is None:
        raise UserError(
            f"white_balance = {wanted!r}: {first.device} does not tell its gains for that",
            'take "camera" or "reference", or gains as numbers',
        )
    red, green, blue = (float(gain) for gain in written.split(","))
    return red, green, blue
