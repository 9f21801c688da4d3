"""Who answers on a port: a stage's board, found by what it says and nothing that moves it."""

from __future__ import annotations

from mobilescope.core.errors import LinkError
from mobilescope.devices.stages import sangaboard
from mobilescope.devices.stages.grbl_words import BANNER, STATUS_QUERY, parse_build, parse_report
from mobilescope.devices.stages.line_link import BAUD, LineLink
from mobilescope.devices.stages.motion import StageIdentity
from mobilescope.devices.transport import SerialWire

_PAUSE_S = 0.25


def probe_stage(port: str, *, patience_s: float) -> StageIdentity | None:
    """Return which stage's board is on a port, None where none answers; a board that moves is not stopped.

    Raises
    ------
    PortError
        The port can't be opened.
    """
    wire = SerialWire(port, BAUD)
    lines = LineLink(wire)
    until_s = wire.now_s() + patience_s
    try:
        while wire.now_s() < until_s:
            lines.send_now(STATUS_QUERY)
            lines.send("")
            lines.send("version")
            while (line := lines.line(_PAUSE_S)) is not None:
                found = sangaboard.BANNER.match(line)
                if found:
                    return StageIdentity("Sangaboard", found[1], port)
                if BANNER.match(line) or parse_report(line):
                    return StageIdentity("Grbl", _version(lines), port)
    except LinkError:
        return None
    finally:
        wire.close()
    return None


def _version(lines: LineLink) -> str:
    """Ask for the version of Grbl: empty where the board is busy, which then tells none."""
    lines.drain()
    lines.send("$I")
    answer = []
    while (line := lines.line(_PAUSE_S)) is not None and line != "ok":
        answer.append(line)
    return parse_build(answer)[0]
