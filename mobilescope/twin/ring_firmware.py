"""The illumination firmware in Python, byte for byte as firmware/PROTOCOL.md says, for where no simulator is installed.

It is an Uno on a perfect line: it loses no bytes and shows pixels in no time.
"""

from __future__ import annotations

from collections.abc import Callable

from mobilescope.core.framing import Frame, FrameError, crc16, decode_frame, encode_frame
from mobilescope.core.ring_model import Colour, estimated_ma, shown_crc
from mobilescope.core.ring_protocol import (
    BOARDS,
    FIRMWARE_VERSION,
    PROTOCOL_VERSION,
    SETTING_RANGES,
    Capability,
    Command,
    LightFlag,
    ResetCause,
    SelfTest,
    Setting,
    Status,
)
from mobilescope.twin.firmware_port import FirmwarePort
from mobilescope.twin.ring_light import RefusalError, RingLight, SelfOff, Show

__all__ = ["FirmwarePort", "RingFirmware"]

_BOARD = next(board for board in BOARDS if board.name == "uno")
_CAPABILITIES = Capability.TRIGGER | Capability.STORE
# What Python can't test on itself is left out of the run.
_SELF_TESTS = SelfTest.RAM | SelfTest.EEPROM | SelfTest.LINE | SelfTest.SHOW | SelfTest.WATCHDOG
_FREE_RAM = 1024
_STORE_PAUSE_S = 10.0
# Sequence number, command and CRC around the payload, and COBS' first byte.
_LONGEST_STUFFED = _BOARD.max_payload + 5
_GREATEST_U16 = 0xFFFF
_GREATEST_U32 = 0xFFFFFFFF


