"""The file of a phone scope's light: means of dark frames and of a clear field, with what they were taken with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError
from mobilescope.core.protocols import LightState, PhoneCapture
from mobilescope.data.checksums import sha256_of
from mobilescope.data.files import open_for_reading, read_json, read_part, replaced_when_whole

PHONE_LIGHT_FORMAT = "mobilescope-phone-light"
_VERSION = 1
DARK = "dark"


@dataclass(frozen=True, eq=False)
class PhoneLight:
    """What a phone's sensor shows in the dark and over clear glass.

    Attributes
    ----------
    dark, clear : ndarray, shape (rows, columns), float32
        Mean counts.
    cfa : str
        Colours of the 2×2 mosaic read row by row.
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

    @classmethod
    def of(cls, dark: NDArray[np.float32], clear: NDArray[np.float32], last: PhoneCapture, frames: int) -> Self:
        """Return the light of means, and of the last capture of the clear field."""
        return cls(
            dark, clear, last.cfa, last.black_level, last.white_level, frames, last.exposure_ms, last.iso, last.device,
            last.light, last.time_s,
        )

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
