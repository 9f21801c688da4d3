"""The line to a board: frames with sequence numbers, one command outstanding, repeats until one is answered.

Drivers never see raw bytes. What carries the bytes is a `Wire`: a serial port, or a simulated board in the tests.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Protocol

from mobilescope.core.errors import LinkError, RefusedError
from mobilescope.core.framing import Frame, FrameError, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.ring_protocol import STATUS_TEXT, Command, Status
from mobilescope.devices.ring_records import LinkStatistics, least_reply
from mobilescope.devices.serial_wire import SerialWire

__all__ = ["ATTEMPTS", "Link", "SerialWire", "Wire"]

ATTEMPTS = 12

# The longest frame takes 20 ms at 115200 baud and 25 ms at 19200; the rest is for USB adapters and a busy host.
_REPLY_S = 0.25
# How long the line must be still before the host takes a damaged reply for complete.
_QUIET_S = 0.003
_LAST_SEQUENCE = 255

_REMEDIES = {
    Status.CURRENT_LIMIT: "choose darker light or fewer pixels; scans and captures tell the board what "
    "the supply can give: supply_ma in [ring] of the instrument file",
    Status.STORE_TOO_SOON: "wait 10 s between two stores",
    Status.SEQUENCE_RUNNING: "stop the sequence first",
    Status.UNKNOWN_COMMAND: "update the firmware: mobilescope firmware flash",
    Status.UNKNOWN_SETTING: "update the firmware: mobilescope firmware flash",
}


class Wire(Protocol):
    """What carries bytes to a board and back, and the clock by which it does."""

    @property
    def name(self) -> str:
        """The port's name, for messages."""

    def write(self, data: bytes) -> None:
        """Send bytes; LinkLostError where the line is gone."""

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting for the first byte; nothing at time-out. LinkLostError as for `write`."""

    def now_s(self) -> float:
        """Return the time on the wire's clock, which only grows."""

    def sleep(self, duration_s: float) -> None:
        """Let time pass."""

    def close(self) -> None:
        """Free the line; closing twice does nothing."""

    def reopen(self) -> None:
        """Close and open again; PortError where that is impossible."""


@dataclass(frozen=True)
class _Reply:
    status: int
    data: bytes


class Link:
    """Commands and replies over a wire; safe to use from several threads.

    Parameters
    ----------
    wire : Wire
        An open line.
    attempts : int
        How often a command is sent before it fails.
    """

    def __init__(self, wire: Wire, *, attempts: int = ATTEMPTS) -> None:
        self.wire = wire
        self._attempts = attempts
        self._lock = threading.RLock()
        self._splitter = FrameSplitter()
        self._sequence = 0
        self._statistics = LinkStatistics()

    @property
    def statistics(self) -> LinkStatistics:
        """What was sent and repeated since the link was made."""
        return self._statistics

    def request(
        self, command: Command, payload: bytes = b"", timeout_s: float | None = None, *, attempts: int | None = None
    ) -> bytes:
        """Send a command until it is answered and return the data of the answer.

        Parameters
        ----------
        timeout_s : float, optional
            How long each attempt waits; longer for commands that take the board long.

        Raises
        ------
        RefusedError
            The board understood and refused.
        LinkError
            No attempt was answered. LinkLostError where the line is gone.
        """
        attempts = attempts or self._attempts
        with self._lock:
            self._sequence = self._sequence % _LAST_SEQUENCE + 1
            asked = Frame(self._sequence, command, payload)
            stuffed = encode_frame(asked)
            self._settle(0)
            self._count(sent=1)
            for attempt in range(attempts):
                if attempt:
                    self._count(retries=1)
                self.wire.write(stuffed)
                reply = self._reply_to(asked, timeout_s or _REPLY_S)
                if reply is not None:
                    return _data_of(reply, command)
        times = "once" if attempts == 1 else f"{attempts} times"
        raise LinkError(
            f"the board on {self.wire.name} did not answer {command.name}, sent {times}",
            "check cable and supply; mobilescope firmware flash writes the firmware",
        )

    def _reply_to(self, asked: Frame, timeout_s: float) -> _Reply | None:
        """Return the answer, or None where the command must be sent again; replies to earlier ones are passed over."""
        deadline_s = self.wire.now_s() + timeout_s
        while (left_s := deadline_s - self.wire.now_s()) > 0:
            for stuffed in self._splitter.feed(self.wire.read(left_s)):
                try:
                    frame = decode_frame(stuffed)
                except FrameError:
                    self._count(bad_replies=1)
                    # A zero made by noise ends a frame early: what is left of it is still coming.
                    self._settle(_QUIET_S)
                    return None
                if (frame.sequence, frame.command) == (0, 0):
                    return None
                if (frame.sequence, frame.command) == (asked.sequence, asked.command) and frame.payload:
                    reply = _Reply(frame.payload[0], frame.payload[1:])
                    if reply.status != Status.OK or len(reply.data) >= least_reply(asked.command):
                        return reply
                    # Damage that the CRC missed: it does not see a zero at its end get lost.
                    self._count(bad_replies=1)
                    return None
        return None

    def _settle(self, quiet_s: float) -> None:
        """Pass over what is still coming, until the line was quiet for so long; a babbling line is given up on."""
        deadline_s = self.wire.now_s() + _REPLY_S
        while self.wire.read(quiet_s) and self.wire.now_s() < deadline_s:
            pass
        self._splitter.clear()

    def _count(self, *, sent: int = 0, retries: int = 0, bad_replies: int = 0) -> None:
        counted = self._statistics
        self._statistics = replace(
            counted, sent=counted.sent + sent, retries=counted.retries + retries,
            bad_replies=counted.bad_replies + bad_replies,
        )


def _data_of(reply: _Reply, command: Command) -> bytes:
    """Return the data of an answer that says OK; RefusedError for any other."""
    if reply.status == Status.OK:
        return reply.data
    if reply.status not in STATUS_TEXT:
        raise LinkError(
            f"the board answered {command.name} with status {reply.status}, which this software does not know",
            "update Mobilescope",
        )
    status = Status(reply.status)
    cause = f"the ring refused {command.name}: {STATUS_TEXT[status].rstrip('.')}"
    if status == Status.CURRENT_LIMIT and len(reply.data) == 4:
        estimated_ma, limit_ma = int.from_bytes(reply.data[:2], "big"), int.from_bytes(reply.data[2:], "big")
        cause += f" ({estimated_ma} mA, limit {limit_ma} mA)"
    raise RefusedError(cause, _REMEDIES.get(status, ""), status=status, data=reply.data)
