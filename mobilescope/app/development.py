"""What a session's captures are developed with: one white balance for all, defects, and the flat field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.instrument_file import load_instrument
from mobilescope.core.config import validate
from mobilescope.core.development_config import DevelopmentConfig, WhiteBalancePreset
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.data.files import file_state
from mobilescope.data.phone_light import DARK, read_phone_light
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.defects import GREATEST_SHARE, Places, defects_of
from mobilescope.imaging.dng import preset_key
from mobilescope.imaging.flat_field import clear_light, neutral_gains, shading_of
from mobilescope.imaging.white_balance import Gains

_NEUTRAL: Gains = (1.0, 1.0, 1.0)
_TAKE_LIGHT = "take dark frames and a clear field: mobilescope calibrate light"


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is done to each capture of a session.

    Attributes
    ----------
    gains, jpeg_gains : tuple of float
        The white balance of raw frames, and what a phone's JPEG is changed by, which has the phone's own.
    defects : ndarray, shape (n, 2)
        Pixels (row, column) to be replaced.
    shading : ndarray or None
        What evens out the field, see `develop_half_size`.
    provenance : dict
        The same in words and figures, ready for JSON.
    """

    gains: Gains
    jpeg_gains: Gains
    defects: Places
    shading: NDArray[np.float32] | None
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Known:
    """Means of dark frames and of a clear field, counts, and where they come from."""

    dark: NDArray[np.float32] | None
    clear: NDArray[np.float32] | None
    source: dict[str, Any]


def development_of(session: Session) -> DevelopmentConfig:
    """Return how a session's captures are to be developed by the instrument that it was begun with."""
    described = session.header.instrument.get("instrument")
    table = described.get("development") if isinstance(described, dict) else None
    return DevelopmentConfig() if table is None else validate(
        DevelopmentConfig, table, source=str(session.path), prefix="instrument.development"
    )


def asked_development(
    path: Path, instrument: Path | None, white_balance: str | None, crops: str | None
) -> DevelopmentConfig:
    """Return how a session is to be developed: as asked, else as an instrument file given says, else as the session.

    Raises
    ------
    UserError
        The session or the instrument file can't be read, or no such white balance or crops exist.
    """
    if instrument is not None:
        base = load_instrument(instrument).development
    else:
        with Session.open(path) as session:
            base = development_of(session)
    asked: dict[str, Any] = {} if crops is None else {"crops": crops}
    if white_balance is not None:
        asked["white_balance"] = parse_white_balance(white_balance)
    return validate(DevelopmentConfig, base.model_dump() | asked, source="development")


def parse_white_balance(text: str) -> str | Gains:
    """Return a white balance as people type it: a preset's name, or gains of red, green and blue by commas."""
    if text in get_args(WhiteBalancePreset):
        return text
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        known = ", ".join(get_args(WhiteBalancePreset))
        raise UserError(f"there is no white balance {text!r}", f"give {known}, or gains: 2.1,1,1.5") from error
    return red, green, blue


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
    known = _known(session, first, development) if first.cfa else _Known(None, None, {})
    light: NDArray[np.float32] | None = None
    levels = {"black_level": float(first.black_level), "white_level": float(first.white_level)}
    if known.clear is not None and (development.flat_field or development.white_balance == "reference"):
        light = clear_light(known.clear, cfa=first.cfa, dark=known.dark, **levels)
    dark, clear = (known.dark, known.clear) if development.defects else (None, None)
    hot, dead = defects_of(dark, clear, **levels)
    defects = np.concatenate([hot, dead])
    frame = session.header.phone_shape
    if len(defects) > GREATEST_SHARE * frame[0] * frame[1]:
        raise InputImageError(
            f"{len(defects)} of {frame[0] * frame[1]} pixels look defective by the dark frames and the clear field",
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
        gains, _NEUTRAL if isinstance(development.white_balance, str) else gains, defects,
        shading_of(light) if light is not None and evened else None, provenance,
    )


def _known(session: Session, first: CaptureRecord, development: DevelopmentConfig) -> _Known:
    """Return the session's own dark frames and clear field, else those of the file that the settings name."""
    channels = session.flat_field_channels("phone")
    if channels:
        return _Known(
            session.flat_field("phone", DARK) if DARK in channels else None,
            session.flat_field("phone") if "" in channels else None,
            {"session": {name or "clear": digest for name, digest in channels.items() if name in ("", DARK)}},
        )
    if development.calibration is None:
        return _Known(None, None, {})
    light = read_phone_light(development.calibration)
    theirs = (light.clear.shape, light.cfa, light.black_level, light.white_level)
    ours = (session.header.phone_shape, first.cfa, first.black_level, first.white_level)
    if theirs != ours:
        raise InputFileError(
            f"{development.calibration} is of another camera: frame, colours, black and white level are "
            f"{theirs}, those of {session.path} {ours}", "give the file of this phone, or none",
        )
    return _Known(light.dark, light.clear, {"file": development.calibration.name, "taken_s": light.time_s})


def _gains(first: CaptureRecord, development: DevelopmentConfig, light: NDArray[np.float32] | None) -> Gains:
    """Return the gains that hold for the whole session."""
    wanted = development.white_balance
    if not isinstance(wanted, str):
        return wanted
    if wanted == "camera" or first.settings.get("white_balance") == wanted:
        return first.white_balance if first.cfa else _NEUTRAL
    if not first.cfa:
        raise UserError(
            f"white_balance = {wanted!r}: this phone gives no raw pictures", 'take "camera", or gains as numbers'
        )
    if wanted == "reference":
        if light is None:
            raise UserError("white_balance = 'reference': there is no clear field", _TAKE_LIGHT)
        return neutral_gains(light)
    written = first.settings.get(preset_key(wanted))
    if written is None:
        raise UserError(
            f"white_balance = {wanted!r}: {first.device} does not tell its gains for that",
            'take "camera" or "reference", or gains as numbers',
        )
    red, green, blue = (float(gain) for gain in written.split(","))
    return red, green, blue
