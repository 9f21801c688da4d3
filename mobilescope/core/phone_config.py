"""The table `[phone]` of an instrument file: which phone takes the pictures, and how they come from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from mobilescope.core.strict_model import StrictModel

PhoneKind = Literal["twin", "folder", "adb", "webcam", "stream", "browser"]
Pictures = Literal["dng+jpeg", "dng", "jpeg"]
Trigger = Literal["camera-key", "volume-key", "by-hand"]
Still = Literal["photo", "photoaf", "shot"]

# Which keys belong to which kinds; all others are for any kind, or for every kind but the twin.
_OF_KINDS: dict[str, tuple[PhoneKind, ...]] = {
    "preset": ("twin",),
    "folder": ("folder", "adb", "browser"),
    "pictures": ("twin", "folder", "adb"),
    "settle_s": ("folder", "adb"),
    "serial": ("adb",),
    "camera_folder": ("adb",),
    "camera_app": ("adb",),
    "trigger": ("adb", "browser"),
    "host": ("adb", "browser"),
    "port": ("adb", "browser"),
    "url": ("webcam", "stream"),
    "still": ("webcam",),
    "exposure_ms": ("webcam", "browser"),
    "iso": ("webcam", "browser"),
    "white_balance": ("webcam",),
    "focus_distance": ("webcam", "browser"),
    "white_balance_k": ("browser",),
    "zoom": ("browser",),
    "usb": ("browser",),
    "settings": ("webcam",),
    "latency_ms": ("stream",),
    "patience_s": ("folder", "adb", "webcam", "stream", "browser"),
    "pixel_um": ("folder", "adb", "webcam", "stream", "browser"),
    "frame_rows": ("folder", "adb", "webcam", "stream", "browser"),
    "frame_columns": ("folder", "adb", "webcam", "stream", "browser"),
}
_NEEDED: dict[PhoneKind, dict[str, str]] = {
    "twin": {},
    "folder": {"folder": "the folder in which its pictures arrive"},
    "adb": {},
    "webcam": {"url": "the app's address, such as http://192.168.1.20:8080"},
    "stream": {"url": "the stream's address, or camera:0 for a camera on this machine"},
    "browser": {},
}
_PIXEL = "the pitch of the sensor's pixels at the specimen, in µm"


class PhoneConfig(StrictModel):
    """Which phone scope to use, and the finest lines that it resolves (R18: 0.87 µm line and space).

    ``twin`` is simulated. ``folder`` waits for pictures in a folder, ``adb`` has an Android phone on a cable take them
    and fetches them, ``webcam`` asks an app that speaks as IP Webcam does, ``stream`` takes the newest frame of a
    camera or video stream, ``browser`` serves the page of `mobilescope phone`. Real phones need ``pixel_um``, the pitch
    of the Bayer lattice at the specimen. Rows and columns of their frame are learned from a first picture where they
    are not given.
    """

    kind: PhoneKind = "twin"
    preset: str = "default"
    half_pitch_um: float = Field(default=0.87, gt=0)
    pixel_um: float | None = Field(default=None, gt=0, le=100)
    frame_rows: int | None = Field(default=None, ge=16)
    frame_columns: int | None = Field(default=None, ge=16)
    patience_s: float | None = Field(default=None, gt=0, le=86_400)
    folder: Path | None = None
    pictures: Pictures | None = None
    settle_s: float | None = Field(default=None, gt=0, le=60)
    serial: str | None = Field(default=None, min_length=1)
    camera_folder: str | None = Field(default=None, pattern="^/")
    camera_app: str | None = Field(default=None, pattern=r"^[A-Za-z][\w.]*(/[\w.]+)?$")
    trigger: Trigger | None = None
    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=0, le=65535)
    url: str | None = Field(default=None, min_length=1)
    still: Still | None = None
    exposure_ms: float | None = Field(default=None, gt=0, le=60_000)
    iso: int | None = Field(default=None, ge=1)
    white_balance: str | None = Field(default=None, pattern=r"^[A-Za-z][\w-]*$")
    focus_distance: float | None = Field(default=None, ge=0)
    settings: dict[str, str | int | float | bool] | None = None
    latency_ms: float | None = Field(default=None, ge=0, le=60_000)
    white_balance_k: float | None = Field(default=None, ge=1000, le=40_000)
    zoom: float | None = Field(default=None, gt=0)
    usb: bool | None = None

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        for name in sorted(self.model_fields_set):
            kinds = _OF_KINDS.get(name)
            if kinds and self.kind not in kinds and getattr(self, name) is not None:
                wanted = " or ".join(f'"{kind}"' for kind in kinds)
                raise ValueError(f"{name} is for kind = {wanted}")
        needed = dict(_NEEDED[self.kind]) | ({} if self.kind == "twin" else {"pixel_um": _PIXEL})
        for name, what in needed.items():
            if getattr(self, name) is None:
                raise ValueError(f"kind = \"{self.kind}\" needs {name}, {what}")
        if (self.frame_rows is None) != (self.frame_columns is None):
            raise ValueError("frame_rows and frame_columns go together")
        if self.kind == "browser" and self.trigger not in (None, "by-hand"):
            raise ValueError('trigger of kind = "browser" is "by-hand" or left out')
        if self.kind == "webcam" and not (self.url or "").startswith(("http://", "https://")):
            raise ValueError("url begins with http:// or https://")
        return self

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the phone's frame, None where the file leaves them to be learned."""
        if self.frame_rows is None or self.frame_columns is None:
            return None
        return self.frame_rows, self.frame_columns

    def beside(self, folder: Path) -> Self:
        """Return the same with a relative path taken from ``folder``, where the instrument file lies."""
        return self if self.folder is None else self.model_copy(update={"folder": folder / self.folder})
