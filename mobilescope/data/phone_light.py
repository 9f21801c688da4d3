"""The file of a phone scope's light: means of dark frames and of a clear field, with what they were taken with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError
from mobilescope.core.protocols import LightState, PhoneCapture
from mobilescope.data.checksums import sha256_of
from mobilescope.data.files import open_for_reading, read_json, read_part, replaced_when_whole

PHONE_LIGHT_FORMAT = "mobilescope-phone-light"
# Version 2 added pictures: of version 1, all are raw.
_VERSION = 2

LightPictures = Literal["raw", "jpeg"]
# The channels of a session's flat fields in which it keeps dark frames and clear field.
DARK_CHANNEL: dict[LightPictures, str] = {"raw": "dark", "jpeg": "dark, jpeg"}
CLEAR_CHANNEL: dict[LightPictures, str] = {"raw": "", "jpeg": "clear, jpeg"}


@dataclass(frozen=True, eq=False)
class PhoneLight:
    """What a phone's pictures show in the dark and over clear glass.

    Attributes
    ----------
    dark, clear : ndarray, float32
        Of raw pictures, shape (rows, columns): mean counts. Of JPEGs, shape (rows // 2, columns // 2, 3): mean linear
        light, 0–1, of each 2×2 pixels.
    cfa : str
        Colours of the 2×2 mosaic read row by row; empty for JPEGs.
    pictures : {"raw", "jpeg"}
        Which of the phone's pictures were taken.
    frames : int
        How many of each were taken.
    light : LightState
        What the clear field was taken in.
    time_s : float
        When the last one was taken.
    """

    dark: NDArray[np.float32]
    clear: NDArray[np.float32]
    cfa: str
    black_level: int
    white_level: int
    frames: int
    exposure_ms: float
    iso: int
    device: str
    light: LightState
    time_s: float
    pictures: LightPictures = "raw"

    def __post_init__(self) -> None:
        axes = 2 if self.pictures == "raw" else 3
        if self.pictures not in CLEAR_CHANNEL or not self.dark.ndim == self.clear.ndim == axes:
            raise ValueError(f"frames of {self.clear.shape} from {self.pictures} pictures")

    @classmethod
    def of(cls, dark: NDArray[np.float32], clear: NDArray[np.float32], last: PhoneCapture, frames: int) -> Self:
        """Return the light of means, and of the last capture of the clear field."""
        return cls(
            dark, clear, last.cfa, last.black_level, last.white_level, frames, last.exposure_ms, last.iso, last.device,
            last.light, last.time_s, "raw" if last.cfa else "jpeg",
        )

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the phone's pictures, without an odd last one."""
        rows, columns = self.clear.shape[:2]
        return (rows, columns) if self.pictures == "raw" else (2 * rows, 2 * columns)

    @property
    def facts(self) -> dict[str, Any]:
        """All but the frames, ready for JSON."""
        whole = asdict(self)
        return {name: value for name, value in whole.items() if name not in ("dark", "clear")}


def write_phone_light(path: Path, light: PhoneLight) -> None:
    """Write the file whole; OutputError or DiskSpaceError where it can't be."""
    with replaced_when_whole(path, PHONE_LIGHT_FORMAT, _VERSION) as new:
        new.claim(light.dark.nbytes + light.clear.nbytes)
        for name, frame in (("dark", light.dark), ("clear", light.clear)):
            dataset = new.file.create_dataset(name, data=frame)
            dataset.attrs["checksum"] = sha256_of(np.ascontiguousarray(frame))
        new.file["facts"] = np.bytes_(json.dumps(light.facts).encode("utf-8"))


def read_phone_light(path: Path) -> PhoneLight:
    """Read the file; InputFileError where it is missing, foreign or damaged."""
    file = open_for_reading(path, PHONE_LIGHT_FORMAT, _VERSION)
    try:
        facts = read_json(file["facts"])
        dark, clear = (_whole(file, name) for name in ("dark", "clear"))
        return PhoneLight(dark, clear, **facts | {"light": LightState(**facts["light"])})
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise InputFileError(f"{path} is damaged: {error}", "calibrate the light again") from error
    finally:
        file.close()


def _whole(file: h5py.File, name: str) -> NDArray[np.float32]:
    frame = np.ascontiguousarray(read_part(file[name], ...))
    if sha256_of(frame) != file[name].attrs["checksum"]:
        raise ValueError(f"{name} does not match its checksum")
    return frame


def in_quadrants(light: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return three halved colours in one frame of a session: red, green, and blue below red; the rest is 0."""
    rows, columns = light.shape[:2]
    frame = np.zeros(shape, np.float32)
    for colour, quadrant in enumerate(_quadrants(rows, columns)):
        frame[quadrant] = light[..., colour]
    return frame


def from_quadrants(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `in_quadrants` was given."""
    rows, columns = (side // 2 for side in frame.shape)
    return np.stack([frame[quadrant] for quadrant in _quadrants(rows, columns)], axis=-1)


def _quadrants(rows: int, columns: int) -> tuple[tuple[slice, slice], ...]:
    top, bottom = slice(0, rows), slice(rows, 2 * rows)
    left, right = slice(0, columns), slice(columns, 2 * columns)
    return (top, left), (top, right), (bottom, left)
