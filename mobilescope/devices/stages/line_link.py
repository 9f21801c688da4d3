"""Lines of text over a serial wire, whatever else the wire may carry."""

from __future__ import annotations

from collections import deque

from mobilescope.core.errors import LinkError
from mobilescope.devices.transport import Wire

# Grbl 1.1 and the Sangaboard alike.
BAUD = 115200

# No board of ours says more in a line; what goes on longer is noise.
_LONGEST = 400
_QUIET_S = 0.05
_BABBLE_S = 1.0


class LineLink:
    """Sends lines and returns the lines that come, without their ends; empty ones are passed over.

    Parameters
    ----------
    wire : Wire
        An open line.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._partial = bytearray()
        self._lines: deque[str] = deque()

    def send(self, line: str) -> None:
        """Send one line."""
        self.wire.write(line.encode("ascii") + b"\n")

    def send_now(self, byte: int) -> None:
        """Send one byte that is a command of its own."""
        self.wire.write(bytes((byte,)))

    def line(self, timeout_s: float) -> str | None:
        """Return the next line; None where none came in time. LinkLostError where the wire is gone."""
        until_s = self.wire.now_s() + timeout_s
        while not self._lines:
            left_s = until_s - self.wire.now_s()
            if left_s <= 0:
                return None
            self._take(self.wire.read(left_s))
        return self._lines.popleft()

    def unanswered(self, what: str, heard: list[str]) -> LinkError:
        """Return the error of a handshake: ``what`` on this port, and the last of what was heard instead."""
        said = f"; it said {heard[-1]!r}" if heard else ""
        return LinkError(
            f"{what} on {self.wire.name}{said}", "check cable, supply and port: `mobilescope devices` lists the ports"
        )

    def drain(self, quiet_s: float = _QUIET_S) -> list[str]:
        """Return what comes until the wire is quiet for so long; a line that never rests is given up on."""
        until_s = self.wire.now_s() + _BABBLE_S
        while (data := self.wire.read(quiet_s)) and self.wire.now_s() < until_s:
            self._take(data)
        heard = list(self._lines)
        self._lines.clear()
        self._partial.clear()
        return heard

    def _take(self, data: bytes) -> None:
        self._partial += data
        *whole, rest = self._partial.replace(b"\r", b"\n").split(b"\n")
        self._partial = bytearray(rest[-_LONGEST:])
        for raw in whole:
            # Noise is not ASCII, or holds control characters.
            text = "".join(character for character in raw.decode("ascii", "replace") if character.isprintable()).strip()
            if text:
                self._lines.append(text)
