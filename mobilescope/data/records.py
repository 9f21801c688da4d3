"""Rows of a session's tables as frozen values, and back."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope import __version__
from mobilescope.core.errors import SessionError
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopImage, LightState, PhoneCapture, PositionUm, TileKey, TileState
from mobilescope.data.checksums import SHA256
from mobilescope.data.schema import CAPTURE_ROW, EVENT_BYTES, EVENT_ROW, FLAT_FIELD_ROW, TILE_ROW

Row = NDArray[np.void]

# What a ring tells beyond the columns of its light stands among the settings under these names.
_LIGHT_PREFIX = "light_"
_LIGHT_TEXTS = ("pattern", "firmware")


@dataclass(frozen=True)
class TileRecord:
    """One benchtop tile; ``frame`` is its place in the stack of frames, ``checksum`` that of its pixels."""

    frame: int
    slide: str
    row: int
    column: int
    index: int
    position: PositionUm
    pixel_size_um: float
    time_s: float
    exposure_ms: float
    light: LightState
    device: str
    settings: dict[str, str]
    software_version: str
    checksum: str
    focus: FocusRecord
    channel: str
    plane: int
    attempt: int
    mark: str


@dataclass(frozen=True)
class CaptureRecord:
    """One phone capture; ``position`` is nominal, ``pixel_size_um`` the pitch of the Bayer lattice.

    ``channel`` is the name of the further light that it was taken in, empty for the one that is compared. ``part``
    tells which of the crops is meant where it is cut into some; no file holds it.
    """

    frame: int
    slide: str
    row: int
    column: int
    index: int
    position: PositionUm
    pixel_size_um: float
    time_s: float
    exposure_ms: float
    light: LightState
    device: str
    settings: dict[str, str]
    software_version: str
    sha256: str
    cfa: str
    black_level: int
    white_level: int
    white_balance: tuple[float, float, float]
    iso: int
    jpeg_offset: int
    jpeg_length: int
    jpeg_sha256: str
    channel: str = ""
    part: int = 0


@dataclass(frozen=True)
class EventRecord:
    """Something that happened while the session was written."""

    time_s: float
    level: str
    text: str


def tile_row(
    key: TileKey, index: int, image: BenchtopImage, focus: FocusRecord, attempt: int = 0, mark: str = ""
) -> Row:
    """Return the table row of a tile, still without digest and checksum; overlong text is a SessionError."""
    record = np.zeros((), TILE_ROW)
    _fill_image(record, key.slide, key.row, key.column, index, image.position, image)
    set_text(record, "channel", key.channel)
    set_text(record, "mark", mark)
    record["plane"], record["attempt"] = key.plane, attempt
    record["pixel_size_um"] = image.pixel_size_um
    samples = len(focus.curve_z_um)
    target = record["focus"]
    set_text(target, "verdict", focus.verdict)
    for name in ("z_um", "score", "images_taken", "seconds"):
        target[name] = getattr(focus, name)
    target["samples"] = samples
    target["curve_z_um"][:samples] = focus.curve_z_um
    target["curve_score"][:samples] = focus.curve_score
    return record


def capture_row(
    slide: str, index: int, row: int, column: int, capture: PhoneCapture, jpeg_offset: int, channel: str = ""
) -> Row:
    """Return the table row of a phone capture, still without digests and checksum."""
    record = np.zeros((), CAPTURE_ROW)
    _fill_image(record, slide, row, column, index, capture.nominal, capture)
    record["pixel_size_um"] = capture.bayer_pixel_um
    set_text(record, "channel", channel)
    set_text(record, "cfa", capture.cfa)
    for name in ("black_level", "white_level", "white_balance", "iso"):
        record[name] = getattr(capture, name)
    record["jpeg_offset"], record["jpeg_length"] = jpeg_offset, len(capture.jpeg)
    return record


def flat_field_row(time_s: float, channel: str = "") -> Row:
    """Return the table row of a flat-field frame, still without digest and checksum."""
    record = np.zeros((), FLAT_FIELD_ROW)
    record["time_s"] = time_s
    set_text(record, "channel", channel)
    set_text(record, "software_version", __version__)
    return record


def event_row(time_s: float, level: str, text: str) -> Row:
    """Return the table row of an event; a text that does not fit ends in an ellipsis."""
    record = np.zeros((), EVENT_ROW)
    record["time_s"] = time_s
    set_text(record, "level", level)
    encoded = text.encode("utf-8")
    if len(encoded) > EVENT_BYTES:
        encoded = encoded[: EVENT_BYTES - 3].decode("utf-8", "ignore").encode("utf-8") + "…".encode()
    record["text"] = encoded
    return record


def set_text(record: Row, field: str, text: str) -> None:
    """Write text into a row's field; one that does not fit is a SessionError."""
    encoded = text.encode("utf-8")
    names = record.dtype.fields
    room = names[field][0].itemsize if names else 0
    if len(encoded) > room:
        raise SessionError(
            f"{field} takes {len(encoded)} bytes, a session has room for {room}: {text[:60]}...",
            f"shorten what the device reports as {field}",
        )
    record[field] = encoded


