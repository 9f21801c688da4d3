"""A motorised stage: limits before a move, play taken up at its end, and the position read back."""

from __future__ import annotations

import math
import threading
import time

from mobilescope.core.closing import Closing
from mobilescope.core.errors import (
    CancelledError,
    ConfigError,
    DeviceError,
    LinkLostError,
    MobilescopeError,
)
from mobilescope.core.protocols import PositionUm
from mobilescope.core.stage_config import AXES, Axis, Range, StageConfig, Triple
from mobilescope.core.stage_limits import check_within
from mobilescope.devices.stages.motion import MotionController, StageIdentity

# A position may be read back off by this many steps: the target lies between two of them.
_STEPS_OFF = 0.75
_LEAST_OFF_UM = 0.5


class MotorStage(Closing):
    """A board with three motors as a stage. Implements `XYZStage` and `BoundedStage`; leaving the with-block closes it.

    Every move ends in the direction of growing coordinates, so that play in the drives does not shift pictures: a move
    that would end in the other direction goes too far by the play, within the limits, and comes back.

    Parameters
    ----------
    controller : MotionController
        The board.
    config : StageConfig
        Limits, play, settling time, and how the board's coordinates lie in the stage frame.

    Raises
    ------
    ConfigError
        Neither the file nor the board gives a limit.
    """

    def __init__(self, controller: MotionController, config: StageConfig) -> None:
        self._controller, self._config = controller, config
        self._signs, self._origin_um = config.signs, config.origin_um
        self._lock = threading.RLock()
        # Which axes ended their last move upwards, by at least their play.
        self._taken_up = [False, False, False]
        self._limits_um = self._all_limits()
        self._is_halted = False

    @property
    def identity(self) -> StageIdentity:
        """Who drives the motors."""
        return self._controller.identity

    @property
    def step_um(self) -> Triple:
        """How far one step of each motor goes."""
        return self._controller.step_um

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Move in x and y, wait until the stage has settled, and check the position read back."""
        self._move({"x": x_um, "y": y_um})

    def move_z(self, z_um: float) -> None:
        """Move the focus drive, wait until it has settled, and check the position read back."""
        self._move({"z": z_um})

    def position(self) -> PositionUm:
        """Return the position that the board reports."""
        with self._lock:
            return PositionUm(*self._to_stage(self._controller.position_um()))

    def state(self) -> str:
        """Return what the board is doing, in its own word."""
        with self._lock:
            return self._controller.state()

    def z_range_um(self) -> Range:
        """Return the allowed range of the focus drive."""
        return self._limits_um["z"]

    def xy_range_um(self) -> tuple[Range, Range]:
        """Return the lowest and highest allowed x, then y."""
        return self._limits_um["x"], self._limits_um["y"]

    def describe(self) -> str:
        """Name the board, its firmware and its port."""
        who = self._controller.identity
        return f"{who.kind} {who.firmware} on {who.port}"

    def halt(self) -> None:
        """End the move that another thread waits for; it gets a CancelledError. Signal handlers may call this."""
        self._is_halted = True
        self._controller.request_halt()

    def stop(self) -> None:
        """Stop the motors, whoever set them going, and wait until they stand."""
        with self._lock:
            self._taken_up = [False, False, False]
            self._controller.stop_motion()

    def home(self) -> None:
        """Find the reference switches."""
        with self._lock:
            self._taken_up = [False, False, False]
            self._controller.home()

    def unlock(self) -> None:
        """Lift an alarm; the position may be wrong afterwards."""
        with self._lock:
            self._controller.unlock()

    def zero(self) -> None:
        """Call the present position (0, 0, 0)."""
        with self._lock:
            self._controller.zero()

    def close(self) -> None:
        """Free the port."""
        self._controller.close()

    def _move(self, targets: dict[Axis, float]) -> None:
        for axis, value in targets.items():
            check_within(axis, value, self._limits_um[axis])
        with self._lock:
            self._is_halted = False
            try:
                self._approach(targets)
            except LinkLostError as error:
                raise LinkLostError(f"{error.cause}; a move that had begun goes on to its end", error.remedy) from error
            except BaseException as failure:
                # Ctrl-C among others: the motors must not go on without their program.
                try:
                    self.stop()
                except MobilescopeError as second:
                    failure.add_note(f"the motors may still be moving: {second.cause}")
                raise
            if self._config.settling_ms:
                time.sleep(self._config.settling_ms / 1000)
            self._check_arrival(targets)

    def _approach(self, targets: dict[Axis, float]) -> None:
        start = self._to_stage(self._controller.position_um())
        target, below = list(start), list(start)
        for axis, value in targets.items():
            index = AXES.index(axis)
            play = self._config.backlash_um[index]
            target[index] = below[index] = value
            if play and not (self._taken_up[index] and value >= start[index]):
                below[index] = max(self._limits_um[axis][0], value - play)
                self._taken_up[index] = False
        if below != target:
            self._controller.go_to(self._to_board(below))
        if self._is_halted:
            # Between the two ways, where the board had nothing to halt.
            raise CancelledError("the move was halted")
        self._controller.go_to(self._to_board(target))
        for axis in targets:
            index = AXES.index(axis)
            self._taken_up[index] = self._taken_up[index] or (
                target[index] - below[index] >= self._config.backlash_um[index] > 0
            )

    def _check_arrival(self, targets: dict[Axis, float]) -> None:
        reached = self._to_stage(self._controller.position_um())
        for axis, value in targets.items():
            index = AXES.index(axis)
            if abs(reached[index] - value) > max(_LEAST_OFF_UM, _STEPS_OFF * self._controller.step_um[index]):
                raise DeviceError(
                    f"the stage was sent to {axis} = {value:.2f} µm and reports {reached[index]:.2f} µm",
                    "check for an obstacle or a lost reference",
                )

    def _all_limits(self) -> dict[Axis, Range]:
        """Return the limits of the file, within those of the board."""
        travel = self._controller.travel_um
        limits: dict[Axis, Range] = {}
        for index, (axis, given) in enumerate(self._config.limits_um().items()):
            low, high = given or (-math.inf, math.inf)
            if travel is not None:
                ends = [(end - self._origin_um[index]) * self._signs[index] for end in travel[index]]
                low, high = max(low, min(ends)), min(high, max(ends))
            if not math.isfinite(high - low):
                raise ConfigError(
                    f"the stage has no limits in {axis}: the board's soft limits are off",
                    f"give {axis}_limits_um in the instrument file's [stage]",
                )
            if low >= high:
                raise ConfigError(
                    f"{axis}_limits_um of [stage] lie outside the board's own range", "compare limits and origin_um"
                )
            limits[axis] = (low, high)
        return limits

    def _to_stage(self, board_um: Triple) -> Triple:
        x, y, z = ((at - zero) * sign for at, zero, sign in zip(board_um, self._origin_um, self._signs, strict=True))
        return x, y, z

    def _to_board(self, stage_um: list[float]) -> Triple:
        x, y, z = (at * sign + zero for at, zero, sign in zip(stage_um, self._origin_um, self._signs, strict=True))
        return x, y, z
