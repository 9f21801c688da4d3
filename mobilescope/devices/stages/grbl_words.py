"""Grbl 1.1's words: status reports, settings, alarms and errors, as its own documentation lists them.

Source: gnea/grbl, doc/markdown/interface.md, settings.md and jogging.md of version 1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobilescope.core.stage_config import Triple

STATUS_QUERY = ord("?")
FEED_HOLD = ord("!")
SOFT_RESET = 0x18
JOG_CANCEL = 0x85

REPORT_IN_INCHES, SOFT_LIMITS, HOMING, HOMING_DIRECTION = 13, 20, 22, 23
STEPS_PER_MM, MOST_RATE, ACCELERATION, TRAVEL = (100, 101, 102), (110, 111, 112), (120, 121, 122), (130, 131, 132)
# Build option: the switches' corner is zero, so that an axis which homes downwards has positive coordinates.
ZERO_AT_HOME = "Z"

INCH_MM = 25.4
BANNER = re.compile(r"Grbl (\d+\.\d+\w*) ")
_BUILD = re.compile(r"\[VER:([^:\]]*)")
_OPTIONS = re.compile(r"\[OPT:([^,\]]*)")
_REPORT = re.compile(
    r"<(?P<state>[A-Za-z]+)(?::(?P<part>\d+))?\|(?P<frame>[MW])Pos:(?P<position>[-\d.,]+)(?P<rest>[^>]*)>"
)
_OFFSET = re.compile(r"\|WCO:([-\d.,]+)")
_SETTING = re.compile(r"\$(\d+)=(-?[\d.]+)")

_ALARMS = {
    1: "a limit switch was hit, and the position is probably lost",
    2: "the target lies beyond the board's travel",
    3: "the board was reset while it moved, and steps may be lost",
    6: "homing was broken off by a reset",
    7: "homing was broken off by the safety door",
    8: "homing did not get clear of a limit switch",
    9: "homing found no limit switch",
}
_ERRORS = {
    2: "a number that it does not understand",
    3: "a command that it does not know",
    5: "homing is not enabled in its settings ($22)",
    8: "not possible while it moves",
    9: "it is locked by an alarm",
    11: "the line is too long",
    13: "its safety door is open",
    15: "the target lies beyond its travel",
    16: "not a valid jog",
    20: "a code that it does not support",
}


@dataclass(frozen=True)
class Report:
    """One status report: the state in lower case, and the positions as they stand in it, mm or inches.

    ``part`` is the number behind some states; a hold is complete at 0.
    """

    state: str
    position: Triple
    is_machine: bool
    offset: Triple | None
    part: int | None = None


def parse_report(line: str) -> Report | None:
    """Read a status report; None where the line is none, or a damaged one."""
    found = _REPORT.fullmatch(line)
    if found is None:
        return None
    offset = _OFFSET.search(found["rest"])
    position = _triple(found["position"])
    shift = _triple(offset[1]) if offset else None
    if position is None or (offset and shift is None):
        return None
    part = None if found["part"] is None else int(found["part"])
    return Report(found["state"].lower(), position, found["frame"] == "M", shift, part)


def parse_settings(lines: list[str]) -> dict[int, float]:
    """Read the answer to ``$$``."""
    return {int(found[1]): float(found[2]) for line in lines if (found := _SETTING.fullmatch(line))}


def parse_build(lines: list[str]) -> tuple[str, str]:
    """Read the answer to ``$I``: version and option letters; empty where it tells none."""
    text = "\n".join(lines)
    version, options = _BUILD.search(text), _OPTIONS.search(text)
    return (version[1] if version else "").removeprefix("v"), options[1] if options else ""


def alarm_text(line: str) -> str:
    """Say what an ``ALARM:n`` means."""
    number = int(code) if (code := line.partition(":")[2]).isdigit() else 0
    return f"alarm {number or line!r}: {_ALARMS.get(number, 'see the list of alarms of Grbl')}"


def error_number(line: str) -> int:
    """Return n of ``error:n``; 0 where it is no number."""
    code = line.partition(":")[2].strip()
    return int(code) if code.isdigit() else 0


def error_text(number: int) -> str:
    """Say what an ``error:n`` means."""
    return f"error {number}: {_ERRORS.get(number, 'see the list of errors of Grbl')}"


def _triple(text: str) -> Triple | None:
    try:
        x, y, z = (float(part) for part in text.split(",")[:3])
    except ValueError:
        return None
    return x, y, z