class RingFirmware:
    """The firmware of an Uno; time is what its caller says, in seconds on any clock.

    Parameters
    ----------
    pixels : int
        The ring's length, 1-60.
    """

    _pending: bytearray
    _overlong: bool
    _frames: int
    _bad_frames: int
    _timeouts: int

    def __init__(self, pixels: int = SETTING_RANGES[Setting.PIXELS].default) -> None:
        if not 1 <= pixels <= _BOARD.max_pixels:
            raise ValueError(f"an Uno has 1 to {_BOARD.max_pixels} pixels, not {pixels}")
        self._pixels = pixels
        self._stored: tuple[dict[Setting, int], tuple[Colour, ...]] | None = None
        self._stores = 0
        self._resets = 0
        self._start(0.0, ResetCause.POWER_ON)

    @property
    def shown(self) -> tuple[Colour, ...]:
        """The pixels on the wire."""
        return self._light.shown

    @property
    def shows(self) -> tuple[Show, ...]:
        """What went over the wire since the last reset, with times; the latest 10,000."""
        return tuple(self._light.shows)

    def reset(self, now_s: float, cause: ResetCause = ResetCause.EXTERNAL) -> None:
        """Start anew, as by the reset pin or the supply; what was stored stays."""
        self._resets = 0 if cause & ResetCause.POWER_ON else min(self._resets + 1, _GREATEST_U16)
        self._start(now_s, cause)

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Take bytes from the host and return what is sent back at once."""
        self.tick(now_s)
        replies = []
        for byte in data:
            if byte:
                self._overlong |= len(self._pending) == _LONGEST_STUFFED
                if not self._overlong:
                    self._pending.append(byte)
            elif self._pending:
                replies.append(self._answer(bytes(self._pending), now_s))
                self._pending.clear()
                self._overlong = False
        return b"".join(replies)

    def tick(self, now_s: float) -> None:
        """Let time pass: sequences go on, silence darkens the ring."""
        why = self._light.tick(now_s)
        if why == SelfOff.SILENCE:
            self._timeouts = min(self._timeouts + 1, _GREATEST_U16)
        if why is not None:
            self._forget()

    def _start(self, now_s: float, cause: ResetCause) -> None:
        self._light = RingLight(_BOARD, self._pixels, now_s)
        if self._stored is not None:
            settings, shown = self._stored
            self._light.settings.update(settings)
            self._light.shine_locally(shown, now_s)
        self._cause = cause
        self._started_s = now_s
        self._stored_s = float("-inf")
        self._fresh = True
        self._frames = 0
        self._bad_frames = 0
        self._timeouts = 0
        self._pending = bytearray()
        self._overlong = False
        self._forget()

    def _forget(self) -> None:
        self._last: tuple[int, int] | None = None
        self._last_reply = b""

    def _answer(self, stuffed: bytes, now_s: float) -> bytes:
        try:
            if self._overlong:
                raise FrameError("longer than any command")
            frame = decode_frame(stuffed)
        except FrameError:
            self._bad_frames = min(self._bad_frames + 1, _GREATEST_U16)
            return encode_frame(Frame(0, 0, bytes([Status.BAD_FRAME])))
        self._frames = min(self._frames + 1, _GREATEST_U32)
        self._light.heard(now_s)
        mark = (frame.sequence, crc16(bytes([frame.sequence, frame.command]) + frame.payload))
        if mark == self._last and frame.command != Command.IDENTIFY:
            return self._last_reply
        try:
            payload = bytes([Status.OK]) + self._execute(frame.command, frame.payload, now_s)
        except RefusalError as refusal:
            payload = bytes([refusal.status]) + refusal.data
        reply = encode_frame(Frame(frame.sequence, frame.command, payload))
        if frame.command == Command.IDENTIFY:
            self._forget()
        else:
            self._last, self._last_reply = mark, reply
        return reply

    def _execute(self, command: int, payload: bytes, now_s: float) -> bytes:
        """Return the data of the reply."""
        asked: dict[int, tuple[int | None, Callable[[bytes, float], bytes | None]]] = {
            Command.IDENTIFY: (0, self._identify),
            Command.KEEP_ALIVE: (0, lambda _payload, _now_s: None),
            Command.SET_ALL: (3 * self._light.pixels, self._set_all),
            Command.SET_ONE: (4, self._set_range),
            Command.SET_RANGE: (None, self._set_range),
            Command.FILL: (5, self._fill),
            Command.OFF: (0, self._off),
            Command.PATTERN: (5, self._pattern),
            Command.SEQUENCE_STEP: (8, self._sequence_step),
            Command.SEQUENCE_START: (3, self._sequence_start),
            Command.SEQUENCE_STOP: (0, self._off),
            Command.SET_CONFIG: (3, self._set_config),
            Command.GET_CONFIG: (1, self._get_config),
            Command.STORE: (0, self._store),
            Command.SELF_TEST: (0, self._self_test),
            Command.STATISTICS: (0, self._statistics),
        }
        if command not in asked:
            raise RefusalError(Status.UNKNOWN_COMMAND)
        length, execute = asked[command]
        if len(payload) != length and (length is not None or len(payload) < 4 or len(payload) % 3 != 1):
            raise RefusalError(Status.BAD_LENGTH)
        data = execute(payload, now_s)
        return self._light_reply() if data is None else data

    def _light_reply(self) -> bytes:
        shown = self._light.shown
        flags = self._light.flags | (LightFlag.FRESH if self._fresh else LightFlag(0))
        return bytes([flags]) + shown_crc(shown).to_bytes(2, "big") + estimated_ma(shown).to_bytes(2, "big")

    def _identify(self, _payload: bytes, _now_s: float) -> bytes:
        self._fresh = False
        return (
            bytes([*PROTOCOL_VERSION, *FIRMWARE_VERSION, _BOARD.code])
            + _BOARD.signature
            + bytes([self._light.pixels, _BOARD.max_pixels, _BOARD.max_payload, _BOARD.max_steps])
            + _CAPABILITIES.to_bytes(2, "big")
            + bytes([self._cause])
        )

    def _set_all(self, payload: bytes, now_s: float) -> None:
        self._light.paint(0, _colours(payload), now_s)

    def _set_range(self, payload: bytes, now_s: float) -> None:
        self._light.paint(payload[0], _colours(payload[1:]), now_s)

    def _fill(self, payload: bytes, now_s: float) -> None:
        first, count = payload[:2]
        if count == 0:
            raise RefusalError(Status.VALUE_OUT_OF_RANGE)
        self._light.paint(first, _colours(payload[2:]) * count, now_s)

    def _off(self, _payload: bytes, now_s: float) -> None:
        self._light.off(now_s)

    def _pattern(self, payload: bytes, now_s: float) -> None:
        self._light.pattern(payload[0], payload[1], _colours(payload[2:])[0], now_s)

    def _sequence_step(self, payload: bytes, _now_s: float) -> None:
        step, kind, position = payload[:3]
        self._light.keep_step(step, kind, position, _colours(payload[3:6])[0], int.from_bytes(payload[6:], "big"))

    def _sequence_start(self, payload: bytes, now_s: float) -> None:
        self._light.start(payload[0], int.from_bytes(payload[1:], "big"), now_s)

    def _set_config(self, payload: bytes, now_s: float) -> None:
        self._light.configure(payload[0], int.from_bytes(payload[1:], "big"), now_s)

    def _get_config(self, payload: bytes, _now_s: float) -> bytes:
        if payload[0] not in SETTING_RANGES:
            raise RefusalError(Status.UNKNOWN_SETTING)
        return self._light.settings[Setting(payload[0])].to_bytes(2, "big")

    def _store(self, _payload: bytes, now_s: float) -> None:
        if self._light.playing:
            raise RefusalError(Status.SEQUENCE_RUNNING)
        if now_s - self._stored_s < _STORE_PAUSE_S:
            raise RefusalError(Status.STORE_TOO_SOON)
        self._stored = (dict(self._light.settings), self._light.shown)
        self._stored_s = now_s
        self._stores = min(self._stores + 1, _GREATEST_U16)

    def _self_test(self, _payload: bytes, now_s: float) -> bytes:
        self._light.off(now_s)
        return _SELF_TESTS.to_bytes(2, "big") * 2 + _FREE_RAM.to_bytes(2, "big")

    def _statistics(self, _payload: bytes, now_s: float) -> bytes:
        uptime_ms = min(round(1000 * (now_s - self._started_s)), _GREATEST_U32)
        overruns = 0
        return (
            self._frames.to_bytes(4, "big")
            + b"".join(
                counter.to_bytes(2, "big") for counter in (self._bad_frames, overruns, self._timeouts, self._resets)
            )
            + bytes([self._cause])
            + uptime_ms.to_bytes(4, "big")
            + self._stores.to_bytes(2, "big")
        )


def _colours(data: bytes) -> list[Colour]:
    return [(data[place], data[place + 1], data[place + 2]) for place in range(0, len(data), 3)]
