"""What the page and the server say to each other: one table of kinds with their limits, and how each is read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from mobilescope.core.strict_model import StrictModel

Model = TypeVar("Model", bound=BaseModel)

PROTOCOL = 1
MAX_PREVIEW_BYTES = 4 * 1024**2
# A message up to here is read before it is refused: its sender hears why, which a connection that is cut does not tell.
MAX_MESSAGE_BYTES = 4 * MAX_PREVIEW_BYTES
MAX_PREVIEW_SIDE_PX = 4096
MAX_STILL_BYTES = 128 * 1024**2
MAX_STILL_HEADER_BYTES = 16 * 1024

_Name = Annotated[str, Field(max_length=80)]
_Text = Annotated[str, Field(max_length=300)]
_Side = Annotated[int, Field(ge=1, le=100_000)]


class CloseCode(IntEnum):
    """Why the server closes a connection; the page shows the reason that comes with it."""

    TOO_BIG = 1009
    MALFORMED = 4400
    NOT_PAIRED = 4401
    FOREIGN = 4403
    SILENT = 4408
    TAKEN_OVER = 4409
    OTHER_VERSION = 4426
    TOO_MANY = 4429


class PageRefusedError(Exception):
    """A message, or a client, that is refused; its connection is closed with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        # A WebSocket's close frame has room for 123 bytes.
        self.reason = reason.encode()[:120].decode(errors="ignore")


class SettingReport(StrictModel):
    """One camera setting as the page read it back: ``wanted`` and ``got`` are words or figures of the browser."""

    name: _Name
    state: Literal["locked", "not offered", "refused", "free"]
    wanted: _Name = ""
    got: _Name = ""


class Hello(StrictModel):
    """The first message: who asks, with a pairing code or with the secret of an earlier visit."""

    kind: Literal["hello"]
    protocol: int
    name: _Name = "phone"
    token: Annotated[str, Field(max_length=64)] | None = None
    secret: Annotated[str, Field(max_length=64)] | None = None
    take_over: bool = False


class CameraReport(StrictModel):
    """What the phone's camera is doing, after opening it and after each change."""

    kind: Literal["camera"]
    width: _Side
    height: _Side
    still_width: _Side
    still_height: _Side
    still_method: _Name
    codec: _Name
    orientation: _Name = ""
    orientation_lock: _Name = ""
    wake_lock: _Name = ""
    settings: Annotated[tuple[SettingReport, ...], Field(max_length=16)] = ()


class CameraFailed(StrictModel):
    """The camera can't be opened, or went away."""

    kind: Literal["camera_failed"]
    reason: _Text


class Visible(StrictModel):
    """Whether the page is in front of its user; a hidden page takes no pictures."""

    kind: Literal["visible"]
    visible: bool


class ClockAnswer(StrictModel):
    """The phone's clocks when the question came: ``phone_ms`` never jumps, ``wall_ms`` is the phone's time of day."""

    kind: Literal["clock"]
    id: Annotated[int, Field(ge=0, le=2**31)]
    phone_ms: float
    wall_ms: float


class TakeFailed(StrictModel):
    """A still that was asked for can't be taken."""

    kind: Literal["take_failed"]
    request: _Name
    reason: _Text


class Rates(StrictModel):
    """What the page measured over the last seconds, and how many stills wait on the phone."""

    kind: Literal["rates"]
    fps: Annotated[float, Field(ge=0)]
    round_trip_ms: Annotated[float, Field(ge=0)] | None = None
    dropped: Annotated[int, Field(ge=0)] = 0
    waiting: Annotated[int, Field(ge=0)] = 0


ClientMessage = Hello | CameraReport | CameraFailed | Visible | ClockAnswer | TakeFailed | Rates


@dataclass(frozen=True)
class TextKind:
    """A kind of text message from the page, and its greatest size."""

    model: type[ClientMessage]
    limit_bytes: int


