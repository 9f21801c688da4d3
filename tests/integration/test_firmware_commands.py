"""`mobilescope firmware ...` and `devices`: real builds, real avrdude, real bootloaders in a simulated board."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from integration.ring_commands import DARK, Background, SimulatedRing, needs_simulator, refused, run
from small_bootloader import SmallBootloader

from mobilescope.app.instruments.ring_lighting import Light, light_and_leave
from mobilescope.core.firmware_files import FIRMWARE_VARIABLE, firmware_folder
from mobilescope.core.ring_protocol import Setting

needs_avrdude = pytest.mark.skipif(shutil.which("avrdude") is None, reason="avrdude is not installed")
NO_TOOLS = {"PATH": str(Path(sys.executable).parent)}


@pytest.fixture
def sources(tmp_path):
    """A copy of the firmware's sources without builds, and the environment in which commands use it."""
    folder = tmp_path / "firmware"
    shutil.copytree(firmware_folder(), folder, ignore=shutil.ignore_patterns("build"))
    return folder, {FIRMWARE_VARIABLE: str(folder)}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_simulator
@pytest.mark.parametrize("board", ["uno", "trinket"])
def test_build_tells_sizes_within_their_limits(board):
    built = run("firmware", "build", "--board", board, "--json").json()
    assert 0 < built["flash_bytes"] <= built["flash_limit"] == {"uno": 12_288, "trinket": 5_200}[board]
    assert 0 < built["ram_bytes"] <= built["ram_limit"] == {"uno": 1024, "trinket": 256}[board]
    assert Path(built["hex"]).is_file()


@needs_simulator
def test_another_number_of_pixels_is_built_and_simulated(sources):
    _, environment = sources
    assert run("firmware", "build", "--pixels", 16, "--json", environment=environment).json()["pixels"] == 16
    with SimulatedRing(environment=environment) as simulated:
        run("ring", "set", "080808", "--port", simulated.port)
        assert simulated.until(lambda pixels: "080808" in pixels)[1]["pixels"] == ["080808"] * 16
    assert "1 to 60 pixels, not 61" in refused("firmware", "build", "--pixels", 61, environment=environment)


def test_without_a_compiler_the_packages_are_named(sources):
    folder, environment = sources
    line = refused("firmware", "build", environment=environment | NO_TOOLS)
    assert "sudo apt install make gcc-avr avr-libc binutils-avr" in line
    assert not (folder / "build").exists()


def test_unknown_boards_and_bootloaders_are_refused():
    assert "boards are uno, trinket" in refused("firmware", "build", "--board", "mega")
    assert "give auto, new, old" in refused("firmware", "flash", "--bootloader", "usb", "--simulated")
    assert "bootloaders are simulated" in refused("firmware", "flash", "--board", "trinket", "--simulated")
    assert "not simulated" in refused("firmware", "simulate", "--board", "trinket", "--bootloader", "new")
    assert "port of its own" in refused("firmware", "flash", "--simulated", "--port", "/dev/ttyACM0")


@needs_simulator
@needs_avrdude
@pytest.mark.parametrize("bootloader", ["auto", "old"])
def test_flash_of_an_empty_board_ends_in_a_passed_self_test(bootloader):
    began_s = time.monotonic()
    flashed = run("firmware", "flash", "--simulated", "--bootloader", bootloader, "--json")
    assert time.monotonic() - began_s <= 15
    report = flashed.json()
    assert report["ok"]
    assert report["self_test"]["tests"]["flash"]
    assert (report["signature"], report["firmware"]) == ("1e950f", "1.0.0")
    assert report["baud"] == {"auto": 115200, "old": 57600}[bootloader]
    assert set(report["seconds"]) == {"build", "find the bootloader", "write and read back", "self-test"}
    for stage in ("write", "read back"):
        assert f"{stage}: 100/100" in flashed.errors


@needs_simulator
@needs_avrdude
def test_an_old_bootloader_is_found_by_itself_and_the_ring_works_afterwards():
    with SimulatedRing("--bootloader", "old") as board:
        report = run("firmware", "flash", "--port", board.port, "--json").json()
        assert (report["ok"], report["baud"]) == (True, 57600)
        run("ring", "set", "ff8000", "--port", board.port)
        assert board.until(lambda pixels: pixels != DARK)[1]["pixels"] == ["ff8000"] * 12