def sealed(record: Row) -> Row:
    """Return the row with its checksum filled in: from here on it counts as committed."""
    record["crc32"] = zlib.crc32(record.tobytes()[:-4])
    return record


def is_sound(record: Row) -> bool:
    """Tell whether a row matches its checksum."""
    return bool(zlib.crc32(record.tobytes()[:-4]) == record["crc32"])


def committed(dataset: h5py.Dataset) -> tuple[Row, NDArray[np.bool_]]:
    """Read a table up to its last committed row.

    Returns
    -------
    rows : ndarray, shape (n,), the table's dtype
        Rows after the last committed one belong to a capture that was cut short, and are left out.
    sound : ndarray, shape (n,), bool
        Whether each row matches its checksum; False before the last row means damage.
    """
    rows = dataset[:]
    size = rows.dtype.itemsize
    data = memoryview(rows.tobytes())
    sound = np.array(
        [zlib.crc32(data[i * size:(i + 1) * size - 4]) == rows["crc32"][i] for i in range(len(rows))], dtype=np.bool_,
    )
    count = int(np.flatnonzero(sound)[-1]) + 1 if sound.any() else 0
    return rows[:count], sound[:count]


def tile_record(frame: int, row: Any) -> TileRecord:
    """Return a table row as a TileRecord."""
    focus = row["focus"]
    samples = int(focus["samples"])
    return TileRecord(
        **_image_fields(frame, row), checksum=frame_checksum(row),
        focus=FocusRecord(
            _text(focus, "verdict"), float(focus["z_um"]), float(focus["score"]),
            focus["curve_z_um"][:samples], focus["curve_score"][:samples],
            int(focus["images_taken"]), float(focus["seconds"]),
        ),
        **_scan_fields(row),
    )


def frame_checksum(row: Any) -> str:
    """Return the checksum of a row's frame, as `checksums.matches` takes it."""
    return _text(row, "checksum") if "checksum" in row.dtype.names else SHA256 + _text(row, "sha256")


def channel_of(row: Any) -> str:
    """Return the channel of a flat field's or capture's row; empty where it has none, as in earlier versions."""
    return _text(row, "channel") if "channel" in row.dtype.names else ""


def current_row(row: Any, row_type: np.dtype[np.void]) -> Row:
    """Return a row of any version as one of this version, still without the row's own checksum."""
    record = np.zeros((), row_type)
    names = row_type.names or ()
    for name in names:
        if name in row.dtype.names:
            record[name] = row[name]
    if "checksum" in names:
        set_text(record, "checksum", frame_checksum(row))
    return record


