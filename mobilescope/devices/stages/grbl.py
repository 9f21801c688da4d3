"""A stage's board that runs Grbl 1.1, moved by jogs: they can be cancelled at once and leave no mode behind.

Protocol: gnea/grbl, doc/markdown/interface.md and jogging.md of version 1.1.
"""

from __future__ import annotations

import math

from mobilescope.core.errors import (
    CancelledError,
    DeviceError,
    FirmwareVersionError,
    LimitError,
    LinkError,
    UserError,
)
from mobilescope.core.stage_config import Range, Triple
from mobilescope.devices.stages import grbl_words as words
from mobilescope.devices.stages.line_link import LineLink
from mobilescope.devices.stages.motion import StageIdentity
from mobilescope.devices.transport import Wire

# An Arduino is reset when its port is opened, and its bootloader waits for 1 to 2 s.
PATIENCE_S = 4.0

_ANSWER_S = 2.0
_REPORT_S = 0.5
_TRIES = 4
_POLL_S = 0.03
_HOMING_S = 180.0
# A report has three decimals of mm or four of inches: half of the last one, and some for the conversion from steps.
_ROUNDING_UM, _INCH_ROUNDING_UM = 0.6, 1.4
_OFFSET_REPORTS = 35
_LOCKED = "unlock it with `mobilescope stage home`, or after a look at the stage with `mobilescope stage unlock`"


