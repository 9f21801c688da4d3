"""The handshake: who is there, at which speed, and does it speak this software's protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mobilescope.core.errors import LinkError, LinkLostError
from mobilescope.core.ring_protocol import BOARDS, Command
from mobilescope.devices.ring_records import BoardIdentity
from mobilescope.devices.transport import Link, SerialWire

# Opening a port resets an Arduino; its bootloader then waits for 1 to 2 s before it starts the firmware.
PATIENCE_S = 4.0

_REPLY_S = 0.25
_PAUSE_S = 0.02
_TRIES_A_SPEED = 2
_BAUDS = tuple(sorted({board.baud for board in BOARDS}, reverse=True))


def identify(link: Link, *, patience_s: float = PATIENCE_S, stop: threading.Event | None = None) -> BoardIdentity:
    """Ask who is there until the board answers.

    Raises
    ------
    LinkError
        Nobody answered in time, or ``stop`` was set. LinkLostError where the line is gone.
    FirmwareVersionError
        A board with which this software can't talk.
    """
    return _identify(link, patience_s, stop, lambda _attempt: None)


def connect(port: str, *, patience_s: float = PATIENCE_S) -> tuple[Link, BoardIdentity]:
    """Open a port and return its link and who is there; the port is closed again where that fails."""
    wire = SerialWire(port, _BAUDS[0])
    link = Link(wire)

    def change_speed(attempt: int) -> None:
        if attempt % _TRIES_A_SPEED == 0:
            wire.set_baud(_BAUDS[attempt // _TRIES_A_SPEED % len(_BAUDS)])

    try:
        return link, _identify(link, patience_s, None, change_speed)
    except BaseException:
        wire.close()
        raise


def _identify(
    link: Link, patience_s: float, stop: threading.Event | None, before: Callable[[int], None]
) -> BoardIdentity:
    wire = link.wire
    deadline_s = wire.now_s() + patience_s
    attempt = 0
    while True:
        before(attempt)
        attempt += 1
        try:
            return BoardIdentity.read(link.request(Command.IDENTIFY, timeout_s=_REPLY_S, attempts=1), wire.name)
        except LinkLostError:
            raise
        except LinkError as error:
            if wire.now_s() >= deadline_s or (stop is not None and stop.is_set()):
                raise LinkError(
                    f"no ring answers on {wire.name}",
                    "check cable and supply; mobilescope firmware flash writes the firmware",
                ) from error
            # A line that answers nonsense at once must not be asked without pause.
            wire.sleep(_PAUSE_S)
