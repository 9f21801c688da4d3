"""The frames of a phone's light calibration, kept in sessions so that each of them is whole without the file."""

from __future__ import annotations

from pathlib import Path

from mobilescope.core.errors import InputFileError
from mobilescope.data.phone_light import DARK, PhoneLight, read_phone_light
from mobilescope.data.writer import SessionWriter


def keep_light(writer: SessionWriter, calibration: Path | None) -> None:
    """Copy a calibration's frames into a session that has none of its own.

    Raises
    ------
    InputFileError
        The file can't be read, or is of a phone with another sensor.
    """
    if calibration is None or writer.has_flat_field("phone"):
        return
    light = fitting_light(calibration, writer.header.phone_shape)
    # The clear field last: with it the session has both.
    if not writer.has_flat_field("phone", DARK):
        writer.add_flat_field("phone", light.dark, DARK)
    writer.add_flat_field("phone", light.clear)
    writer.add_event("info", f"light of the phone scope from {calibration.name}, taken with {light.device}")


def fitting_light(calibration: Path, phone_shape: tuple[int, int]) -> PhoneLight:
    """Read a calibration; raises as `keep_light` does."""
    light = read_phone_light(calibration)
    if light.clear.shape != phone_shape:
        raise InputFileError(
            f"{calibration} is of a phone with frames of {light.clear.shape}, this one has {phone_shape}",
            "calibrate the light of this phone",
        )
    return light
