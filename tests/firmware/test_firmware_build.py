"""The builds: sizes, ring lengths, the Arduino IDE's build, the program's own CRC, and the watchdog."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from firmware.conftest import FIRMWARE
from firmware.talking_board import TalkingBoard

from mobilescope.core.ring_protocol import Command, ResetCause, SelfTest, Setting
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

ARDUINO = Path("/usr/share/arduino/hardware")
BUILDER = Path("/usr/share/arduino-builder")
WDR, NOP = b"\xa8\x95", b"\x00\x00"


def sections(elf):
    listed = subprocess.run(["avr-size", "-A", str(elf)], check=True, capture_output=True, text=True).stdout
    return {words[0]: int(words[1]) for words in map(str.split, listed.splitlines()) if words and words[0][0] == "."}


def make(build, *arguments):
    """Make in a copy of the sources, so that other tests' builds stay as they are."""
    sources = shutil.copytree(FIRMWARE, build, ignore=shutil.ignore_patterns("build", "sim"), dirs_exist_ok=True)
    return subprocess.run(["make", "-C", str(sources), *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize(("board", "flash", "ram"), [("uno", 12_288, 1024), ("trinket", 5_200, 256)])
def test_sizes(built, board, flash, ram):
    sizes = sections(built[board])
    assert sizes[".text"] + sizes.get(".data", 0) <= flash
    assert sum(sizes.get(name, 0) for name in (".data", ".bss", ".noinit")) <= ram


@pytest.mark.parametrize("board", ["uno", "trinket"])
def test_the_stack_stays_away_from_the_data(built, board):
    with TalkingBoard(board, built[board]) as talking:
        pixels = talking.kind.max_pixels
        talking.configure(Setting.PIXELS, pixels)
        talking.configure(Setting.GAMMA, 1)
        talking.do(Command.SET_RANGE, bytes([0]) + bytes(range(36)))
        talking.do(Command.SEQUENCE_STEP, bytes([0, 0, 0, 1, 1, 1, 0, 10]))
        talking.do(Command.SEQUENCE_START, bytes([1, 0, 3]))
        talking.run(100_000)
        talking.do(Command.STORE)
        assert int.from_bytes(talking.do(Command.SELF_TEST).data[4:6], "big") > 64


def test_the_ring_length_is_chosen_at_build_time(tmp_path):
    assert make(tmp_path, "uno", "trinket", "PIXELS=24").returncode == 0
    for board in ("uno", "trinket"):
        with TalkingBoard(board, tmp_path / "build" / board / "ring.elf") as talking:
            assert talking.setting(Setting.PIXELS) == 24
            assert len(talking.shown) == 24
    assert make(tmp_path, "uno", "PIXELS=16").returncode == 0
    with TalkingBoard("uno", tmp_path / "build" / "uno" / "ring.hex") as talking:
        assert talking.setting(Setting.PIXELS) == 16
    refused = make(tmp_path, "trinket", "PIXELS=25")
    assert refused.returncode != 0
    assert "RING_PIXELS is beyond what this board can drive" in refused.stderr


@pytest.mark.parametrize("board", ["uno", "trinket"])
def test_a_changed_program_is_noticed(tmp_path, built, board):
    program = bytearray(built[board].read_bytes())
    # The last entry of the gamma table: used by nobody here, and at its known place in the ELF's text.
    at = program.index(bytes([248, 251, 253, 255])) + 3
    program[at] ^= 0x10
    changed = tmp_path / "changed.elf"
    changed.write_bytes(program)
    for elf, whole in ((built[board], True), (changed, False)):
        with TalkingBoard(board, elf) as talking:
            data = talking.do(Command.SELF_TEST).data
            assert data[1] & SelfTest.FLASH
            assert bool(data[3] & SelfTest.FLASH) == whole


@pytest.mark.parametrize("board", ["uno", "trinket"])
def test_a_program_that_hangs_is_reset(tmp_path, built, board):
    """Without the instruction that feeds the watchdog the program resembles one that hangs."""
    hanging = tmp_path / "hanging.elf"
    hanging.write_bytes(built[board].read_bytes().replace(WDR, NOP))
    with TalkingBoard(board, hanging) as talking:
        talking.run(600_000)
        resets = [event for event in talking.events if event.kind == "reset"]
        assert [event.cause for event in resets] == ["power", "watchdog", "watchdog"]
        assert resets[1].t_s == pytest.approx(0.25, abs=0.03)
        assert talking.do(Command.IDENTIFY).data[15] == ResetCause.WATCHDOG


@pytest.mark.skipif(
    shutil.which("arduino-builder") is None or not ARDUINO.is_dir(), reason="arduino-builder or its core not found"
)
def test_the_sketch_builds_as_the_arduino_ide_does(tmp_path):
    done = subprocess.run(
        ["arduino-builder", "-compile", "-hardware", str(BUILDER), "-hardware", str(ARDUINO), "-tools", str(BUILDER),
         "-fqbn", "arduino:avr:uno", "-build-path", str(tmp_path), "-warnings", "all",
         "-prefs", "compiler.cpp.extra_flags=-DDECIMAL_DIG=__DECIMAL_DIG__", str(FIRMWARE / "ring")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(FIRMWARE / "ring") not in done.stderr, done.stderr
    sizes = sections(tmp_path / "ring.ino.elf")
    assert sizes[".text"] + sizes.get(".data", 0) <= 12_288
    assert sizes[".bss"] + sizes[".noinit"] + sizes.get(".data", 0) <= 1024


NEOPIXEL = """
#include <stdint.h>
enum { NEO_GRB, NEO_KHZ800 };
struct Adafruit_NeoPixel {
    Adafruit_NeoPixel(uint16_t pixels, int16_t pin, uint16_t type) { (void)pixels, (void)pin, (void)type; }
    void begin() {}
    uint16_t numPixels() const { return 0; }
    void updateLength(uint16_t pixels) { (void)pixels; }
    void setPixelColor(uint16_t pixel, uint8_t red, uint8_t green, uint8_t blue)
    {
        (void)pixel, (void)red, (void)green, (void)blue;
    }
    void show() {}
};
"""


def test_the_other_output_layer_compiles(tmp_path):
    """Against the part of Adafruit's interface that it uses; the library is not needed here."""
    (tmp_path / "Adafruit_NeoPixel.h").write_text(NEOPIXEL, "ascii")
    done = subprocess.run(
        ["avr-g++", "-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror", "-std=gnu++11", "-DF_CPU=16000000UL",
         "-DRING_OUTPUT_NEOPIXEL", f"-I{tmp_path}", "-c", str(FIRMWARE / "ring" / "output_neopixel.cpp"),
         "-o", str(tmp_path / "output.o")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
