"""Stages whose boards are simulated behind a pseudo-terminal, and what can go wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grbl_board import GrblBoard
from sanga_board import SangaBoard

from mobilescope.core.stage_config import StageConfig
from mobilescope.devices.stages import GrblController, MotorStage, SangaboardController
from mobilescope.devices.transport import SerialWire
from mobilescope.twin.firmware_port import FirmwarePort

UM_PER_STEP = 0.25
LIMITS = {"x_limits_um": (-30_000.0, 30_000.0), "y_limits_um": (-30_000.0, 30_000.0), "z_limits_um": (-300.0, 300.0)}
# Fast enough that a test need not wait, 4000 steps a mm.
QUICK = {100: "4000", 101: "4000", 102: "4000", 110: "600000", 111: "600000", 112: "600000"}


class FaultyLine:
    """A board behind a line that can delay, add noise and go dumb; a board that is deaf for a while after a reset."""

    def __init__(self, board: GrblBoard | SangaBoard) -> None:
        self.board = board
        self.delay_s = 0.0
        self.noise = b""
        self.dumb = False
        self.boot_s = 0.0
        self._deaf_until_s = 0.0
        self._booting = False
        self._waiting: list[tuple[float, bytes]] = []

    def reset(self, now_s: float, cause: object) -> None:
        """Reset the board, which then boots."""
        self._deaf_until_s = now_s + self.boot_s
        self._booting = self.boot_s > 0
        if not self._booting:
            self.board.reset(now_s, cause)

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Pass bytes on and return what comes through by now."""
        if now_s < self._deaf_until_s:
            return b""
        if self._booting:
            self._booting = False
            self.board.reset(now_s)
        reply = self.board.feed(data, now_s)
        if reply:
            self._waiting.append((now_s + self.delay_s, self.noise + reply))
        out = b"".join(reply for due_s, reply in self._waiting if due_s <= now_s)
        self._waiting = [(due_s, reply) for due_s, reply in self._waiting if due_s > now_s]
        return b"" if self.dumb else out


@dataclass
class Served:
    """A stage, the board behind it, and the line between them."""

    stage: MotorStage
    board: Any
    line: FaultyLine
    port: FirmwarePort


def make_board(kind: str, *, play_um: tuple[float, float, float] = (0.0, 0.0, 0.0), **changes: Any) -> Any:
    """Build a quick board with play."""
    if kind == "grbl":
        settings = QUICK | changes.pop("settings", {})
        x, y, z = (play / 1000 for play in play_um)
        return GrblBoard(settings=settings, play_mm=(x, y, z), **changes)
    x, y, z = (round(play / UM_PER_STEP) for play in play_um)
    return SangaBoard(play=(x, y, z), **({"step_delay_us": 1} | changes))


def stage_config(kind: str, play_um: tuple[float, float, float], **changes: Any) -> StageConfig:
    """Return what an instrument file would say of such a stage."""
    steps = {"um_per_step": (UM_PER_STEP,) * 3} if kind == "sangaboard" else {}
    return StageConfig.model_validate(
        {"kind": kind, "settling_ms": 0.0, "backlash_um": play_um} | LIMITS | steps | changes
    )


def open_stage(
    kind: str, port: str, config: StageConfig, *, patience_s: float = 4.0
) -> MotorStage:
    """Open a stage as the software does."""
    wire = SerialWire(port, 115200)
    if kind == "grbl":
        return MotorStage(GrblController(wire, patience_s=patience_s), config)
    assert config.um_per_step is not None
    return MotorStage(SangaboardController(wire, config.um_per_step, patience_s=patience_s), config)
