"""A mosaic's landmarks in a file beside it, bound to the mosaic by its digest; whatever does not fit it is no index."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, NewerVersionError
from mobilescope.data.files import naming_write_failures, open_for_reading, read_json, read_part, replaced_when_whole

LANDMARKS_FORMAT = "mobilescope-landmarks"
LANDMARKS_VERSION = 1
_NAMES = ("xy_um", "size_um", "angle_deg", "descriptors")

Arrays = dict[str, NDArray[Any]]


def landmarks_path(mosaic: Path) -> Path:
    """Return where a mosaic's landmarks stand: beside it."""
    return mosaic.with_name(f"{mosaic.name.removesuffix('.h5')}.landmarks.h5")


def write_landmarks(path: Path, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Write landmarks and JSON-ready facts about them; the file appears under its name only when whole.

    Raises
    ------
    OutputError, DiskSpaceError
        The folder can't be written, or the disk is full.
    """
    text = json.dumps(facts | {"checksum": _checksum(arrays)}).encode("utf-8")
    with replaced_when_whole(path, LANDMARKS_FORMAT, LANDMARKS_VERSION) as new, naming_write_failures(path):
        new.claim(len(text) + sum(arrays[name].nbytes for name in _NAMES))
        new.file["facts"] = np.bytes_(text)
        for name in _NAMES:
            new.file[name] = arrays[name]
        new.file.flush()


def read_landmarks(path: Path, expected: dict[str, Any]) -> tuple[Arrays | None, str]:
    """Return the landmarks of a file, or None and why it can't be used.

    Parameters
    ----------
    expected : dict
        Facts that must stand in it as they are here: those of another mosaic or another method are of no use.
    """
    if not path.exists():
        return None, "there is none yet"
    try:
        with open_for_reading(path, LANDMARKS_FORMAT, LANDMARKS_VERSION) as file:
            facts = read_json(file["facts"])
            if any(facts.get(name) != value for name, value in expected.items()):
                return None, "the mosaic is another one than it was made from"
            arrays = {name: read_part(file[name], ()) for name in _NAMES}
    except (InputFileError, NewerVersionError, KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        return None, f"it can't be read ({error})"
    if facts.get("checksum") != _checksum(arrays):
        return None, "it is damaged: it does not match its checksum"
    return arrays, ""


def _checksum(arrays: Arrays) -> str:
    summed = hashlib.sha256()
    for name in _NAMES:
        summed.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode("ascii"))
        summed.update(np.ascontiguousarray(arrays[name]).data)
    return summed.hexdigest()