TEXT_KINDS: dict[str, TextKind] = {
    "hello": TextKind(Hello, 1024),
    "camera": TextKind(CameraReport, 8192),
    "camera_failed": TextKind(CameraFailed, 2048),
    "visible": TextKind(Visible, 128),
    "clock": TextKind(ClockAnswer, 256),
    "take_failed": TextKind(TakeFailed, 2048),
    "rates": TextKind(Rates, 512),
}
_MAX_TEXT_BYTES = max(kind.limit_bytes for kind in TEXT_KINDS.values())


def read_text(text: str) -> ClientMessage:
    """Return a text message of the page; PageRefusedError for one that is too big, malformed or of no known kind."""
    size = len(text.encode(errors="replace"))
    if size > _MAX_TEXT_BYTES:
        raise PageRefusedError(CloseCode.TOO_BIG, f"a message of {size} bytes; at most {_MAX_TEXT_BYTES} are taken")
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PageRefusedError(CloseCode.MALFORMED, "a message that is not JSON") from error
    name = data.get("kind") if isinstance(data, dict) else None
    kind = TEXT_KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise PageRefusedError(CloseCode.MALFORMED, "a message of no known kind")
    if size > kind.limit_bytes:
        raise PageRefusedError(
            CloseCode.TOO_BIG, f"a message {name!r} of {size} bytes; at most {kind.limit_bytes} are taken"
        )
    return _checked(kind.model, data, f"a message {name!r}")


class PreviewKind(IntEnum):
    """How a preview picture is compressed: a byte at the beginning of a binary message."""

    H264 = 1
    JPEG = 2


@dataclass(frozen=True, eq=False)
class PreviewPacket:
    """One preview picture, compressed; ``captured_ms`` on the clock of the page that never jumps."""

    kind: PreviewKind
    key: bool
    number: int
    captured_ms: float
    width: int
    height: int
    payload: bytes


_PREVIEW = struct.Struct(">BBIdHH")
_KEY_FLAG = 1


def read_preview(data: bytes) -> PreviewPacket:
    """Return a preview picture of a binary message; PageRefusedError for one that is malformed."""
    if len(data) > MAX_PREVIEW_BYTES:
        raise PageRefusedError(
            CloseCode.TOO_BIG, f"a preview picture of {len(data)} bytes; at most {MAX_PREVIEW_BYTES} are taken"
        )
    if len(data) <= _PREVIEW.size:
        raise PageRefusedError(CloseCode.MALFORMED, f"a binary message of {len(data)} bytes")
    number, flags, count, captured_ms, width, height = _PREVIEW.unpack_from(data)
    sound = number in tuple(PreviewKind) and abs(captured_ms) < 1e15
    if not sound or not (0 < width <= MAX_PREVIEW_SIDE_PX and 0 < height <= MAX_PREVIEW_SIDE_PX):
        raise PageRefusedError(CloseCode.MALFORMED, "a binary message that is no preview picture")
    return PreviewPacket(
        PreviewKind(number), bool(flags & _KEY_FLAG), count, captured_ms, width, height, data[_PREVIEW.size :]
    )


class StillHeader(StrictModel):
    """What the page tells with a still: JSON before the picture's bytes.

    ``request`` names the question that it answers, ``name`` is the file's name on the phone, which nobody trusts.
    """

    request: _Name | None = None
    source: Literal["camera", "file"]
    method: _Name = ""
    phone_ms: float | None = None
    wall_ms: float
    orientation: _Name = ""
    name: Annotated[str, Field(max_length=1000)] = ""
    settings: Annotated[tuple[SettingReport, ...], Field(max_length=16)] = ()


def read_still_header(data: bytes) -> StillHeader:
    """Return the header of a still; PageRefusedError for one that is malformed."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PageRefusedError(CloseCode.MALFORMED, "a still whose header is not JSON") from error
    return _checked(StillHeader, parsed, "the header of a still")


def enhanced_message(header: dict[str, Any], jpeg: bytes) -> bytes:
    """Return the binary message of an enhanced picture: two bytes of the header's length, the header, the JPEG."""
    text = json.dumps(header).encode()
    return struct.pack(">H", len(text)) + text + jpeg


def _checked(model: type[Model], data: Any, what: str) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PageRefusedError(CloseCode.MALFORMED, f"{what}: {place[:40]}: {first['msg']}") from error