def key_and_state(row: Any) -> tuple[TileKey, TileState]:
    """Return which tile a table row is about, and what became of it."""
    focus = row["focus"]
    scan = _scan_fields(row)
    key = TileKey(_text(row, "slide"), int(row["row"]), int(row["column"]), scan["channel"], scan["plane"])
    return key, TileState(scan["attempt"], scan["mark"], float(focus["z_um"]), _text(focus, "verdict"))


def _scan_fields(row: Any) -> dict[str, Any]:
    """Return what version 2 added to a tile's row; a session of version 1 has one channel, plane and attempt."""
    if "channel" not in row.dtype.names:
        return {"channel": "", "plane": 0, "attempt": 0, "mark": ""}
    return {
        "channel": _text(row, "channel"), "plane": int(row["plane"]), "attempt": int(row["attempt"]),
        "mark": _text(row, "mark"),
    }


def capture_record(frame: int, row: Any) -> CaptureRecord:
    """Return a table row as a CaptureRecord."""
    red, green, blue = (float(gain) for gain in row["white_balance"])
    return CaptureRecord(
        **_image_fields(frame, row), sha256=_text(row, "sha256"), cfa=_text(row, "cfa"),
        white_balance=(red, green, blue),
        black_level=int(row["black_level"]), white_level=int(row["white_level"]), iso=int(row["iso"]),
        jpeg_offset=int(row["jpeg_offset"]), jpeg_length=int(row["jpeg_length"]),
        jpeg_sha256=_text(row, "jpeg_sha256"), channel=channel_of(row),
    )


def event_record(row: Any) -> EventRecord:
    """Return a table row as an EventRecord."""
    return EventRecord(float(row["time_s"]), _text(row, "level"), _text(row, "text"))


def _fill_image(
    record: Row, slide: str, row: int, column: int, index: int, position: PositionUm,
    image: BenchtopImage | PhoneCapture,
) -> None:
    record["row"], record["column"], record["index"] = row, column, index
    record["x_um"], record["y_um"], record["z_um"] = position.x_um, position.y_um, position.z_um
    record["time_s"], record["exposure_ms"] = image.time_s, image.exposure_ms
    light = record["light"]
    for name in ("on", "red", "green", "blue", "brightness"):
        light[name] = getattr(image.light, name)
    set_text(light, "source", image.light.source)
    set_text(record, "slide", slide)
    set_text(record, "device", image.device)
    settings = image.settings | _light_settings(image.light)
    set_text(record, "settings", json.dumps(settings, ensure_ascii=False, sort_keys=True))
    set_text(record, "software_version", __version__)


def _image_fields(frame: int, row: Any) -> dict[str, Any]:
    light = row["light"]
    settings = json.loads(row["settings"])
    told = {name: settings.pop(_LIGHT_PREFIX + name) for name in _LIGHT_TEXTS if _LIGHT_PREFIX + name in settings}
    share = float(settings.pop(_LIGHT_PREFIX + "lit_share", 1.0))
    return {
        "frame": frame,
        **{name: _text(row, name) for name in ("slide", "device", "software_version")},
        **{name: int(row[name]) for name in ("row", "column", "index")},
        **{name: float(row[name]) for name in ("pixel_size_um", "time_s", "exposure_ms")},
        "position": PositionUm(float(row["x_um"]), float(row["y_um"]), float(row["z_um"])),
        "light": LightState(
            bool(light["on"]), int(light["red"]), int(light["green"]), int(light["blue"]),
            float(light["brightness"]), _text(light, "source"), **told, lit_share=share,
        ),
        "settings": settings,
    }


def _light_settings(light: LightState) -> dict[str, str]:
    """Return what a light tells beyond its columns, as settings."""
    told = {_LIGHT_PREFIX + name: getattr(light, name) for name in _LIGHT_TEXTS if getattr(light, name)}
    return told if light.lit_share == 1.0 else told | {_LIGHT_PREFIX + "lit_share": repr(light.lit_share)}


def _text(row: Any, field: str) -> str:
    return bytes(row[field]).decode("utf-8")
