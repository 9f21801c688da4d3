"""A board that runs Grbl 1.1, as its documentation describes it, by a clock that it is told.

Written from gnea/grbl's doc/markdown/interface.md, settings.md and jogging.md of version 1.1, and from nothing that the
driver holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# The settings that interface.md prints as an example.
DOCUMENTED_SETTINGS = {
    0: "10", 1: "25", 2: "0", 3: "0", 4: "0", 5: "0", 6: "0", 10: "255", 11: "0.010", 12: "0.002", 13: "0", 20: "0",
    21: "0", 22: "0", 23: "0", 24: "25.000", 25: "500.000", 26: "250", 27: "1.000", 30: "1000", 31: "0", 32: "0",
    100: "250.000", 101: "250.000", 102: "250.000", 110: "500.000", 111: "500.000", 112: "500.000", 120: "10.000",
    121: "10.000", 122: "10.000", 130: "200.000", 131: "200.000", 132: "200.000",
}
_JOG_WORD = re.compile(r"([A-Z])([-+]?\d*\.?\d+)")


@dataclass
class GrblBoard:
    """Answers bytes as Grbl does; positions are machine coordinates in mm.

    Attributes
    ----------
    settings : dict
        Changes to the documented settings.
    play_mm : tuple of float
        Backlash: how far each motor turns before its axis follows. ``carriage_mm`` is where the axes really are.
    switch_mm : tuple or None
        Beyond it in x, a hard limit switch is hit.
    """

    settings: dict[int, str] = field(default_factory=dict)
    version: str = "1.1h.20190830"
    note: str = ""
    options: str = "V,15,128"
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    play_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    switch_mm: float | None = None
    homing_s: float = 0.3
    start_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        self.settings = DOCUMENTED_SETTINGS | self.settings
        self.at_mm = list(self.start_mm)
        self.carriage_mm = list(self.start_mm)
        self.ways: list[list[float]] = []
        self.received: list[str] = []
        self._now_s = 0.0
        self._jog: tuple[list[float], list[float], float, float] | None = None
        self._queue: list[tuple[list[float], float]] = []
        self._line = b""
        self._out = b""
        self._homing_until_s: float | None = None
        self._reports = 0
        self._locked = self._critical = self._is_program = False
        self._holding: float | None = None

    def reset(self, now_s: float, _cause: object = None) -> None:
        """Power on, or a reset by the port's DTR line."""
        self._now_s = now_s
        self._restart(locked=self._is_on(22))

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Take bytes and return what the board says until now."""
        self._advance(now_s)
        for byte in data:
            if byte == ord("?"):
                self._report()
            elif byte == 0x18:
                self._soft_reset()
            elif byte in (0x85, ord("!")) and not self._is_program:
                self._cancel()
            elif byte == ord("!") and self._jog is not None:
                self._hold()
            elif byte >= 0x80 or byte == ord("~"):
                continue
            elif byte in b"\r\n":
                if byte == 0x0A or self._line:
                    self._execute(self._line.decode("ascii", "replace"))
                self._line = b""
            else:
                self._line += bytes((byte,))
        out, self._out = self._out, b""
        return out

    @property
    def state(self) -> str:
        if self._homing_until_s is not None:
            return "Home"
        if self._holding is not None:
            return "Hold:1" if self._now_s < self._holding else "Hold:0"
        if self._jog is not None:
            return "Run" if self._is_program else "Jog"
        return "Alarm" if self._locked else "Idle"

    def _is_on(self, number: int) -> bool:
        return self.settings[number] != "0"

    def _say(self, line: str) -> None:
        self._out += line.encode() + b"\r\n"

    def _restart(self, *, locked: bool) -> None:
        self._jog, self._queue, self._line, self._homing_until_s = None, [], b"", None
        self._locked, self._critical, self._is_program, self._holding = locked, False, False, None
        self._reports = 0
        self._say("")
        self._say(f"Grbl {self.version.removeprefix('v')[:4]} ['$' for help]")
        if locked:
            self._say("[MSG:'$H'|'$X' to unlock]")

    def _soft_reset(self) -> None:
        homing = self._homing_until_s is not None
        # A hold that is complete has brought the motors to rest.
        moving = self._jog is not None or self.state == "Hold:1"
        if homing or moving:
            self._say("ALARM:6" if homing else "ALARM:3")
        self._restart(locked=self._locked or homing or moving)

    def _cancel(self) -> None:
        """End the jog where it is now; Grbl slows down within its acceleration."""
        self._jog, self._queue = None, []

    def _hold(self) -> None:
        """Slow down, which takes a while, keeping what is left of the program."""
        self._holding = self._now_s + 0.2
        self._jog, self._queue = None, []

    def _execute(self, line: str) -> None:
        line = line.replace(" ", "").upper()
        self.received.append(line)
        if self._critical or self._homing_until_s is not None:
            return
        if not line:
            self._say("ok")
        elif line == "$I":
            self._say(f"[VER:{self.version}:{self.note}]")
            self._say(f"[OPT:{self.options}]")
            self._say("ok")
        elif line == "$$":
            for number, value in self.settings.items():
                self._say(f"${number}={value}")
            self._say("ok")
        elif line == "$X":
            if self._locked:
                self._locked = False
                self._say("[MSG:Caution: Unlocked]")
            self._say("ok")
        elif line == "$H":
            if self._is_on(22):
                self._homing_until_s = self._now_s + self.homing_s
            else:
                self._say("error:5")
        elif line.startswith("$J="):
            self._say(self._begin_jog(line[3:]))
        elif line.startswith("$"):
            self._say("error:3")
        elif line.startswith("G1") and not self._locked:
            self._say(self._begin_jog("G21G90" + line[2:]))
            self._is_program = True
        else:
            self._say("error:9" if self._locked else "error:20")

    def _begin_jog(self, text: str) -> str:
        if self._locked or self._is_program:
            return "error:9"
        words = _JOG_WORD.findall(text)
        codes = {f"G{float(value):g}" for letter, value in words if letter == "G"}
        axes = {"XYZ".index(letter): float(value) for letter, value in words if letter in "XYZ"}
        feeds = [float(value) for letter, value in words if letter == "F"]
        if "".join(letter + value for letter, value in words) != text or codes - {"G20", "G21", "G53", "G90", "G91"}:
            return "error:16"
        if not axes:
            return "error:26"
        if not feeds:
            return "error:22"
        scale = 25.4 if "G20" in codes else 1.0
        begin = self._queue[-1][0] if self._queue else (self._jog[1] if self._jog else self.at_mm)
        end = list(begin)
        for axis, value in axes.items():
            if "G91" in codes:
                end[axis] += value * scale
            else:
                end[axis] = value * scale + (0.0 if "G53" in codes else self.offset_mm[axis])
            steps = float(self.settings[100 + axis])
            end[axis] = round(end[axis] * steps) / steps
        if self._is_on(20) and any(
            not -float(self.settings[130 + axis]) - 1e-9 <= end[axis] <= 1e-9 for axis in range(3)
        ):
            return "error:15"
        self._queue.append((end, feeds[0] * scale))
        self._begin_next()
        return "ok"

    def _begin_next(self) -> None:
        if self._jog is None and self._queue:
            end, feed_mm_min = self._queue.pop(0)
            begin = list(self.at_mm)
            length = sum((b - a) ** 2 for a, b in zip(begin, end, strict=True)) ** 0.5
            if length == 0:
                return
            # Each axis keeps to its own greatest rate.
            rate = min([feed_mm_min] + [
                float(self.settings[110 + axis]) * length / abs(end[axis] - begin[axis])
                for axis in range(3) if end[axis] != begin[axis]
            ])
            self._jog = (begin, end, self._now_s, 60 * length / rate)

    def _advance(self, now_s: float) -> None:
        self._now_s = now_s
        if self._homing_until_s is not None and now_s >= self._homing_until_s:
            self._homing_until_s = None
            pull_off = float(self.settings[27])
            self._move_to([-pull_off] * 3)
            self._locked = False
            self._say("ok")
        while self._jog is not None:
            begin, end, since_s, lasts_s = self._jog
            share = min(1.0, (now_s - since_s) / lasts_s)
            place = [a + share * (b - a) for a, b in zip(begin, end, strict=True)]
            steps = [float(self.settings[100 + axis]) for axis in range(3)]
            before_mm = self.at_mm[0]
            self._move_to([round(value * step) / step for value, step in zip(place, steps, strict=True)])
            if self.switch_mm is not None and before_mm <= self.switch_mm < self.at_mm[0]:
                self._jog, self._queue = None, []
                self._locked = self._critical = True
                self._say("ALARM:1")
                self._say("[MSG:Reset to continue]")
                return
            if share < 1:
                return
            self.ways.append(end)
            self._jog = None
            self._begin_next()

    def _move_to(self, place: list[float]) -> None:
        """Turn the motors; the axes follow once their play is taken up."""
        self.at_mm = place
        for axis, (motor, play) in enumerate(zip(place, self.play_mm, strict=True)):
            self.carriage_mm[axis] = min(max(self.carriage_mm[axis], motor - play), motor)

    def _report(self) -> None:
        if self._critical or self._homing_until_s is not None:
            return
        scale, decimals = (1 / 25.4, 4) if self._is_on(13) else (1.0, 3)
        is_machine = int(self.settings[10]) & 1
        shown = [
            scale * (at - (0.0 if is_machine else shift))
            for at, shift in zip(self.at_mm, self.offset_mm, strict=True)
        ]
        text = f"<{self.state}|{'M' if is_machine else 'W'}Pos:" + ",".join(f"{value:.{decimals}f}" for value in shown)
        text += "|Bf:15,128|FS:0,0"
        if self._reports % 10 == 0:
            text += "|WCO:" + ",".join(f"{scale * value:.{decimals}f}" for value in self.offset_mm)
        self._reports += 1
        self._say(text + ">")
