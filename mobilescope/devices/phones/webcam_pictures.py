"""A camera app's stills over HTTP, with its settings locked, and read back before and after each picture."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from mobilescope.core.errors import DeviceError, InputFileError
from mobilescope.core.phone_config import Still
from mobilescope.core.phone_picture import UNKNOWN_ISO, PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.http_app import HttpApp
from mobilescope.imaging.capture_files import jpeg_picture

# Sensors round an exposure to whole lines, and ISO to their gain's steps.
_ROUNDING = 0.02
# A camera tells its exposure in a picture's notes as a fraction, roundly.
_TOLD_ROUNDLY = 0.1
_TAKES_S = 2.0
_PAUSE_S = 0.1
_LOCKS = {"exposure_ns": "exposure", "iso": "ISO", "whitebalance": "white balance", "focus_distance": "focus"}


def wanted_settings(
    *, exposure_ms: float | None, iso: int | None, white_balance: str | None, focus_distance: float | None,
    further: Mapping[str, str | int | float | bool],
) -> dict[str, str]:
    """Return an app's settings in the order in which they have to be made; ``further`` ones come last."""
    wanted: dict[str, str] = {}
    if exposure_ms is not None or iso is not None:
        wanted["manual_sensor"] = "on"
    if exposure_ms is not None:
        wanted["exposure_ns"] = str(round(exposure_ms * 1e6))
    if iso is not None:
        wanted["iso"] = str(iso)
    if white_balance is not None:
        wanted["whitebalance"] = white_balance
    if focus_distance is not None:
        wanted |= {"focusmode": "off", "focus_distance": f"{focus_distance:g}"}
    return wanted | {key: _as_text(value) for key, value in further.items()}


class WebcamPictures:
    """Implements `PictureSource` over an app that speaks as IP Webcam does.

    Parameters
    ----------
    wanted : dict
        Settings to make and to verify, as `wanted_settings` orders them.
    """

    waits_for_person = False

    def __init__(self, app: HttpApp, *, wanted: Mapping[str, str], still: Still) -> None:
        self._app, self._wanted, self._still = app, dict(wanted), still
        self._locked = False

    @property
    def name(self) -> str:
        """The app's address."""
        return f"camera app at {self._app.shown}"

    def shape(self) -> tuple[int, int]:
        """Return the rows and columns of a still, taken for this."""
        self._lock()
        return self._fetched().shape

    def prepare(self) -> None:
        """Do nothing: a still is taken when it is asked for."""

    def take(self, _stop: StopToken, _known: Collection[str]) -> PhonePicture:
        """Take a still; DeviceError where a setting is another one before or after it."""
        self._lock()
        picture = self._fetched()
        current, _ = self._app.status()
        changed = self._not_taken(current)
        if changed:
            self._locked = False
            raise DeviceError(
                f"{self.name}: {_differences(changed)} when the picture was taken, which is not kept",
                "leave the app's settings alone while captures run, then run the same command again",
            )
        self._check_notes(picture, current)
        open_locks = [name for key, name in _LOCKS.items() if key not in self._wanted]
        facts = {f"app_{key}": current[key] for key in self._wanted} | {
            "verified": " ".join(self._wanted) or "nothing", "not_locked": ", ".join(open_locks) or "nothing",
        } | {f"app_{key}": current[key] for key in ("orientation", "photo_rotation", "zoom") if key in current}
        if math.isnan(picture.exposure_ms) and "exposure_ns" in self._wanted:
            picture = replace(picture, exposure_ms=float(current["exposure_ns"]) / 1e6)
        if picture.iso == UNKNOWN_ISO and "iso" in self._wanted:
            picture = replace(picture, iso=round(float(current["iso"])))
        return replace(picture, facts=picture.facts | facts)

    def close(self) -> None:
        """Nothing is held."""

    def _fetched(self) -> PhonePicture:
        data = self._app.get(f"/{self._still}.jpg")
        try:
            return jpeg_picture(data, f"{self._still}.jpg")
        except InputFileError as error:
            raise DeviceError(
                f"{self.name} sent no whole picture: {error.cause}", "run the same command again"
            ) from error

    def _lock(self) -> None:
        """Make the settings, and wait until the app says that each one took.

        Raises
        ------
        DeviceError
            Names each setting that did not, with what the app offers.
        """
        if self._locked:
            return
        current, offered = self._app.status()
        unknown = [key for key in self._wanted if key not in current]
        if unknown:
            raise DeviceError(
                f"{self.name} has no setting {', '.join(unknown)}",
                "leave it out of the instrument file's [phone], or use an app or phone that has it",
            )
        for key, value in self._wanted.items():
            if not same_value(current[key], value):
                self._app.change(key, value)
        until_s = time.monotonic() + _TAKES_S
        while self._not_taken(current) and time.monotonic() < until_s:
            time.sleep(_PAUSE_S)
            current, offered = self._app.status()
        missed = self._not_taken(current)
        if missed:
            choices = "; ".join(f"{key}: {_listed(offered[key])}" for key in missed if offered.get(key))
            raise DeviceError(
                f"{self.name} did not take its settings: {_differences(missed)}",
                f"it offers {choices}" if choices else "this phone may not have them: leave them out",
            )
        self._locked = True

    def _not_taken(self, current: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Return the settings that are other ones, as (wanted, is)."""
        return {
            key: (value, current.get(key, "gone")) for key, value in self._wanted.items()
            if not same_value(current.get(key, ""), value)
        }

    def _check_notes(self, picture: PhonePicture, current: Mapping[str, str]) -> None:
        """Refuse a picture whose own notes contradict the locked settings: stills may be exposed apart."""
        told = {"exposure_ns": picture.exposure_ms * 1e6, "iso": float(picture.iso or math.nan)}
        for key, value in told.items():
            if key in self._wanted and math.isfinite(value):
                locked = float(current[key])
                if abs(value - locked) > _TOLD_ROUNDLY * locked:
                    raise DeviceError(
                        f"{self.name}: the picture's notes say {key} = {value:.6g}, and {locked:.6g} is locked",
                        "the app exposes its photos apart from these settings: use still = \"shot\", or another app",
                    )


def same_value(told: str, wanted: str) -> bool:
    """Tell whether an app's value is the one wanted: numbers up to the sensor's rounding."""
    try:
        is_, asked = float(told), float(wanted)
    except ValueError:
        return told.strip().lower() == wanted.strip().lower()
    return abs(is_ - asked) <= _ROUNDING * abs(asked) + 1e-9


def _differences(missed: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{key} is {there} where {wanted} is wanted" for key, (wanted, there) in missed.items())


def _listed(values: list[str], most: int = 12) -> str:
    return ", ".join(values[:most]) + (", …" if len(values) > most else "")


def _as_text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
