"""The commands `mobilescope firmware ...`: build, flash, verify, simulate and watch the ring's firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import UserError

firmware_app = typer.Typer(
    name="firmware", no_args_is_help=True, help="Build, flash, verify, simulate and watch the ring's firmware."
)

BoardName = Annotated[str | None, typer.Option("--board", metavar="BOARD", help="uno (also a Nano) or trinket.")]
Port = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="Serial port, such as /dev/ttyACM0; else the one found.")
]
Pixels = Annotated[
    int | None, typer.Option("--pixels", metavar="N", help="Pixels of the ring; else as built last, at first 12.")
]
BootloaderName = Annotated[
    str, typer.Option("--bootloader", metavar="WHICH", help="auto, new (115200 baud), or old (57600, of old Nanos).")
]
Simulated = Annotated[bool, typer.Option("--simulated", help="Use a simulated Uno, whose flash starts empty.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on standard output.")]


@firmware_app.command()
def build(board: BoardName = "uno", pixels: Pixels = None, json: Json = False) -> None:
    """Build the firmware and say what it takes of the chip.

    Example: mobilescope firmware build --board trinket --pixels 16
    """
    from mobilescope.app.firmware.builds import board_named, build_firmware

    built = build_firmware(board_named(board or "uno"), pixels=pixels)
    say(f"{built.board.title}, {built.pixels} pixels: {built.hex_file}")
    say(_sizes(built.to_json()))
    if json:
        print_json(built.to_json())


def _sizes(built: dict[str, Any]) -> str:
    return (
        f"flash {built['flash_bytes']} of at most {built['flash_limit']} B, "
        f"RAM {built['ram_bytes']} of at most {built['ram_limit']} B"
    )


@firmware_app.command()
def flash(
    board: BoardName = None,
    port: Port = None,
    bootloader: BootloaderName = "auto",
    pixels: Pixels = None,
    simulated: Simulated = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run; open and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Write the firmware to a board, read it back, and let the ring test itself.

    A wrong board or chip is refused before anything is written.

    Example: mobilescope firmware flash --port /dev/ttyUSB0 --bootloader old
    """
    from contextlib import ExitStack

    from mobilescope.app.firmware.builds import board_named
    from mobilescope.app.firmware.flash_target import FlashTarget, find_target
    from mobilescope.app.firmware.flashing import flash as write_firmware
    from mobilescope.app.firmware.flashing import planned_commands
    from mobilescope.app.firmware.simulating import Simulation, simulated_ring

    which = _bootloader(bootloader)
    if simulated:
        _refuse_with_simulated(board, port)
    if dry_run:
        planned = (
            FlashTarget(board_named("uno"), "SIMULATED") if simulated else find_target(board, port, ask=False)
        )
        commands = planned_commands(planned, which, pixels=pixels)
        say("nothing is written; this would be run:")
        for command in commands:
            say("  " + " ".join(command))
        if json:
            print_json({"board": planned.board.name, "port": planned.port, "dry_run": True, "commands": commands})
        return
    with ExitStack() as stack:
        if simulated:
            emulated = "new" if bootloader == "auto" else bootloader
            port = stack.enter_context(simulated_ring(Simulation(bootloader=emulated, empty=True))).port
            target = FlashTarget(board_named("uno"), port, "simulated")
        else:
            target = find_target(board, port)
        where = target.port or "USB"
        say(f"board: {target.board.title} on {where}{f' ({target.title})' if target.title else ''}")
        stop, progress = stack.enter_context(stoppable()), stack.enter_context(ProgressDisplay())
        report = write_firmware(target, which, pixels=pixels, on_progress=progress, stop=stop)
    _say_report(report.to_json())
    if json:
        print_json(report.to_json())
    if not report.ok:
        raise typer.Exit(1)


def _say_report(report: dict[str, Any]) -> None:
    from mobilescope.app.terminal.ring_tables import say_self_test

    say(f"chip {report['signature']}, {_sizes(report['build'])}")
    say("seconds: " + ", ".join(f"{stage} {taken_s:.1f}" for stage, taken_s in report["seconds"].items()))
    if report["self_test"] is None:
        say("flashed and read back; connect a serial adapter and run mobilescope ring test --port PORT")
        return
    say(f"firmware {report['firmware']} answers on {report['port']}")
    say_self_test(report["self_test"])


def _bootloader(name: str) -> Any:
    from mobilescope.app.firmware.flash_target import Bootloader

    try:
        return Bootloader(name)
    except ValueError as error:
        raise UserError(f"there is no bootloader {name!r}", f"give {', '.join(Bootloader)}") from error


