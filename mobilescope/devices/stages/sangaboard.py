"""A Sangaboard, the motor board of the OpenFlexure Microscope: three unipolar steppers that count steps.

Protocol: the Sangaboard firmware's commands `version`, `p?`, `mr`, `dt?`, `moving?`, `stop`, `blocking_moves`, `zero`
(Sangaboard firmware 0.5 and 1.0, and pysangaboard, both by the Bath Open INstrumentation Group).
"""

from __future__ import annotations

import re
from itertools import pairwise

from mobilescope.core.errors import CancelledError, DeviceError, FirmwareVersionError, LinkError, UserError
from mobilescope.core.stage_config import Range, Triple
from mobilescope.devices.stages.line_link import LineLink
from mobilescope.devices.stages.motion import StageIdentity
from mobilescope.devices.transport import Wire

# A board with an Arduino on it is reset when its port is opened.
PATIENCE_S = 4.0

_ANSWER_S = 1.0
_TRIES = 3
_POLL_S = 0.05
# Firmware before 1.0 is deaf while it moves, so long ways are made in pieces of this length.
_PIECE_S = 0.5
_OLDEST = (0, 5)
_STOPPABLE = (1, 0)

BANNER = re.compile(r"Sangaboard Firmware v((\d+)\.(\d+)\S*)")
_PLACE = re.compile(r"(-?\d+) (-?\d+) (-?\d+)")
_DELAY = re.compile(r"minimum step delay (\d+)")
_WORD = re.compile(r"true|false")
_DONE = re.compile(r"done\.?|stopped")
_HALTED = re.compile(r"Move aborted.*|done\.?|stopped")
_ZEROED = re.compile(r"position reset to 0 0 0")

Steps = tuple[int, int, int]


