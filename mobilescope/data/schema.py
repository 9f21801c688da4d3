"""The session file's format: its version, its table rows and its header.

Rows hold fixed-length text only, because HDF5 allows no variable-length data in a file that is read while written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import h5py
import hdf5plugin
import numpy as np
from pydantic import Field, JsonValue, StringConstraints, model_validator

from mobilescope import __version__
from mobilescope.core.config import TWIN_NAME, UNNAMED, StrictModel
from mobilescope.core.focus_record import MAX_CURVE_SAMPLES
from mobilescope.core.pair_link import MAX_LINK_TILES, QUALITY_NAMES

SESSION_FORMAT = "mobilescope-session"
# Version 2 added channel, plane, attempt and mark to the rows of tiles; version 3 gave tiles a checksum that names its
# method, in place of SHA-256; version 4 gave flat fields and captures their channel.
SCHEMA_VERSION = 4
LINKS_SINCE = 4
SETTINGS_BYTES = 2048
EVENT_BYTES = 1024

# The fastest that gains at all, and it drops the empty high bits of raw phone frames; measured in docs/benchmarks.md.
CODEC: dict[str, Any] = dict(hdf5plugin.Blosc(cname="lz4", clevel=1, shuffle=hdf5plugin.Blosc.BITSHUFFLE))
# For files that keep no checksums of their own: HDF5 then refuses to read a chunk of which a bit has changed.
CHECKED_CODEC: dict[str, Any] = {**CODEC, "fletcher32": True}


def _text(length: int) -> Any:
    return h5py.string_dtype("utf-8", length)


_LIGHT = np.dtype([
    ("on", "u1"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("brightness", "<f8"), ("source", _text(96)),
])
_FOCUS = np.dtype([
    ("verdict", _text(32)), ("z_um", "<f8"), ("score", "<f8"), ("images_taken", "<i4"), ("seconds", "<f8"),
    ("samples", "<i4"), ("curve_z_um", "<f8", (MAX_CURVE_SAMPLES,)), ("curve_score", "<f8", (MAX_CURVE_SAMPLES,)),
])
_IMAGE: list[Any] = [
    ("slide", _text(64)), ("row", "<i4"), ("column", "<i4"), ("index", "<i4"),
    ("x_um", "<f8"), ("y_um", "<f8"), ("z_um", "<f8"), ("pixel_size_um", "<f8"),
    ("time_s", "<f8"), ("exposure_ms", "<f8"), ("light", _LIGHT),
    ("device", _text(128)), ("settings", _text(SETTINGS_BYTES)), ("software_version", _text(32)),
]
_SHA256: list[Any] = [("sha256", _text(64))]
# The checksum comes last in every row: a row counts as committed only if it matches the bytes before it.
_CRC: list[Any] = [("crc32", "<u4")]

TILE_ROW = np.dtype([
    *_IMAGE, ("checksum", _text(80)), ("focus", _FOCUS), ("channel", _text(32)), ("plane", "<i4"), ("attempt", "<i4"),
    ("mark", _text(64)), *_CRC,
])
CAPTURE_ROW = np.dtype([
    *_IMAGE, ("channel", _text(32)), *_SHA256, ("cfa", _text(4)), ("black_level", "<i4"), ("white_level", "<i4"),
    ("white_balance", "<f8", (3,)), ("iso", "<i4"), ("jpeg_offset", "<i8"), ("jpeg_length", "<i8"),
    ("jpeg_sha256", _text(64)), *_CRC,
])
FLAT_FIELD_ROW = np.dtype([
    ("time_s", "<f8"), ("channel", _text(32)), ("software_version", _text(32)), *_SHA256, *_CRC,
])
LINK_ROW = np.dtype([
    ("slide", _text(64)), ("index", "<i4"), ("row", "<i4"), ("column", "<i4"), ("time_s", "<f8"),
    ("phone_um", "<f8", (2,)), ("planned_um", "<f8", (2,)), ("found_um", "<f8", (2,)),
    ("picture_to_um", "<f8", (6,)), ("link", "<f8", (6,)), ("link_residual_um", "<f8"), ("link_points", "<i4"),
    ("verdict", _text(16)), ("reason", _text(256)), ("quality", [(name, "<f8") for name in QUALITY_NAMES]),
    ("source", _text(16)), ("tile_count", "<i4"), ("tiles", "<i4", (MAX_LINK_TILES, 2)), ("attempts", "<i4"),
    ("seconds", "<f8"), ("run", "<i4"), ("software_version", _text(32)), *_CRC,
])
EVENT_ROW = np.dtype([("time_s", "<f8"), ("level", _text(16)), ("text", _text(EVENT_BYTES)), *_CRC])

FrameShape = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
SlideName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class SlideEntry(StrictModel):
    """One slide of a session. The name is part of file names, so it is plain letters, digits, dot, dash, underscore."""

    name: SlideName
    role: Literal["training", "validation", "blind"]
    stain: str = ""


class SessionHeader(StrictModel):
    """What holds for a whole session; written once, before the first image.

    Attributes
    ----------
    slides : tuple of SlideEntry
        At least one, names unique.
    instrument : dict
        JSON-ready description of both instruments.
    benchtop_shape, phone_shape : tuple of int
        (rows, columns) of a benchtop frame and of a phone's Bayer frame.
    created : str
        ISO 8601, UTC.
    """

    slides: tuple[SlideEntry, ...] = Field(min_length=1)
    instrument: dict[str, JsonValue]
    benchtop_shape: FrameShape
    phone_shape: FrameShape
    software_version: str = __version__
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [slide.name for slide in self.slides]
        if len(set(names)) < len(names):
            raise ValueError(f"slide names must differ, got {', '.join(names)}")
        return self

    @property
    def instrument_name(self) -> str:
        """The name of the instrument; earlier versions lent the twin's to real instruments that had none."""
        described = self.instrument.get("instrument")
        if not isinstance(described, dict) or "name" not in described:
            return "unknown instrument"
        parts = [described.get("benchtop"), described.get("phone")]
        real = any(part.get("kind", "twin") != "twin" for part in parts if isinstance(part, dict))
        return UNNAMED if real and described["name"] == TWIN_NAME else str(described["name"])

    def difference(self, other: SessionHeader) -> str:
        """Say how ``other`` differs in what a session must not change, or return an empty string.

        The time of creation and the software version may differ: a session can be resumed after an update. So may what
        ``other`` says beyond this one, since the software that began the session did not know it, how captures are
        developed, since that changes nothing of what is stored, and the name of an instrument that had none.
        """
        slides = [[f"{slide.name} ({slide.role})" for slide in header.slides] for header in (self, other)]
        if slides[0] != slides[1]:
            return f"slides: {', '.join(slides[0])} in the file, {', '.join(slides[1])} now"
        for name in ("benchtop_shape", "phone_shape"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                return f"{name}: {mine} in the file, {others} now"
        return _first_difference(_as_named(self.instrument), other.instrument, "instrument")


def _as_named(instrument: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a description without a name that nobody gave: earlier versions lent the twin's to real instruments."""
    described = instrument.get("instrument")
    if not isinstance(described, dict) or described.get("name") not in (TWIN_NAME, UNNAMED):
        return instrument
    return instrument | {"instrument": {key: value for key, value in described.items() if key != "name"}}


def _first_difference(mine: JsonValue, others: JsonValue, where: str) -> str:
    """Name the first value of ``mine`` that is another one in ``others``; an empty string where there is none.

    Lights are compared by their names, so that a plan can get more of them, in any order.
    """
    if where.endswith(".lights") and isinstance(mine, list) and isinstance(others, list):
        mine, others = _by_name(mine), _by_name(others)
    if isinstance(mine, dict) and isinstance(others, dict):
        parts = [(f"{where}.{key}", value, others.get(key)) for key, value in mine.items() if key != "development"]
    elif isinstance(mine, list) and isinstance(others, list) and len(mine) == len(others):
        parts = [(f"{where}.{index}", value, others[index]) for index, value in enumerate(mine)]
    else:
        return "" if mine == others else f"{where}: {mine} in the file, {others} now"
    return next((found for name, value, other in parts if (found := _first_difference(value, other, name))), "")


def _by_name(entries: list[JsonValue]) -> JsonValue:
    return {str(each["name"]): each for each in entries if isinstance(each, dict)}