def _refuse_with_simulated(board: str | None, port: str | None) -> None:
    if port is not None:
        raise UserError("--simulated has a port of its own", "leave --port or --simulated out")
    if board not in (None, "uno"):
        raise UserError(
            f"flashing a simulated {board} is not possible: only the Uno's bootloaders are simulated",
            "try its firmware with mobilescope firmware simulate --board trinket",
        )


@firmware_app.command()
def verify(
    board: BoardName = None,
    port: Port = None,
    bootloader: BootloaderName = "auto",
    simulated: Simulated = False,
    json: Json = False,
) -> None:
    """Read the flash of a board back and compare it with the built firmware.

    Example: mobilescope firmware verify --port /dev/ttyACM0
    """
    from contextlib import ExitStack

    from mobilescope.app.firmware.builds import board_named
    from mobilescope.app.firmware.flash_target import FlashTarget, find_target
    from mobilescope.app.firmware.flashing import verify as compare
    from mobilescope.app.firmware.simulating import Simulation, simulated_ring

    which = _bootloader(bootloader)
    with ExitStack() as stack:
        if simulated:
            _refuse_with_simulated(board, port)
            emulated = "new" if bootloader == "auto" else bootloader
            port = stack.enter_context(simulated_ring(Simulation(bootloader=emulated))).port
            target = FlashTarget(board_named("uno"), port, "simulated")
        else:
            target = find_target(board, port)
        stop, progress = stack.enter_context(stoppable()), stack.enter_context(ProgressDisplay())
        built = compare(target, which, on_progress=progress, stop=stop)
    say(f"the flash of {target.board.title} on {target.port or 'USB'} is {built.hex_file}, {built.flash_bytes} B")
    if json:
        print_json({"board": target.board.name, "port": target.port, "same": True, "build": built.to_json()})


@firmware_app.command()
def simulate(
    board: BoardName = "uno",
    pixels: Pixels = None,
    free_running: Annotated[
        bool, typer.Option("--free-running", help="As fast as it goes, instead of in real time.")
    ] = False,
    bootloader: Annotated[
        str | None, typer.Option("--bootloader", metavar="WHICH", help="new or old: avrdude can write to the board.")
    ] = None,
    eeprom: Annotated[
        Path | None, typer.Option("--eeprom", metavar="FILE", help="The EEPROM's bytes, kept from run to run.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the port, then a line of JSON for each frame of the ring.")
    ] = False,
) -> None:
    """Run the firmware on a simulated board until Ctrl-C, print its port and show its ring.

    Example: mobilescope firmware simulate --json
    """
    from mobilescope.app.firmware.simulating import Simulation, in_python, simulated_ring
    from mobilescope.app.firmware.simulation_display import show_frames
    from mobilescope.app.terminal.signals import until_told

    missing = in_python()
    if missing:
        say(f"the twin in Python stands in for the firmware, without timing: {missing}")
    what = Simulation(
        board=board or "uno", pixels=pixels, free_running=free_running, bootloader=bootloader, eeprom=eeprom
    )
    with until_told() as told, simulated_ring(what) as ring:
        if json:
            print_json({"port": ring.port})
        say(f"port: {ring.port}; Ctrl-C ends")
        show_frames(ring, told, json=json)


@firmware_app.command()
def monitor(port: Port = None, json: Json = False) -> None:
    """Say once a second what the ring shows and counts, until Ctrl-C; its light stays as it is.

    Opening the port resets an Arduino, and while a program holds the port it can't be watched from another.

    Example: mobilescope firmware monitor --port /dev/ttyACM0
    """
    from mobilescope.app.firmware.ring_reading import dotted, light_json, reading_ring, statistics_json
    from mobilescope.app.terminal.signals import until_told

    with until_told() as told, reading_ring(port) as ring:
        identity = ring.identity
        say(f"{identity.board.title} on {identity.port}, firmware {dotted(identity.firmware)}; Ctrl-C ends")
        while not told.is_set():
            light, counted = light_json(ring.light()), statistics_json(ring.statistics())
            link = counted["link"]
            say(
                f"{counted['uptime_ms'] / 1000:9.1f} s  {'lit' if light['lit'] else 'dark'} "
                f"{light['current_ma']} mA [{' '.join(light['flags'])}]  frames {counted['frames']}, "
                f"damaged {counted['bad_frames']}, overruns {counted['overruns']}, time-outs {counted['timeouts']}, "
                f"resets {counted['resets']}; repeated {link['retries']}, damaged replies {link['bad_replies']}"
            )
            if json:
                print_json({"light": light, "statistics": counted})
            told.wait(1.0)
