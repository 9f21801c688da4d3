"""What a stage's board must be able to do, whatever protocol it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mobilescope.core.stage_config import Range, Triple


@dataclass(frozen=True)
class StageIdentity:
    """Who answers: the kind of board, its firmware as it names itself, and the port."""

    kind: str
    firmware: str
    port: str


class MotionController(Protocol):
    """A board with three motors, in its own coordinates: µm, x, y, z.

    One thread moves at a time; `request_halt` may be called from any other and from a signal handler.
    """

    @property
    def identity(self) -> StageIdentity:
        """Who answers."""

    @property
    def step_um(self) -> Triple:
        """How far one step of each motor goes."""

    @property
    def travel_um(self) -> tuple[Range, Range, Range] | None:
        """The range that the board itself keeps to, None where it keeps to none."""

    def state(self) -> str:
        """Return what the board is doing, in its own word: idle, jog, alarm, moving."""

    def position_um(self) -> Triple:
        """Return the position that the board reports."""

    def go_to(self, target_um: Triple) -> None:
        """Move along a straight line and wait until the motors stand.

        Raises
        ------
        CancelledError
            `request_halt` was called; the motors stand.
        LimitError
            The board refuses to go there.
        DeviceError
            The board did not arrive, was reset, or raised an alarm. LinkError where it does not answer.
        """

    def request_halt(self) -> None:
        """Let the move that is going on end now with CancelledError; nothing where none is."""

    def stop_motion(self) -> None:
        """Stop the motors and wait until they stand, from the thread that moves them."""

    def home(self) -> None:
        """Find the reference switches. UserError where there are none."""

    def unlock(self) -> None:
        """Lift an alarm; the position may be wrong afterwards."""

    def zero(self) -> None:
        """Call the present position (0, 0, 0). UserError where the board can't."""

    def close(self) -> None:
        """Free the port."""
