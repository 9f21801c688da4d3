"""What one release of a phone's camera gave: raw mosaic, JPEG or both, with what its files tell."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import LightState, PhoneCapture, PositionUm

NO_RAW_WHITE = 255
UNKNOWN_MS = math.nan
UNKNOWN_ISO = 0


@dataclass(frozen=True, eq=False)
class PhonePicture:
    """One picture of a phone, before anybody said where it was taken.

    Attributes
    ----------
    bayer : ndarray, shape (rows, columns), uint16, or None
        None where the phone gave no raw picture; then ``jpeg`` is the picture.
    jpeg : bytes
        As the phone made it; empty where it made none.
    shape : tuple of int
        Rows and columns of the Bayer frame, else of the JPEG as it is stored, turned by nobody.
    exposure_ms : float
        NaN where the files don't tell; ``iso`` is 0 there.
    captured : str
        Date and time as the camera wrote it, empty where it did not; ``captured_s`` is the same in seconds since the
        epoch, taken as this computer's local time where the camera names no zone.
    facts : dict
        What else is worth keeping, as text.
    """

    bayer: NDArray[np.uint16] | None
    jpeg: bytes
    shape: tuple[int, int]
    cfa: str
    black_level: int
    white_level: int
    white_balance: tuple[float, float, float]
    camera: str
    iso: int
    exposure_ms: float
    captured: str
    captured_s: float | None
    facts: dict[str, str] = field(default_factory=dict)

    def capture(
        self, nominal: PositionUm, *, pixel_um: float, time_s: float, light: LightState, device: str,
        settings: dict[str, str] | None = None,
    ) -> PhoneCapture:
        """Return the picture as a capture at a position; ``settings`` come beside the facts of the files."""
        return PhoneCapture(
            bayer=self.bayer, jpeg=self.jpeg, cfa=self.cfa, black_level=self.black_level, white_level=self.white_level,
            bayer_pixel_um=pixel_um, white_balance=self.white_balance, nominal=nominal, time_s=time_s,
            exposure_ms=self.exposure_ms, iso=self.iso, light=light, device=device,
            settings=self.facts | (settings or {}),
        )


@runtime_checkable
class PictureSource(Protocol):
    """Where a real phone's pictures come from, one at a time, each taken after it was asked for."""

    @property
    def name(self) -> str:
        """The phone, for people and for the session."""

    @property
    def waits_for_person(self) -> bool:
        """Whether a person releases the camera, so that a picture may take long."""

    def shape(self) -> tuple[int, int]:
        """Return rows and columns of the frame, learned from the phone or from a picture of it."""

    def prepare(self) -> None:
        """Get ready: what is taken from here on may be the next picture, and nothing before."""

    def take(self, stop: StopToken, known: Collection[str]) -> PhonePicture:
        """Return a picture that was taken since `prepare`; ``known`` are the SHA-256 of files used already.

        Raises
        ------
        DeviceError
            None came, or not as it should be; nothing of it is kept.
        CancelledError
            A stop was asked for while waiting.
        """

    def close(self) -> None:
        """Free the phone; may be called twice."""


@runtime_checkable
class AttendedPhone(Protocol):
    """A phone whose pictures are waited for."""

    def heed(self, stop: StopToken) -> None:
        """End what waits, from now on, when this token asks for it."""

    def check_fields(self, fields: Iterable[tuple[float, float]]) -> None:
        """Refuse nominal positions (x, y) in µm that can't be reached, before anything moves; LimitError names one."""

    def know(self, digests: Iterable[str]) -> None:
        """Take no file with one of these SHA-256 for a new picture."""
