"""The simulated Uno with the bootloaders of new and old boards: avrdude writes the firmware, which then runs."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import serial

from mobilescope.core.firmware_files import firmware_build, firmware_folder
from mobilescope.core.framing import Frame, FrameError, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.ring_protocol import Command, Status
from mobilescope.twin.ring_simulator import RingSimulator, simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

FOLDER = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders")
BOOTLOADERS = {
    "optiboot": (FOLDER / "optiboot" / "optiboot_atmega328.hex", 115200),
    "old nano": (FOLDER / "atmega" / "ATmegaBOOT_168_atmega328.hex", 57600),
}
BAUD = 115200
FLASH_BYTES = 32768
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def firmware() -> Path:
    subprocess.run(["make", "-C", str(firmware_folder()), "uno"], check=True, capture_output=True)
    return firmware_build("uno") / "ring.hex"


def avrdude(port: str, baud: int, operation: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["avrdude", "-q", "-c", "arduino", "-p", "m328p", "-P", port, "-b", str(baud), "-D", "-U", operation, *more],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def identity(line: serial.Serial) -> Frame:
    """Ask until the firmware answers; before that the bootloader waits for a program."""
    splitter = FrameSplitter()
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        line.reset_input_buffer()
        splitter.clear()
        line.write(b"\0" + encode_frame(Frame(1, Command.IDENTIFY, b"")))
        for body in splitter.feed(line.read_until(b"\0")):
            with suppress(FrameError):  # the old bootloader's noise
                frame = decode_frame(body)
                if frame.command == Command.IDENTIFY:
                    return frame
    raise AssertionError("the firmware never answered")


@pytest.mark.parametrize("name", list(BOOTLOADERS))
def test_avrdude_writes_the_firmware_and_it_runs_in_later_resets_too(name, firmware, tmp_path):
    bootloader, baud = BOOTLOADERS[name]
    dump = tmp_path / "flash.bin"
    with RingSimulator("uno", bootloader=bootloader, reset_on_open=True, events=True, flash_dump=dump) as board:
        written = avrdude(board.port, baud, f"flash:w:{firmware}:i")
        assert written.returncode == 0, written.stderr
        assert "bytes of flash verified" in written.stderr
        for _ in range(2):
            resets = len(board.events)
            with serial.Serial(board.port, BAUD, timeout=0.5) as line:
                reply = identity(line)
            assert reply.payload[0] == Status.OK
            assert reply.payload[7:10] == bytes.fromhex("1e950f")
            assert "external" in [event.cause for event in board.events[resets:]]
    wanted = tmp_path / "wanted.bin"
    subprocess.run(["avr-objcopy", "-I", "ihex", "-O", "binary", str(firmware), str(wanted)], check=True)
    flash = dump.read_bytes()
    assert len(flash) == FLASH_BYTES
    assert flash.startswith(wanted.read_bytes())


@pytest.mark.parametrize("name", list(BOOTLOADERS))
def test_bootloader_answers_at_its_own_rate_alone(name):
    bootloader, own_baud = BOOTLOADERS[name]
    get_sync, in_sync = b"0 ", b"\x14\x10"

    def answers(line: serial.Serial) -> bool:
        line.write(get_sync)
        return in_sync in line.read(8)

    with RingSimulator("uno", bootloader=bootloader, reset_on_open=True) as board:
        for baud in (57600, 115200):
            with serial.Serial(board.port, baud, timeout=0.1) as line:
                assert any(answers(line) for _ in range(12)) == (baud == own_baud)
