"""Flashing: reading programs, command lines, progress, and refusing wrong boards before anything is written.

avrdude is the real one; where it needs a chip of another kind a small bootloader of our own answers it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_bootloader import SmallBootloader

from mobilescope.app.firmware import flash_target
from mobilescope.app.firmware.avrdude import (
    Programmer,
    SyncError,
    WrongChipError,
    failure,
    read_signature,
    run_avrdude,
)
from mobilescope.app.firmware.builds import board_named, is_current, make_command, wanted_pixels
from mobilescope.app.firmware.flash_target import Bootloader, find_target
from mobilescope.app.firmware.hexfile import read_hex
from mobilescope.app.firmware.ring_view import ring_text
from mobilescope.core.errors import DeviceError, InputFileError, PortError, UserError
from mobilescope.core.firmware_files import FIRMWARE_VARIABLE
from mobilescope.devices.ports import PortInfo
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware

UNO, TRINKET = board_named("uno"), board_named("trinket")

needs_avrdude = pytest.mark.skipif(shutil.which("avrdude") is None, reason="avrdude is not installed")


def record(address: int, data: bytes, kind: int = 0) -> str:
    raw = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return f":{(raw + bytes([-sum(raw) & 0xFF])).hex().upper()}"


END = record(0, b"", 1)


def hex_file(folder: Path, *lines: str) -> Path:
    path = folder / "program.hex"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_program_is_read_with_its_place_in_memory(tmp_path):
    program = read_hex(hex_file(tmp_path, record(0x10, b"abc"), record(0, b"\x00\x01", 4), record(0, b"z"), END))
    assert program.content == {0x10: ord("a"), 0x11: ord("b"), 0x12: ord("c"), 0x10000: ord("z")}
    assert (program.size, program.end) == (4, 0x10001)


@pytest.mark.parametrize(("lines", "why"), [
    ((record(0, b"abc"),), "no end record"),
    ((END,), "no program"),
    ((record(0, b"abc")[:-2] + "00", END), "checksum of line 1"),
    ((record(0, b"abc"), "hello", END), "line 2 is no record"),
    ((record(0, b"abc")[:-4], END), "line 1 is no record"),
    ((record(0, b"abc"), END, record(3, b"d")), "line 3 follows"),
])
def test_a_damaged_program_is_refused_with_its_line(tmp_path, lines, why):
    with pytest.raises(InputFileError, match=why):
        read_hex(hex_file(tmp_path, *lines))


def test_the_commands_for_each_board():
    program = Path("ring.hex")
    old = Programmer(UNO, "/dev/ttyUSB0", 57600)
    common = ["avrdude", "-c", "arduino", "-p", "m328p", "-P", "/dev/ttyUSB0", "-b", "57600"]
    assert old.identify() == [*common, "-n"]
    assert old.write(program) == [*common, "-D", "-U", "flash:w:ring.hex:i"]
    assert old.verify(program) == [*common, "-n", "-U", "flash:v:ring.hex:i"]
    assert Programmer(TRINKET).identify() == ["avrdude", "-c", "usbtiny", "-p", "t85", "-n"]
    # The Trinket's bootloader writes into flash that was erased before.
    assert "-D" not in Programmer(TRINKET).write(program)


def test_automatic_tries_the_new_bootloader_first():
    assert [Bootloader(name).bauds for name in ("auto", "new", "old")] == [(115200, 57600), (115200,), (57600,)]


@pytest.fixture
def program(tmp_path):
    """A program of 300 bytes."""
    code = bytes(range(256)) + bytes(44)
    return hex_file(tmp_path, *(record(place, code[place : place + 16]) for place in range(0, 300, 16)), END)


@needs_avrdude
def test_another_chip_is_refused_before_it_is_written(program):
    with SmallBootloader(bytes.fromhex("1e9406")) as other:
        programmer = Programmer(UNO, other.port)
        with pytest.raises(WrongChipError, match=r"1e9406.*nothing was written"):
            read_signature(programmer)
        with pytest.raises(WrongChipError):
            run_avrdude(programmer, programmer.write(program))
        assert other.pages_written == 0


@needs_avrdude
def test_the_right_chip_is_written_read_back_and_compared(program):
    heard = []
    with SmallBootloader(UNO.signature) as chip:
        programmer = Programmer(UNO, chip.port)
        assert read_signature(programmer) == UNO.signature
        with pytest.raises(DeviceError, match="differs from the program"):
            run_avrdude(programmer, programmer.verify(program))
        assert chip.pages_written == 0
        run = run_avrdude(programmer, programmer.write(program), on_progress=heard.append)
        assert chip.flash[:300] == bytes(range(256)) + bytes(44)
        run_avrdude(programmer, programmer.verify(program))
    assert set(run.seconds) == {"write", "read back"}
    for stage in ("write", "read back"):
        assert [progress.done for progress in heard if progress.stage == stage][-1] == 100


@needs_avrdude
def test_a_chip_that_reads_back_other_bytes_fails(program):
    with SmallBootloader(UNO.signature, faulty=True) as worn:
        programmer = Programmer(UNO, worn.port)
        with pytest.raises(DeviceError, match="differs from the program"):
            run_avrdude(programmer, programmer.write(program))


@needs_avrdude
def test_a_line_that_answers_nonsense_is_given_up_at_the_first_attempt():
    with SmallBootloader(UNO.signature, deaf=True) as deaf, pytest.raises(SyncError, match="115200 baud; press"):
        read_signature(Programmer(UNO, deaf.port))


@needs_avrdude
def test_a_port_that_is_not_there_is_named():
    with pytest.raises(PortError, match="no port /dev/ttyNOTHING"):
        read_signature(Programmer(UNO, "/dev/ttyNOTHING"))


@pytest.mark.parametrize(("said", "kind", "what"), [
    ("avrdude error: cannot find USBtiny device (0x1781/0xc9f)", DeviceError, "red LED pulses"),
    ("avrdude OS error: cannot open port /dev/ttyACM0: Permission denied", PortError, "dialout"),
    ("Reading | ## | 100% 0.1s\navrdude warning: verification mismatch\n", DeviceError, "verification mismatch"),
    ("avrdude error: something else broke\n", DeviceError, "something else broke"),
])
def test_each_failure_tells_a_way_out(said, kind, what):
    error = failure(Programmer(UNO, "/dev/ttyACM0"), said)
    assert isinstance(error, kind)
    assert what in str(error)
    assert error.remedy
    assert len(str(error).splitlines()) == 1


def test_another_ring_on_the_port_is_refused():
    with FirmwarePort(RingFirmware()) as served:
        assert find_target("uno", served.port).running.board == UNO
        assert find_target(None, served.port).board == UNO
        with pytest.raises(UserError, match=r"is an Arduino Uno.*nothing was written"):
            find_target("trinket", served.port)


def test_the_board_must_be_clear(monkeypatch):
    nano, trinket = PortInfo("/dev/ttyUSB0", "Nano", "1a86:7523"), PortInfo(None, "Trinket", "1781:0c9f")
    for plugged, named, what in (
        ([], None, "no board is plugged in"),
        ([nano, trinket], None, r"several boards are plugged in: /dev/ttyUSB0 \(Nano\), USB \(Trinket\)"),
        ([trinket], "uno", "Trinket is plugged in, not Arduino Uno"),
    ):
        monkeypatch.setattr(flash_target, "find_boards", lambda plugged=plugged: plugged)
        with pytest.raises(UserError, match=what):
            find_target(named, None)
    monkeypatch.setattr(flash_target, "find_boards", lambda: [trinket])
    assert find_target(None, None).board == TRINKET
    assert find_target("trinket", None).port is None


def test_unknown_boards_and_too_many_pixels_are_refused():
    with pytest.raises(UserError, match="boards are uno, trinket"):
        board_named("mega")
    with pytest.raises(UserError, match="1 to 24 pixels, not 25"):
        wanted_pixels(TRINKET, 25)


def test_a_build_is_current_until_a_source_or_the_pixels_change(tmp_path, monkeypatch):
    monkeypatch.setenv(FIRMWARE_VARIABLE, str(tmp_path))
    source, built = tmp_path / "ring" / "ring.c", tmp_path / "build" / "uno"
    for path in (tmp_path / "protocol.toml", tmp_path / "Makefile", source):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n")
        os.utime(path, (1000, 1000))
    assert not is_current(UNO, 12)
    built.mkdir(parents=True)
    for name, text in (("ring.hex", END), ("ring.elf", ""), ("options", "PIXELS=12\n")):
        (built / name).write_text(text)
        os.utime(built / name, (2000, 2000))
    assert is_current(UNO, 12)
    assert not is_current(UNO, 16)
    assert make_command(UNO, 16)[-2:] == ["uno", "PIXELS=16"]
    os.utime(source, (3000, 3000))
    assert not is_current(UNO, 12)


@pytest.mark.parametrize("pixels", [1, 2, 12, 24, 60])
def test_every_pixel_has_its_place_in_the_drawing(pixels):
    drawn = ring_text([(255, 128, 0)] * pixels, rows=100)
    assert drawn.plain.count("██") == pixels
    row = ring_text([(255, 128, 0)] * pixels, rows=1)
    assert row.plain.count("██") == pixels


def test_dark_pixels_are_drawn_as_dark():
    drawn = ring_text([(255, 0, 0)] + [(0, 0, 0)] * 11, rows=40)
    assert (drawn.plain.count("██"), drawn.plain.count("··")) == (1, 11)
    # Pixel 0 is at the top.
    assert "██" in drawn.plain.splitlines()[0]