@needs_simulator
@needs_avrdude
def test_verify_tells_the_built_firmware_from_another(sources):
    same = run("firmware", "verify", "--simulated", "--json").json()
    assert same["same"]
    folder, environment = sources
    run("firmware", "build", "--pixels", 16, "--json", environment=environment).json()
    with SimulatedRing("--bootloader", "new") as board:
        line = refused("firmware", "verify", "--port", board.port, "--board", "uno", status=1, environment=environment)
    assert "differs from the program" in line
    assert (folder / "build" / "uno" / "ring.hex").is_file()


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(sources):
    folder, environment = sources
    with SmallBootloader(bytes.fromhex("1e950f")) as board:
        dry = run("firmware", "flash", "--dry-run", "--board", "uno", "--port", board.port, "--json",
                  environment=environment)
        assert (board.pages_written, board.heard) == (0, 0)
    make, identify, write = dry.json()["commands"]
    assert make == ["make", "-C", str(folder), "uno", "PIXELS=12"]
    assert identify == ["avrdude", "-c", "arduino", "-p", "m328p", "-P", board.port, "-b", "115200", "-n"]
    assert write[-1] == f"flash:w:{folder / 'build' / 'uno' / 'ring.hex'}:i"
    assert not (folder / "build").exists()


@needs_simulator
@needs_avrdude
def test_a_wrong_chip_is_refused_before_anything_is_written():
    with SmallBootloader(bytes.fromhex("1e9406")) as other:
        line = refused("firmware", "flash", "--board", "uno", "--port", other.port)
        assert "the chip has signature 1e9406" in line
        assert "nothing was written" in line
        assert other.pages_written == 0


@needs_simulator
def test_a_trinkets_ring_is_not_flashed_as_an_uno():
    with SimulatedRing("--board", "trinket") as trinket:
        line = refused("firmware", "flash", "--board", "uno", "--port", trinket.port)
    assert "is an Adafruit Trinket" in line
    assert "give --board trinket" in line


def test_without_avrdude_its_package_is_named(sources):
    _, environment = sources
    with SmallBootloader(bytes.fromhex("1e950f")) as board:
        line = refused("firmware", "flash", "--board", "uno", "--port", board.port, environment=environment | NO_TOOLS)
    assert "sudo apt install" in line
    assert board.pages_written == 0


@needs_simulator
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_ends_cleanly_and_leaves_no_simulator(number):
    with SimulatedRing() as simulated:
        assert simulated.first == {"port": simulated.port}
        (simulator,) = children(simulated.pid)
        assert simulated.end(number) == 0
    assert not Path(f"/proc/{simulator}").exists()
    assert "Traceback" not in simulated.errors


@needs_simulator
def test_a_simulated_eeprom_keeps_stored_light(tmp_path):
    kept = tmp_path / "eeprom.bin"
    with SimulatedRing("--eeprom", kept) as simulated:
        run("ring", "set", "102030", "--store", "--port", simulated.port)
        assert simulated.end() == 0
    with SimulatedRing("--eeprom", kept) as again:
        assert again.until(lambda pixels: pixels != DARK)[1]["pixels"] == ["102030"] * 12


def test_without_simavr_the_twin_in_python_stands_in():
    with SimulatedRing(environment=NO_TOOLS) as simulated:
        run("ring", "set", "ff8000", "--port", simulated.port)
        frame = simulated.until(lambda pixels: pixels != DARK)[1]
        assert frame["pixels"] == ["ff8000"] * 12
        assert set(frame) == {"t_s", "pixels"}
        simulated.until_dark()
        assert simulated.end() == 0
    assert "the twin in Python stands in" in simulated.errors


@needs_simulator
def test_monitor_tells_state_and_counters_and_leaves_the_light():
    with SimulatedRing() as simulated:
        # A light that outlasts the start of the command, however busy the machine is.
        lasting = {Setting.HOST_TIMEOUT_MS: 60_000}
        light_and_leave(simulated.port, Light(lambda pixels: ((0x20, 0x30, 0x40),) * pixels, lasting))
        simulated.until(lambda pixels: pixels == ["203040"] * 12)
        with Background("firmware", "monitor", "--json", "--port", simulated.port) as watching:
            first, second = (watching.line()[1] for _ in range(2))
            assert watching.end() == 0
        assert first["light"]["lit"]
        assert first["light"] == second["light"]
        assert second["statistics"]["frames"] > first["statistics"]["frames"]
        assert second["statistics"]["uptime_ms"] > first["statistics"]["uptime_ms"]


def test_devices_lists_what_is_here():
    listed = run("devices", "--json")
    found = listed.json()
    assert set(found) == {"ports", "phones", "compute", "micromanager", "firmware_tools", "simulator"}
    assert "Camera" in found["micromanager"]["demo_devices"]
    assert (found["firmware_tools"]["avrdude"] is None) == (shutil.which("avrdude") is None)
    assert found["compute"]["torch"]
    assert "Micro-Manager: pycromanager" in listed.errors
