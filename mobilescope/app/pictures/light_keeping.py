"""The frames of a phone's light calibration, kept in sessions so that each of them is whole without the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError
from mobilescope.data.phone_light import (
    CLEAR_CHANNEL,
    DARK_CHANNEL,
    LightPictures,
    PhoneLight,
    in_quadrants,
    read_phone_light,
)
from mobilescope.data.writer import SessionWriter

_NAMES: dict[LightPictures, str] = {"raw": "raw pictures", "jpeg": "JPEGs"}


def keep_light(writer: SessionWriter, calibration: Path | None, pictures: LightPictures | None = None) -> None:
    """Copy a calibration's frames into a session that has none of its own.

    Parameters
    ----------
    pictures : {"raw", "jpeg"}, optional
        What the phone's captures will be, where that is known.

    Raises
    ------
    InputFileError
        The file can't be read, or is of a phone with another sensor or other pictures.
    """
    kinds = list(CLEAR_CHANNEL) if pictures is None else [pictures]
    if calibration is None or any(writer.has_flat_field("phone", CLEAR_CHANNEL[kind]) for kind in kinds):
        return
    light = fitting_light(calibration, writer.header.phone_shape, pictures)
    # The clear field last: with it the session has both.
    if not writer.has_flat_field("phone", DARK_CHANNEL[light.pictures]):
        writer.add_flat_field("phone", _framed(light.dark, writer), DARK_CHANNEL[light.pictures])
    writer.add_flat_field("phone", _framed(light.clear, writer), CLEAR_CHANNEL[light.pictures])
    writer.add_event("info", f"light of the phone scope from {calibration.name}, taken with {light.device}")


def fitting_light(calibration: Path, phone_shape: tuple[int, int], pictures: LightPictures | None = None) -> PhoneLight:
    """Read a calibration; raises as `keep_light` does."""
    light = read_phone_light(calibration)
    check_pictures(str(calibration), light.pictures, pictures)
    if light.frame_shape != even_shape(phone_shape, light.pictures):
        raise InputFileError(
            f"{calibration} is of a phone with frames of {light.frame_shape}, this one has {phone_shape}",
            "calibrate the light of this phone, at the resolution of its captures",
        )
    return light


def even_shape(phone_shape: tuple[int, int], pictures: LightPictures) -> tuple[int, int]:
    """Return the frame that a light is compared by: of a JPEG, an odd last row or column is not developed."""
    rows, columns = phone_shape
    return (rows, columns) if pictures == "raw" else (rows // 2 * 2, columns // 2 * 2)


def check_pictures(what: str, taken: LightPictures, wanted: LightPictures | None) -> None:
    """Refuse a light that was taken with other pictures than the captures are."""
    if wanted is not None and taken != wanted:
        raise InputFileError(
            f"{what} was taken with {_NAMES[taken]}, and the phone's captures are {_NAMES[wanted]}",
            "calibrate the light with the phone set as it captures, or set flat_field = false and defects = false",
        )


def told_pictures(phone: Mapping[str, Any]) -> LightPictures | None:
    """Return what a phone's captures are by its table `[phone]`; None where only the captures tell."""
    kind = phone.get("kind")
    if kind in ("webcam", "stream"):
        return "jpeg"
    if kind in ("twin", "folder", "adb"):
        return "jpeg" if phone.get("pictures") == "jpeg" else "raw"
    return None


def _framed(frame: NDArray[np.float32], writer: SessionWriter) -> NDArray[np.float32]:
    """Return a frame in the shape that a session has for flat fields."""
    return frame if frame.ndim == 2 else in_quadrants(frame, writer.header.phone_shape)
