"""Boards to test the driver on, each with its wire, its clock and what its LEDs were told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from firmware.lockstep_wire import FaultyWire, LockstepWire, TwinWire

from mobilescope.app.firmware.builds import build_firmware
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import BOARDS, BoardKind
from mobilescope.devices.ring import Ring
from mobilescope.devices.transport import SerialWire
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware
from mobilescope.twin.ring_simulator import LockstepBoard, RingSimulator

Pixels = tuple[Colour, ...]

_SHOW_WAIT_S = 3.0


class Bench:
    """One board under test.

    Attributes
    ----------
    wire : FaultyWire
        The line to it.
    exact : bool
        Whether the client drives time, so that times can be asserted closely.
    """

    board: BoardKind
    exact = True

    def __init__(self, wire: Any) -> None:
        self.wire = FaultyWire(wire)

    @contextmanager
    def ring(self) -> Iterator[Ring]:
        """Open the ring without its thread; the test drives it."""
        with Ring.open(wire=self.wire, keep_alive=False) as ring:
            yield ring

    def shows(self) -> list[tuple[float, Pixels]]:
        """Return all that went over the data line, with times in s."""
        raise NotImplementedError

    def reset(self) -> None:
        """Pull the reset pin."""
        raise NotImplementedError

    def pass_time(self, duration_s: float) -> None:
        """Let time pass without a word from the host."""
        self.wire.sleep(duration_s)

    def shown(self, expected: Pixels) -> Pixels:
        """Return what the LEDs show; in real time, as soon as that is what is expected."""
        deadline_s = time.monotonic() + (0 if self.exact else _SHOW_WAIT_S)
        while (shown := self._last()) != expected and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return shown

    def _last(self) -> Pixels:
        shows = self.shows()
        return shows[-1][1] if shows else ()


class TwinBench(Bench):
    """The twin in this process."""

    board = BOARDS[0]

    def __init__(self) -> None:
        self.firmware = RingFirmware()
        super().__init__(TwinWire(self.firmware))

    def shows(self) -> list[tuple[float, Pixels]]:
        """Return what the twin showed."""
        return [(show.time_s, show.pixels) for show in self.firmware.shows]

    def reset(self) -> None:
        """Reset the twin."""
        self.firmware.reset(self.wire.now_s())


class PortBench(Bench):
    """The twin behind a pseudo-terminal, in real time."""

    board = BOARDS[0]
    exact = False

    def __init__(self, port: FirmwarePort, firmware: RingFirmware) -> None:
        self.firmware = firmware
        self._port = port
        super().__init__(SerialWire(port.port, 115200))

    def shows(self) -> list[tuple[float, Pixels]]:
        """Return what the twin showed."""
        return [(show.time_s, show.pixels) for show in self.firmware.shows]

    def reset(self) -> None:
        """Reset the twin."""
        self._port.reset()


class LockstepBench(Bench):
    """The real firmware, cycle by cycle."""

    def __init__(self, board: BoardKind, simulated: LockstepBoard) -> None:
        self.board = board
        self._simulated = simulated
        self._lockstep = LockstepWire(simulated)
        super().__init__(self._lockstep)

    def shows(self) -> list[tuple[float, Pixels]]:
        """Return what the data line's waveform says."""
        return self._lockstep.shows

    def reset(self) -> None:
        """Pull the chip's reset pin."""
        self._simulated.reset()


class SimulatorBench(Bench):
    """The real firmware behind a pseudo-terminal, in real time."""

    exact = False

    def __init__(self, board: BoardKind, simulator: RingSimulator) -> None:
        self.board = board
        self._simulator = simulator
        super().__init__(SerialWire(simulator.port, board.baud))

    def shows(self) -> list[tuple[float, Pixels]]:
        """Return what the data line's waveform says."""
        return [(frame.t_s, pixels_of(frame.pixels)) for frame in list(self._simulator.frames)]

    def reset(self) -> None:
        """Pull the chip's reset pin; it takes effect a moment later."""
        self._simulator.reset()
        time.sleep(0.1)


BENCHES = ("twin", "twin on a port", "uno in lock-step", "trinket in lock-step", "uno on a port")


@contextmanager
def open_bench(name: str) -> Iterator[Bench]:
    """Make a bench by name; the real firmware is built where that is needed."""
    with ExitStack() as stack:
        kind = next((board for board in BOARDS if name.startswith(board.name)), BOARDS[0])
        bench: Bench
        if name == "twin":
            bench = TwinBench()
        elif name == "twin on a port":
            firmware = RingFirmware()
            bench = PortBench(stack.enter_context(FirmwarePort(firmware)), firmware)
        elif name.endswith("lock-step"):
            bench = LockstepBench(kind, stack.enter_context(LockstepBoard(kind.name, firmware_of(kind))))
        else:
            bench = SimulatorBench(kind, stack.enter_context(RingSimulator(kind.name, firmware_of(kind))))
        stack.callback(bench.wire.close)
        yield bench


@cache
def firmware_of(board: BoardKind) -> Path:
    """Return a board's program, built where its sources are newer."""
    return build_firmware(board).elf_file


def pixels_of(written: tuple[str, ...]) -> Pixels:
    """Return colours written as ``rrggbb``."""
    return tuple((red, green, blue) for red, green, blue in map(bytes.fromhex, written))
