"""What the ring's board reports, as frozen values read from the bytes of its replies."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Self

from mobilescope.core.errors import FirmwareVersionError, LinkError
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import (
    BOARDS,
    PROTOCOL_VERSION,
    BoardKind,
    Capability,
    Command,
    LightFlag,
    ResetCause,
    SelfTest,
)

_IDENTITY = struct.Struct(">6B3s4BHB")
_LIGHT = struct.Struct(">BHH")
_SELF_TEST = struct.Struct(">HHH")
_STATISTICS = struct.Struct(">IHHHHBIH")
_SETTING = struct.Struct(">H")

_SIZES = {
    # Another protocol's identity may be shorter, and still tells its version.
    Command.IDENTIFY: 2,
    Command.GET_CONFIG: _SETTING.size,
    Command.SELF_TEST: _SELF_TEST.size,
    Command.STATISTICS: _STATISTICS.size,
}


def least_reply(command: int) -> int:
    """Return how many bytes of data the answer OK to a command has at least."""
    return _SIZES.get(Command(command), _LIGHT.size) if command in set(Command) else 0


def read_setting(data: bytes) -> int:
    """Return the setting in a reply."""
    value: int = _SETTING.unpack_from(data)[0]
    return value


def _fields(layout: struct.Struct, data: bytes, what: str) -> tuple[Any, ...]:
    # A later minor version may append fields, so that more bytes are no error.
    if len(data) < layout.size:
        raise LinkError(f"the board's {what} has {len(data)} bytes instead of {layout.size}: {data.hex()}")
    return layout.unpack_from(data)


@dataclass(frozen=True)
class BoardIdentity:
    """Who answered the handshake, and what it can do."""

    board: BoardKind
    protocol: tuple[int, int]
    firmware: tuple[int, int, int]
    pixels: int
    max_pixels: int
    max_payload: int
    max_steps: int
    capabilities: Capability
    reset_cause: ResetCause
    port: str

    @classmethod
    def read(cls, data: bytes, port: str) -> Self:
        """Return the identity in a reply.

        Raises
        ------
        FirmwareVersionError
            Another major version, a minor version older than this software needs, or a board it does not know.
        """
        protocol = (data[0], data[1]) if len(data) > 1 else (0, 0)
        _check_protocol(protocol, port)
        _, _, major, minor, patch, code, signature, pixels, max_pixels, max_payload, max_steps, capabilities, cause = (
            _fields(_IDENTITY, data, "identity")
        )
        board = next((board for board in BOARDS if (board.code, board.signature) == (code, signature)), None)
        if board is None:
            raise FirmwareVersionError(
                f"the board on {port} is unknown to this software (code {code}, signature {signature.hex()})",
                "update Mobilescope",
            )
        return cls(
            board, protocol, (major, minor, patch), pixels, max_pixels, max_payload, max_steps,
            Capability(capabilities), ResetCause(cause), port,
        )


def _check_protocol(protocol: tuple[int, int], port: str) -> None:
    if protocol[0] == PROTOCOL_VERSION[0] and protocol[1] >= PROTOCOL_VERSION[1]:
        return
    theirs, ours = (".".join(map(str, version)) for version in (protocol, PROTOCOL_VERSION))
    newer = protocol > PROTOCOL_VERSION
    raise FirmwareVersionError(
        f"the firmware on {port} speaks protocol {theirs} and is too {'new' if newer else 'old'}: "
        f"this software speaks {ours}",
        "update Mobilescope" if newer else f"update the firmware: mobilescope firmware flash --port {port}",
    )


@dataclass(frozen=True)
class LightReply:
    """What the board answers to commands that may change the light."""

    flags: LightFlag
    shown_crc: int
    current_ma: int

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Return the light in a reply."""
        flags, crc, current_ma = _fields(_LIGHT, data, "light reply")
        return cls(LightFlag(flags), crc, current_ma)


@dataclass(frozen=True)
class SelfTestReport:
    """Which tests the board ran, which passed, and how many bytes of RAM its stack never touched."""

    run: SelfTest
    passed: SelfTest
    free_ram: int

    @property
    def ok(self) -> bool:
        """Whether all tests that ran have passed, and any ran."""
        return bool(self.run) and self.run & ~self.passed == SelfTest(0)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Return the report in a reply."""
        run, passed, free_ram = _fields(_SELF_TEST, data, "self-test")
        return cls(SelfTest(run), SelfTest(passed), free_ram)


@dataclass(frozen=True)
class LinkStatistics:
    """What the host counted since the port was opened: commands, repeats of them, and damaged replies."""

    sent: int = 0
    retries: int = 0
    bad_replies: int = 0


@dataclass(frozen=True)
class RingStatistics:
    """What the board counted since its last reset, and what the host counted on its side.

    ``resets`` counts from power-on, ``stores`` from the first one ever; ``timeouts`` is how often silence of the host
    switched the light off.
    """

    frames: int
    bad_frames: int
    overruns: int
    timeouts: int
    resets: int
    reset_cause: ResetCause
    uptime_ms: int
    stores: int
    link: LinkStatistics

    @classmethod
    def read(cls, data: bytes, link: LinkStatistics) -> Self:
        """Return the counters in a reply, with the host's own."""
        frames, bad_frames, overruns, timeouts, resets, cause, uptime_ms, stores = (
            _fields(_STATISTICS, data, "statistics")
        )
        return cls(frames, bad_frames, overruns, timeouts, resets, ResetCause(cause), uptime_ms, stores, link)


@dataclass(frozen=True)
class RingState:
    """The ring as last acknowledged.

    ``pixels`` are the colours on the wire, after brightness, gamma and white balance. While a sequence plays they are
    those of its first step. ``error`` is the last failure, empty since the ring answered again.
    """

    pixels: tuple[Colour, ...]
    current_ma: int
    flags: LightFlag
    connected: bool
    retries: int
    error: str = ""
