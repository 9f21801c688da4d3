"""Which board is to be flashed and how it is reached; a wrong one is refused here, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mobilescope.app.firmware.avrdude import NEW_BOOTLOADER_BAUD, OLD_BOOTLOADER_BAUD, TRINKET_PART, Programmer
from mobilescope.app.firmware.builds import board_named
from mobilescope.core.errors import UserError
from mobilescope.core.firmware_files import firmware_build
from mobilescope.core.ring_protocol import BoardKind
from mobilescope.devices.ports import PortInfo, find_boards, probe
from mobilescope.devices.ring_records import BoardIdentity

_TRINKET = "trinket"


class Bootloader(StrEnum):
    """Which serial bootloader an Uno or Nano has: optiboot (new), or that of old Nanos."""

    AUTO = "auto"
    NEW = "new"
    OLD = "old"

    @property
    def bauds(self) -> tuple[int, ...]:
        """The speeds to try, in this order."""
        speeds = {Bootloader.NEW: (NEW_BOOTLOADER_BAUD,), Bootloader.OLD: (OLD_BOOTLOADER_BAUD,)}
        return speeds.get(self, (NEW_BOOTLOADER_BAUD, OLD_BOOTLOADER_BAUD))


@dataclass(frozen=True)
class FlashTarget:
    """A board to be flashed.

    Attributes
    ----------
    port : str or None
        Where the ring answers afterwards. An Uno is also flashed there; a Trinket is flashed over USB.
    title : str
        What USB says that it is; empty where it is not known.
    running : BoardIdentity or None
        The ring that answered before, where it was asked.
    """

    board: BoardKind
    port: str | None
    title: str = ""
    running: BoardIdentity | None = None

    def programmers(self, bootloader: Bootloader) -> list[Programmer]:
        """Return the ways to reach the bootloader, in the order in which to try them."""
        if self.board.name == _TRINKET:
            return [Programmer(self.board, part_file=trinket_part_file())]
        return [Programmer(self.board, self.port, baud) for baud in bootloader.bauds]


def trinket_part_file() -> Path:
    """Return where avrdude is told about the Trinket's bootloader."""
    return firmware_build(_TRINKET) / "avrdude.conf"


def write_trinket_part_file() -> None:
    """Write what avrdude must know about the Trinket's bootloader."""
    path = trinket_part_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRINKET_PART, "ascii")


def find_target(board_name: str | None, port: str | None, *, ask: bool = True) -> FlashTarget:
    """Return the board to flash: the one named, or the one that is plugged in.

    Parameters
    ----------
    ask : bool
        Ask a ring that already runs there who it is.

    Raises
    ------
    UserError
        There is no board, more than one, or another one than was named.
    """
    board = None if board_name is None else board_named(board_name)
    if board is not None and board.name == _TRINKET:
        return _checked(FlashTarget(board, port), ask=ask)
    info = _plugged_in(port)
    if info.bootloader:
        if board is not None:
            raise UserError(
                f"{info.title} is plugged in, not {board.title}", "plug in the board, or give --board trinket"
            )
        return FlashTarget(board_named(_TRINKET), None, info.title)
    running = probe(info.port) if ask and info.port is not None else None
    found = board or (running.board if running is not None else board_named("uno"))
    return _refuse_other(FlashTarget(found, info.port, info.title, running))


def _checked(target: FlashTarget, *, ask: bool) -> FlashTarget:
    running = probe(target.port) if ask and target.port is not None else None
    return _refuse_other(FlashTarget(target.board, target.port, target.title, running))


def _refuse_other(target: FlashTarget) -> FlashTarget:
    if target.running is not None and target.running.board != target.board:
        raise UserError(
            f"the ring on {target.port} is an {target.running.board.title}, not an {target.board.title}; "
            "nothing was written",
            f"give --board {target.running.board.name}, or another --port",
        )
    return target


def _plugged_in(port: str | None) -> PortInfo:
    boards = find_boards()
    if port is not None:
        return next((info for info in boards if info.port == port), PortInfo(port, "", ""))
    if not boards:
        raise UserError(
            "no board is plugged in",
            "plug in an Uno or Nano, press a Trinket's button so that its red LED pulses, or name a port with --port",
        )
    if len(boards) > 1:
        named = ", ".join(f"{info.port or 'USB'} ({info.title})" for info in boards)
        raise UserError(f"several boards are plugged in: {named}", "choose one with --port, or with --board trinket")
    return boards[0]