class SangaboardController:
    """A Sangaboard. Implements `MotionController`.

    Parameters
    ----------
    wire : Wire
        An open line; closed again where the handshake fails.
    um_per_step : tuple of float
        How far one step moves x, y and z.

    Raises
    ------
    LinkError
        Nobody answers.
    FirmwareVersionError
        The firmware is older than 0.5.
    """

    def __init__(self, wire: Wire, um_per_step: Triple, *, patience_s: float = PATIENCE_S) -> None:
        self._lines = LineLink(wire)
        self._step_um = um_per_step
        self._halt_asked = False
        try:
            self._identity, self._version = self._greet(patience_s)
            if self._version < _OLDEST:
                raise FirmwareVersionError(
                    f"the Sangaboard on {wire.name} has firmware {self._identity.firmware}", "update it to 1.0 or newer"
                )
            self._step_s = int(self._ask("dt?", _DELAY)[1]) / 1e6
            if self._can_stop:
                self._ask("blocking_moves false", _DONE)
                self.stop_motion()
        except BaseException:
            wire.close()
            raise

    @property
    def identity(self) -> StageIdentity:
        """Who answers."""
        return self._identity

    @property
    def step_um(self) -> Triple:
        """How far one step of each motor goes, as it was told."""
        return self._step_um

    @property
    def travel_um(self) -> tuple[Range, Range, Range] | None:
        """None: the board knows no limits."""
        return None

    def state(self) -> str:
        """Return "moving" or "idle"."""
        return "moving" if self._is_moving() else "idle"

    def position_um(self) -> Triple:
        """Return where the board has counted to."""
        x, y, z = (count * step for count, step in zip(self._steps(), self._step_um, strict=True))
        return x, y, z

    def go_to(self, target_um: Triple) -> None:
        """Move along a straight line and wait until the motors stand; see `MotionController.go_to`."""
        x, y, z = (round(value / step) for value, step in zip(target_um, self._step_um, strict=True))
        target = (x, y, z)
        self._halt_asked = False
        for piece in self._pieces(self._steps(), target):
            if self._halt_asked:
                break
            self._move_by(piece)
        reached = self._steps()
        if reached == target:
            return
        if self._halt_asked:
            raise CancelledError(f"the move was halted at {reached} steps")
        raise DeviceError(
            f"the stage was sent to {target} steps and stands at {reached}", "check for an obstacle and end stops"
        )

    def request_halt(self) -> None:
        """Let the move end: within 0.1 s, or 0.5 s with firmware before 1.0, which can't be stopped in mid-move."""
        self._halt_asked = True

    def stop_motion(self) -> None:
        """Stop the motors and wait until they stand."""
        self._lines.drain()
        if self._can_stop:
            self._ask("stop", _HALTED)
            self._lines.drain()
            return
        wire = self._lines.wire
        until_s = wire.now_s() + 2 * _PIECE_S
        while self._lines.line(_POLL_S) is None and wire.now_s() < until_s:
            pass

    def home(self) -> None:
        """Refuse: its end stops, where there are any, are not driven from here."""
        raise UserError(
            "a Sangaboard is not homed from here",
            "bring the stage to the middle of its range, then `mobilescope stage zero`",
        )

    def unlock(self) -> None:
        """Do nothing: the board knows no alarm."""

    def zero(self) -> None:
        """Call the present position (0, 0, 0); the board remembers it."""
        self._ask("zero", _ZEROED)

    def close(self) -> None:
        """Free the port."""
        self._lines.wire.close()

    @property
    def _can_stop(self) -> bool:
        return self._version >= _STOPPABLE

    def _greet(self, patience_s: float) -> tuple[StageIdentity, tuple[int, int]]:
        wire = self._lines.wire
        until_s = wire.now_s() + patience_s
        heard: list[str] = []
        while wire.now_s() < until_s:
            self._lines.send("version")
            while (line := self._lines.line(0.4)) is not None:
                found = BANNER.match(line)
                if found:
                    self._lines.drain()
                    return StageIdentity("Sangaboard", found[1], wire.name), (int(found[2]), int(found[3]))
                heard.append(line)
        raise self._lines.unanswered("no Sangaboard answers", heard)

    def _pieces(self, start: Steps, target: Steps) -> list[Steps]:
        """Split a way into moves that add up to it: one, or several where the board can't be stopped."""
        way = [to - at for to, at in zip(target, start, strict=True)]
        longest = max(abs(steps) for steps in way)
        if longest == 0:
            return []
        number = 1 if self._can_stop else -(-longest // max(1, round(_PIECE_S / self._step_s)))
        corners = [[round(steps * index / number) for steps in way] for index in range(number + 1)]
        pieces = []
        for before, after in pairwise(corners):
            x, y, z = (there - here for here, there in zip(before, after, strict=True))
            pieces.append((x, y, z))
        return pieces

    def _move_by(self, piece: Steps) -> None:
        """Make one relative move and wait for its end, or for a halt."""
        wire = self._lines.wire
        seconds = max(abs(steps) for steps in piece) * self._step_s
        if not self._can_stop:
            self._ask(f"mr {piece[0]} {piece[1]} {piece[2]}", _DONE, timeout_s=2 * seconds + 2, again=False)
            return
        self._ask(f"mr {piece[0]} {piece[1]} {piece[2]}", _DONE, again=False)
        until_s = wire.now_s() + 2 * seconds + 5
        while self._is_moving():
            if self._halt_asked:
                self._ask("stop", _HALTED)
            elif wire.now_s() >= until_s:
                self._ask("stop", _HALTED)
                raise DeviceError(f"the stage did not stop within {2 * seconds + 5:.0f} s", "check the board")
            wire.sleep(_POLL_S)

    def _is_moving(self) -> bool:
        return self._can_stop and self._ask("moving?", _WORD)[0] == "true"

    def _steps(self) -> Steps:
        found = self._ask("p?", _PLACE)
        return int(found[1]), int(found[2]), int(found[3])

    def _ask(
        self, command: str, wanted: re.Pattern[str], *, timeout_s: float = _ANSWER_S, again: bool = True
    ) -> re.Match[str]:
        """Send a command and return the answer that fits; what doesn't is passed over.

        A question is asked again where no answer came; a relative move never is: it might be made twice.
        """
        wire = self._lines.wire
        heard = ""
        for _ in range(_TRIES if again else 1):
            for late in self._lines.drain(0.0):
                self._hear(late)
            self._lines.send(command)
            until_s = wire.now_s() + timeout_s
            while (left_s := until_s - wire.now_s()) > 0 and (line := self._lines.line(left_s)) is not None:
                found = wanted.fullmatch(line)
                if found:
                    return found
                self._hear(line)
                heard = line
        said = f"answered {command} with {heard!r}" if heard else f"did not answer {command}"
        raise LinkError(f"the board on {wire.name} {said}", "check cable and supply")

    def _hear(self, line: str) -> None:
        """Raise for what a board says unasked when something is wrong."""
        if BANNER.match(line):
            raise DeviceError(
                f"the board on {self._lines.wire.name} was reset, and its position may be wrong",
                "check its supply; bring the stage to the middle of its range, then `mobilescope stage zero`",
            )
        if line.startswith("Endstop hit"):
            raise DeviceError("the stage hit an end stop", "move it back, and give limits in the instrument file")