class GrblController:
    """A board that runs Grbl 1.1. Implements `MotionController`, in machine coordinates.

    Parameters
    ----------
    wire : Wire
        An open line; closed again where the handshake fails.
    speed_um_s : tuple of float, optional
        Speeds for moves that include x or y, and for z alone; the board's own greatest without.

    Raises
    ------
    LinkError
        Nobody answers.
    FirmwareVersionError
        Who answers is not Grbl 1.1.
    DeviceError
        The board sleeps, or its door is open.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        speed_um_s: tuple[float | None, float | None] = (None, None),
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._lines = LineLink(wire)
        self._speed_um_s = speed_um_s
        self._offset: Triple | None = None
        self._target_um: Triple | None = None
        self._halt_asked = self._is_homing = self._needs_reset = False
        try:
            self._greet(patience_s)
            self._lines.send("")
            self._lines.drain()
            version, self._options = words.parse_build(self._ask("$I"))
            if not version.startswith("1.1"):
                raise FirmwareVersionError(
                    f"the board on {wire.name} runs Grbl {version or 'of an unknown version'}, not 1.1",
                    "flash Grbl 1.1 onto it",
                )
            self._identity = StageIdentity("Grbl", version, wire.name)
            self._come_to_rest()
            self._settings = words.parse_settings(self._ask("$$"))
            missing = [number for number in (*words.STEPS_PER_MM, *words.MOST_RATE) if not self._settings.get(number)]
            if missing:
                raise LinkError(f"the board on {wire.name} tells no setting ${missing[0]}", "check it with $$")
        except BaseException:
            wire.close()
            raise

    @property
    def identity(self) -> StageIdentity:
        """Who answers."""
        return self._identity

    @property
    def step_um(self) -> Triple:
        """How far one step of each motor goes, by the board's settings."""
        x, y, z = (1000.0 / self._settings[number] for number in words.STEPS_PER_MM)
        return x, y, z

    @property
    def travel_um(self) -> tuple[Range, Range, Range] | None:
        """The range that the board keeps to after homing, None where its soft limits are off."""
        if not (self._settings.get(words.SOFT_LIMITS) and self._settings.get(words.HOMING)):
            return None
        x, y, z = (self._axis_travel_um(axis, number) for axis, number in enumerate(words.TRAVEL))
        return x, y, z

    def state(self) -> str:
        """Return the state of the board's last report, such as idle, jog or alarm."""
        return self._report().state

    def position_um(self) -> Triple:
        """Return where the board says it is.

        A report is rounded, to 1 µm in mm. Where it agrees with the place that the last move went to, that place, a
        whole number of steps, is returned.
        """
        report = self._report()
        reported, sent = self._machine_um(report), self._target_um
        if sent is not None and _apart_um(reported, sent) <= self._rounding_um(report):
            return sent
        return reported

    def go_to(self, target_um: Triple) -> None:
        """Jog along a straight line and wait until the board is idle; see `MotionController.go_to`."""
        start_um = self.position_um()
        target_um = self._whole_steps(target_um)
        apart_um = [abs(to - start) for to, start in zip(target_um, start_um, strict=True)]
        moving = [axis for axis, apart in enumerate(apart_um) if apart > 0.5 * self.step_um[axis]]
        if not moving:
            return
        self._halt_asked = False
        self._target_um = None
        self._jog({axis: target_um[axis] for axis in moving})
        seconds = max(60 * apart_um[axis] / 1000 / self._feed_mm_min(axis) for axis in moving)
        report = self._wait_until_idle(2 * seconds + 5)
        reached = self._machine_um(report)
        x, y, z = (target_um[axis] if axis in moving else start_um[axis] for axis in range(3))
        if _apart_um(reached, (x, y, z)) <= self._rounding_um(report):
            self._target_um = (x, y, z)
        elif self._halt_asked:
            raise CancelledError(f"the move was halted at {_place(reached)}")
        else:
            raise DeviceError(
                f"the stage was sent to {_place(target_um)} and stands at {_place(reached)}",
                "check for an obstacle, then `mobilescope stage home`",
            )

    def request_halt(self) -> None:
        """Cancel the jog, or break off homing; the thread that waits for it hears of it."""
        self._halt_asked = True
        self._lines.send_now(words.SOFT_RESET if self._is_homing else words.JOG_CANCEL)

    def stop_motion(self) -> None:
        """Cancel the jog and wait until the board is idle."""
        self._halt_asked = True
        self._lines.drain()
        # A board that an alarm stopped stands already, and answers nothing until it is reset.
        if not self._needs_reset:
            self._come_to_rest()

    def home(self) -> None:
        """Run the board's homing cycle; this also lifts an alarm.

        Raises
        ------
        UserError
            Homing is not enabled in the board's settings.
        DeviceError
            The cycle failed, or was broken off.
        """
        self._leave_alarm()
        self._is_homing, self._halt_asked, self._target_um = True, False, None
        try:
            self._ask("$H", timeout_s=_HOMING_S)
        except KeyboardInterrupt:
            # Nothing else ends a homing cycle; the board is locked afterwards.
            self._lines.send_now(words.SOFT_RESET)
            raise
        finally:
            self._is_homing = False

    def unlock(self) -> None:
        """Lift an alarm; steps may have been lost."""
        self._target_um = None
        self._leave_alarm()
        self._ask("$X")

    def zero(self) -> None:
        """Refuse: Grbl's machine coordinates come from homing."""
        raise UserError(
            "Grbl's machine coordinates are not set by hand", "home the stage, or give origin_um in the instrument file"
        )

    def close(self) -> None:
        """Free the port."""
        self._lines.wire.close()

    def _greet(self, patience_s: float) -> None:
        """Wait until the board reports, having been reset by the opening of its port or not."""
        wire = self._lines.wire
        begun_s = wire.now_s()
        heard: list[str] = []
        was_reset = False
        while (waited_s := wire.now_s() - begun_s) < patience_s:
            if waited_s > 0.7 * patience_s and not was_reset:
                # A board that hit a limit switch answers nothing until it is reset.
                self._lines.send_now(words.SOFT_RESET)
                was_reset = True
            self._lines.send_now(words.STATUS_QUERY)
            while (line := self._lines.line(0.3)) is not None:
                if words.parse_report(line) or words.BANNER.match(line):
                    self._lines.drain()
                    return
                heard.append(line)
        raise self._lines.unanswered("nobody who speaks Grbl answers", heard)

    def _leave_alarm(self) -> None:
        """Reset a board that takes nothing else after an alarm; it is locked then."""
        if self._needs_reset:
            self._needs_reset = False
            self._lines.send_now(words.SOFT_RESET)
            self._greet(PATIENCE_S)

    def _come_to_rest(self) -> None:
        """End what an earlier program left going, and refuse a board that does something else."""
        report = self._report()
        if report.state == "jog":
            self._lines.send_now(words.JOG_CANCEL)
            report = self._wait_until_idle(10)
        if report.state in ("run", "hold"):
            report = self._hold_and_reset()
        if report.state not in ("idle", "alarm"):
            raise DeviceError(
                f"the board on {self._lines.wire.name} is in the state {report.state}",
                "end what it does, or switch it off and on",
            )

    def _hold_and_reset(self) -> words.Report:
        """End a program: slow down first, since a reset in motion loses the position, then forget the rest of it."""
        wire = self._lines.wire
        until_s = wire.now_s() + 10
        self._lines.send_now(words.FEED_HOLD)
        while (report := self._report()).state == "run" or (report.state == "hold" and report.part):
            if wire.now_s() >= until_s:
                raise DeviceError(f"the board on {wire.name} runs a program and can't be held", "switch it off")
            wire.sleep(_POLL_S)
        self._lines.send_now(words.SOFT_RESET)
        self._greet(PATIENCE_S)
        return self._report()

    def _jog(self, targets_um: dict[int, float]) -> None:
        """Start a jog in machine coordinates, millimetres, absolute."""
        places = "".join(f"{'XYZ'[axis]}{target / 1000:.5f}" for axis, target in targets_um.items())
        # The board slows each axis to its own greatest rate.
        rate = max(self._settings[number] for number in words.MOST_RATE) * math.sqrt(3)
        speed = self._speed_um_s[0 if set(targets_um) & {0, 1} else 1]
        self._ask(f"$J=G53G90G21{places}F{min(rate, speed * 0.06) if speed else rate:.3f}")

    def _wait_until_idle(self, timeout_s: float) -> words.Report:
        wire = self._lines.wire
        until_s = wire.now_s() + timeout_s
        while (report := self._report()).state == "jog":
            if self._halt_asked:
                self._lines.send_now(words.JOG_CANCEL)
            if wire.now_s() >= until_s:
                self._lines.send_now(words.JOG_CANCEL)
                raise DeviceError(
                    f"the stage did not arrive within {timeout_s:.0f} s and was stopped", "check for an obstacle"
                )
            wire.sleep(_POLL_S)
        if report.state == "alarm":
            raise DeviceError("the board went into an alarm in mid-move", _LOCKED)
        return report

    def _report(self) -> words.Report:
        """Ask for a status report until one comes whole, with the work offset known where it is needed."""
        for _ in range(_OFFSET_REPORTS):
            report = self._next_report()
            self._offset = report.offset or self._offset
            if report.is_machine or self._offset is not None:
                return report
        raise LinkError(
            f"the board on {self._lines.wire.name} reports work positions and never their offset", "set $10=1 on it"
        )

    def _next_report(self) -> words.Report:
        wire = self._lines.wire
        for _ in range(_TRIES):
            self._lines.send_now(words.STATUS_QUERY)
            until_s = wire.now_s() + _REPORT_S
            while (left_s := until_s - wire.now_s()) > 0 and (line := self._lines.line(left_s)) is not None:
                report = words.parse_report(line)
                if report is not None:
                    return report
                self._hear(line)
        raise LinkError(
            f"the board on {wire.name} does not answer", "check cable and supply; the stage may still be moving"
        )

    def _ask(self, command: str, timeout_s: float = _ANSWER_S) -> list[str]:
        """Send a line and return what comes before its ok."""
        wire = self._lines.wire
        # What an earlier command was answered too late is not this one's answer.
        for late in self._lines.drain(0.0):
            self._hear(late)
        self._lines.send(command)
        answer: list[str] = []
        until_s = wire.now_s() + timeout_s
        while (left_s := until_s - wire.now_s()) > 0 and (line := self._lines.line(left_s)) is not None:
            if line == "ok":
                return answer
            if line.startswith("error:"):
                raise _refused(command, words.error_number(line))
            self._hear(line)
            answer.append(line)
        raise LinkError(f"the board on {wire.name} did not answer {command}", "check cable and supply")

    def _hear(self, line: str) -> None:
        """Raise for what a board says unasked when something is wrong."""
        if line.startswith("ALARM:"):
            self._target_um = None
            self._needs_reset = not self._halt_asked
            if self._halt_asked:
                self._lines.drain()
                raise CancelledError("the stage was halted by a reset of the board", _LOCKED)
            raise DeviceError(f"the stage stopped: {words.alarm_text(line)}", _LOCKED)
        if words.BANNER.match(line):
            self._target_um = self._offset = None
            raise DeviceError(
                f"the board on {self._lines.wire.name} was reset, and its position may be lost",
                "check its supply, then `mobilescope stage home`",
            )

    def _machine_um(self, report: words.Report) -> Triple:
        scale = 1000 * (words.INCH_MM if self._settings.get(words.REPORT_IN_INCHES) else 1.0)
        offset = (0.0, 0.0, 0.0) if report.is_machine or self._offset is None else self._offset
        x, y, z = (scale * (value + shift) for value, shift in zip(report.position, offset, strict=True))
        return x, y, z

    def _rounding_um(self, report: words.Report) -> float:
        """Return how far a reported place may be from the true one; the offset of work positions is rounded as well."""
        once = _INCH_ROUNDING_UM if self._settings.get(words.REPORT_IN_INCHES) else _ROUNDING_UM
        return once if report.is_machine else 2 * once

    def _whole_steps(self, place_um: Triple) -> Triple:
        x, y, z = (round(value / step) * step for value, step in zip(place_um, self.step_um, strict=True))
        return x, y, z

    def _axis_travel_um(self, axis: int, number: int) -> Range:
        length_um = 1000 * self._settings[number]
        homes_down = bool(int(self._settings.get(words.HOMING_DIRECTION, 0)) >> axis & 1)
        return (0.0, length_um) if words.ZERO_AT_HOME in self._options and homes_down else (-length_um, 0.0)

    def _feed_mm_min(self, axis: int) -> float:
        most = self._settings[words.MOST_RATE[axis]]
        speeds = [speed * 0.06 for speed in self._speed_um_s if speed]
        return min(most, *speeds) if speeds else most


def _refused(command: str, number: int) -> Exception:
    text = f"the board refused {command.partition('=')[0]}, {words.error_text(number)}"
    if number == 5:
        return UserError(text, "set up limit switches and $22=1, or give origin_um and limits in the instrument file")
    if number == 15:
        return LimitError(text, "choose a position inside it")
    return DeviceError(text, _LOCKED if number == 9 else "check the board's settings with $$")


def _apart_um(first: Triple, second: Triple) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _place(place_um: Triple) -> str:
    x, y, z = place_um
    return f"({x:.1f}, {y:.1f}, {z:.1f}) µm"
