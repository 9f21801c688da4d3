"""The phone scope's light measured into a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilescope.acquire.phone_light import take_light_frames
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.app.pictures.known_light import KnownLight
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import OutputError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.files import file_format
from mobilescope.data.phone_light import PHONE_LIGHT_FORMAT, LightPictures, PhoneLight, write_phone_light
from mobilescope.imaging.flat_field import neutral_gains

LIGHT_FILE = "phone-light.h5"


@dataclass(frozen=True)
class LightFound:
    """What a calibration of the light says.

    Attributes
    ----------
    hot_pixels, dead_pixels : int
        Of the sensor, or, where the phone gives JPEGs, of developed pictures.
    gains : tuple of float
        White balance that makes the clear field neutral.
    corner : float
        Light in the darkest place of the clear field over that in its brightest, green.
    """

    hot_pixels: int
    dead_pixels: int
    gains: tuple[float, float, float]
    corner: float
    frames: int
    pattern: str
    firmware: str
    pictures: LightPictures

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "hot_pixels": self.hot_pixels, "dead_pixels": self.dead_pixels,
            "reference_gains": [round(gain, 5) for gain in self.gains], "corner": round(self.corner, 4),
            "frames": self.frames, "pattern": self.pattern, "firmware": self.firmware, "pictures": self.pictures,
        }


def light_path(instrument: Path | None, config: InstrumentConfig, out: Path | None) -> Path:
    """Return where the file goes: as asked, where the instrument file has it, or beside the instrument file."""
    return out or config.development.calibration or (instrument.parent if instrument else Path()) / LIGHT_FILE


def calibrate_light(
    config: InstrumentConfig,
    path: Path,
    *,
    source: str,
    frames: int,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> LightFound:
    """Take dark frames and a clear field with the phone, and write what they say; an earlier file is replaced.

    Raises
    ------
    DeviceError, InputImageError, UserError
        Frames that can't serve: not dark, not lit, saturated; nothing is written then.
    """
    prepare_file(path)
    if path.exists() and file_format(path) != PHONE_LIGHT_FORMAT:
        raise OutputError(f"{path} is there and is no calibration of the light", "give another --out")
    with build_instruments(config, source=source) as instruments:
        taken = take_light_frames(
            instruments.phone, instruments.blank_slide, frames=frames, on_progress=on_progress, stop=stop
        )
    light = PhoneLight.of(taken.dark, taken.clear, taken.last, frames)
    found = found_in(light)
    write_phone_light(path, light)
    return found


def found_in(light: PhoneLight) -> LightFound:
    """Return what the frames say; InputImageError where they can't serve."""
    known = KnownLight.of(light, {})
    smooth = known.smooth()
    assert smooth is not None  # a calibration has its clear field
    hot, dead = known.defects()
    green = smooth[..., 1]
    return LightFound(
        len(hot), len(dead), neutral_gains(smooth), float(green.min() / green.max()), light.frames,
        light.light.pattern, light.light.firmware, light.pictures,
    )
