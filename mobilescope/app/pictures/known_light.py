"""What is known of the light that a session's captures were taken in: its own frames of it, else those of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.pictures.light_keeping import check_pictures, even_shape
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputFileError
from mobilescope.data.phone_light import (
    CLEAR_CHANNEL,
    DARK_CHANNEL,
    LightPictures,
    PhoneLight,
    from_quadrants,
    read_phone_light,
)
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.defects import Places, defects_of, smears_of
from mobilescope.imaging.flat_field import clear_light, smooth_light


@dataclass(frozen=True, eq=False)
class KnownLight:
    """Means of dark frames and of a clear field as `PhoneLight` has them, as far as known, and where they come from."""

    pictures: LightPictures
    cfa: str
    black_level: float
    white_level: float
    dark: NDArray[np.float32] | None
    clear: NDArray[np.float32] | None
    source: dict[str, Any]

    @classmethod
    def of(cls, light: PhoneLight, source: dict[str, Any]) -> KnownLight:
        """Return what a calibration knows."""
        levels = float(light.black_level), float(light.white_level)
        return cls(light.pictures, light.cfa, *levels, light.dark, light.clear, source)

    def smooth(self) -> NDArray[np.float32] | None:
        """Return the clear field's light on the lattice of developed pictures; InputImageError where it can't serve."""
        if self.clear is None:
            return None
        if self.pictures == "jpeg":
            return smooth_light(self.clear)
        return clear_light(
            self.clear, cfa=self.cfa, black_level=self.black_level, white_level=self.white_level, dark=self.dark
        )

    def defects(self) -> tuple[Places, Places]:
        """Return hot and dead pixels: of the raw frame, or of the developed picture where that comes from a JPEG."""
        if self.pictures == "jpeg":
            return smears_of(self.dark, self.clear)
        return defects_of(self.dark, self.clear, black_level=self.black_level, white_level=self.white_level)


def known_light(session: Session, first: CaptureRecord, development: DevelopmentConfig) -> KnownLight:
    """Return the session's own dark frames and clear field, else those of the file that the settings name.

    Parameters
    ----------
    first : CaptureRecord
        Tells what the captures are: raw pictures, or JPEGs.

    Raises
    ------
    InputFileError
        They are of another camera or of other pictures, or can't be read.
    """
    pictures: LightPictures = "raw" if first.cfa else "jpeg"
    levels = float(first.black_level), float(first.white_level)
    channels = session.flat_field_channels("phone")
    clear, dark = CLEAR_CHANNEL[pictures], DARK_CHANNEL[pictures]
    if clear in channels or dark in channels:
        digests = {name: channels[each] for name, each in (("dark", dark), ("clear", clear)) if each in channels}
        frames = _kept(session, pictures, dark, channels), _kept(session, pictures, clear, channels)
        return KnownLight(pictures, first.cfa, *levels, *frames, {"session": digests})
    wanted = development.flat_field or development.defects or development.white_balance == "reference"
    nothing = KnownLight(pictures, first.cfa, *levels, None, None, {})
    if development.calibration is None:
        if channels and wanted:
            other: LightPictures = "jpeg" if pictures == "raw" else "raw"
            check_pictures(f"the light that {session.path} keeps", other, pictures)
        return nothing
    light = read_phone_light(development.calibration)
    if light.pictures != pictures and not wanted:
        return nothing
    check_pictures(str(development.calibration), light.pictures, pictures)
    theirs = (light.frame_shape, light.cfa, light.black_level, light.white_level)
    ours = (even_shape(session.header.phone_shape, pictures), first.cfa, first.black_level, first.white_level)
    if theirs != ours:
        raise InputFileError(
            f"{development.calibration} is of another camera: frame, colours, black and white level are "
            f"{theirs}, those of {session.path} {ours}", "give the file of this phone, or none",
        )
    return KnownLight.of(light, {"file": development.calibration.name, "taken_s": light.time_s})


def _kept(
    session: Session, pictures: LightPictures, channel: str, channels: dict[str, str]
) -> NDArray[np.float32] | None:
    """Return a session's own mean, as `PhoneLight` has it."""
    frame = session.flat_field("phone", channel) if channel in channels else None
    return from_quadrants(frame) if frame is not None and pictures == "jpeg" else frame
