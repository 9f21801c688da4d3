"""Flashing the ring's firmware from the bootloader to the passed self-test, with the seconds that each stage took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mobilescope.app.firmware.avrdude import Programmer, SyncError, read_signature, run_avrdude
from mobilescope.app.firmware.builds import FirmwareBuild, build_firmware, is_current, make_command, wanted_pixels
from mobilescope.app.firmware.flash_target import Bootloader, FlashTarget, write_trinket_part_file
from mobilescope.app.firmware.ring_reading import dotted, self_test_json
from mobilescope.core.errors import DeviceError
from mobilescope.core.firmware_files import firmware_build
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.devices.ring import Ring
from mobilescope.devices.ring_records import BoardIdentity, SelfTestReport

# A USB cable or a bootloader that was busy is often there at the second try.
_ROUNDS = 2


@dataclass(frozen=True)
class FlashReport:
    """A flashed board: what went into it and how the ring then answered.

    ``identity`` and ``self_test`` are None for a Trinket without a serial adapter: nothing can ask it.
    """

    target: FlashTarget
    build: FirmwareBuild
    programmer: Programmer
    signature: bytes
    identity: BoardIdentity | None
    self_test: SelfTestReport | None
    seconds: dict[str, float]

    @property
    def ok(self) -> bool:
        """Whether the ring passed its self-test, where one could be run."""
        return self.self_test is None or self.self_test.ok

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "ok": self.ok,
            "board": self.target.board.name,
            "port": self.target.port,
            "usb": self.target.title,
            "baud": None if self.programmer.port is None else self.programmer.baud,
            "signature": self.signature.hex(),
            "build": self.build.to_json(),
            "firmware": None if self.identity is None else dotted(self.identity.firmware),
            "self_test": None if self.self_test is None else self_test_json(self.self_test),
            "seconds": {stage: round(taken_s, 2) for stage, taken_s in self.seconds.items()},
        }


@dataclass
class Stages:
    """A stopwatch for each stage of the work."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began_s


def planned_commands(
    target: FlashTarget, bootloader: Bootloader, *, pixels: int | None = None
) -> list[list[str]]:
    """Return the commands that `flash` would run, without running any; only the first speed's where it tries two."""
    wanted = wanted_pixels(target.board, pixels)
    build = [] if is_current(target.board, wanted) else [make_command(target.board, wanted)]
    programmer = target.programmers(bootloader)[0]
    return [*build, programmer.identify(), programmer.write(firmware_build(target.board.name) / "ring.hex")]


def flash(
    target: FlashTarget,
    bootloader: Bootloader = Bootloader.AUTO,
    *,
    pixels: int | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> FlashReport:
    """Build where needed, read the chip's signature, write, read back, and run the ring's self-test.

    Raises
    ------
    WrongChipError
        The chip is not the board's; nothing was written.
    DeviceError
        The bootloader did not answer, what was read back differs, or the ring does not answer afterwards.
    """
    stages = Stages()
    with stages.timed("build"):
        build = build_firmware(target.board, pixels=pixels)
        on_progress(Progress("build", 1, 1))
    with stages.timed("find the bootloader"):
        programmer, signature = _reach(target.programmers(bootloader), stop)
        on_progress(Progress("find the bootloader", 1, 1))
    with stages.timed("write and read back"):
        _write(programmer, build, on_progress, stop)
    if target.port is None:
        return FlashReport(target, build, programmer, signature, None, None, stages.seconds)
    with stages.timed("self-test"):
        identity, self_test = _asked(target)
        on_progress(Progress("self-test", 1, 1))
    return FlashReport(target, build, programmer, signature, identity, self_test, stages.seconds)


def verify(
    target: FlashTarget,
    bootloader: Bootloader = Bootloader.AUTO,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> FirmwareBuild:
    """Compare the program on a board with the built one; DeviceError where they differ."""
    build = build_firmware(target.board)
    programmer, _signature = _reach(target.programmers(bootloader), stop)
    run_avrdude(programmer, programmer.verify(build.hex_file), on_progress=on_progress, stop=stop)
    on_progress(Progress("verify", 1, 1))
    return build


def _reach(programmers: list[Programmer], stop: StopToken | None) -> tuple[Programmer, bytes]:
    """Return the first way that reaches the right chip, with its signature."""
    if any(programmer.part_file is not None for programmer in programmers):
        write_trinket_part_file()
    failed: SyncError | None = None
    for programmer in programmers * _ROUNDS:
        try:
            return programmer, read_signature(programmer, stop=stop)
        except SyncError as error:
            failed = error
    assert failed is not None
    speeds = " or ".join(str(programmer.baud) for programmer in programmers)
    raise SyncError(f"no bootloader answered on {programmers[0].port} at {speeds} baud", failed.remedy) from failed


def _write(
    programmer: Programmer, build: FirmwareBuild, on_progress: ProgressListener, stop: StopToken | None
) -> None:
    command = programmer.write(build.hex_file)
    try:
        run_avrdude(programmer, command, on_progress=on_progress, stop=stop)
    except SyncError:
        run_avrdude(programmer, command, on_progress=on_progress, stop=stop)


def _asked(target: FlashTarget) -> tuple[BoardIdentity, SelfTestReport]:
    """Return who answers on a freshly flashed board, and its self-test."""
    with Ring.open(target.port) as ring:
        identity, self_test = ring.identity, ring.self_test()
    if identity.board != target.board:
        raise DeviceError(
            f"after flashing {identity.board.title} answers on {target.port}", "see which board hangs on which port"
        )
    return identity, self_test
