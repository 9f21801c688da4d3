"""`mobilescope stage ...` against simulated boards behind pseudo-terminals, and a person at a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
from integration.ring_commands import Background, refused, run
from integration.small_job import MOBILESCOPE
from mjpeg_camera import MjpegCamera
from serial.tools import list_ports
from served_stage import FaultyLine, make_board

from mobilescope.app.commands.devices import devices
from mobilescope.core.errors import PortError
from mobilescope.devices.stages.probing import probe_stage
from mobilescope.devices.transport import SerialWire
from mobilescope.twin.firmware_port import FirmwarePort

LIMITS = "x_limits_um = [-30000, 30000]\ny_limits_um = [-30000, 30000]\nz_limits_um = [-300, 300]\n"
TABLES = {
    "grbl": 'kind = "grbl"\nbacklash_um = [12, 7, 3]\n' + LIMITS,
    "sangaboard": 'kind = "sangaboard"\num_per_step = [0.25, 0.25, 0.25]\n' + LIMITS,
}
# 20 mm take 20 s.
SLOW = {"grbl": {"settings": {110: "60", 111: "60"}}, "sangaboard": {"step_delay_us": 250}}


class Bench:
    """A board behind a port, and an instrument file that names it."""

    def __init__(self, folder, kind, **changes):
        self.board = make_board(kind, **changes)
        self.port = FirmwarePort(FaultyLine(self.board))
        self.port.plug()
        self.file = folder / "scope.toml"
        self.file.write_text(f'name = "bench"\n[stage]\nport = "{self.port.port}"\n' + TABLES[kind])

    def stage(self, *arguments):
        return run("--config", self.file, "stage", *arguments)


@pytest.fixture
def bench(tmp_path):
    benches = []

    def make(kind, **changes):
        benches.append(Bench(tmp_path, kind, **changes))
        return benches[-1]

    yield make
    for each in benches:
        each.port.unplug()


@pytest.mark.parametrize(("kind", "name"), [("grbl", "Grbl 1.1h"), ("sangaboard", "Sangaboard 1.0.4")])
def test_a_stage_is_asked_moved_and_asked_again(bench, kind, name):
    made = bench(kind)
    assert made.stage("where", "--json").json()["x_um"] == 0
    moved = made.stage("move", "--x", "150", "--z", "-2.5", "--json").json()
    assert (moved["x_um"], moved["y_um"], moved["z_um"], moved["state"]) == (150, 0, -2.5, "idle")
    assert moved["stage"].startswith(name)
    further = made.stage("move", "--x", "-50", "--y", "20", "--relative", "--json").json()
    # Opened anew, a Grbl board tells its position to 1 µm.
    assert (further["x_um"], further["y_um"], further["z_um"]) == pytest.approx((100, 20, -2.5), abs=0.51)
    limits = made.stage("limits", "--json").json()
    assert (limits["x_um"], limits["z_um"], limits["step_um"]) == ([-30000, 30000], [-300, 300], [0.25] * 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["grbl", "sangaboard"])
def test_a_signal_stops_the_motors_before_the_command_ends(bench, kind, number):
    made = bench(kind, **SLOW[kind])
    moving = _moving(made)
    assert moving.end(number) == 130
    assert not _is_moving(made.board)
    assert "halted" in moving.errors
    assert "Traceback" not in moving.errors


@pytest.mark.parametrize("kind", ["grbl", "sangaboard"])
def test_motors_that_a_killed_program_left_running_are_halted(bench, kind):
    made = bench(kind, **SLOW[kind])
    moving = _moving(made)
    busy = refused("--config", made.file, "stage", "halt")
    assert f"in use by process {moving.pid}" in busy
    moving.end(signal.SIGKILL)
    halted = made.stage("halt", "--json").json()
    assert not _is_moving(made.board)
    assert halted["state"] == "idle"
    assert 0 < halted["x_um"] < 20000


def _moving(made):
    """Begin a long move, and return the command once the motors turn."""
    moving = Background("--config", made.file, "stage", "move", "--x", "20000")
    until_s = time.monotonic() + 30
    while not _is_moving(made.board):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return moving


def _is_moving(board):
    return getattr(board, "state", "") == "Jog" or getattr(board, "_move", None) is not None


def test_a_locked_board_is_homed(bench):
    made = bench("grbl", settings={20: "1", 22: "1", 27: "0.100", 130: "60", 131: "60", 132: "0.6"})
    made.file.write_text(made.file.read_text() + "origin_um = [-30000, -30000, -300]\n")
    assert made.stage("where", "--json").json()["state"] == "alarm"
    assert "stage home" in refused("--config", made.file, "stage", "move", "--x", "1", status=1)
    assert made.stage("home", "--json").json()["x_um"] == 29_900
    assert made.stage("move", "--x", "1000", "--json").json()["x_um"] == 1000


def test_a_sangaboard_is_zeroed(bench):
    made = bench("sangaboard")
    made.stage("move", "--x", "500")
    assert made.stage("zero", "--json").json()["x_um"] == 0
    assert "stage zero" in refused("--config", made.file, "stage", "home")


@pytest.mark.parametrize(("text", "message"), [
    ('kind = "sangaboard"\num_per_step = [0.1, 0.1, 0.1]\n', "x_limits_um"),
    ('kind = "sangaboard"\n' + LIMITS, "um_per_step"),
    ('kind = "grbl"\nx_limits_um = [3, 2]\n', "x_limits_um"),
    ('kind = "grbl"\nbacklash = 3\n', "backlash"),
    ('kind = "manual"\n' + LIMITS, "camera"),
    ('kind = "grbl"\nport = "/dev/nothing"\n' + LIMITS, "no port /dev/nothing"),
])
def test_a_mistake_in_the_instrument_file_is_named(tmp_path, text, message):
    file = tmp_path / "scope.toml"
    file.write_text("[stage]\n" + text)
    assert message in refused("--config", file, "stage", "where")


def test_without_a_stage_it_is_the_benchtops_and_that_is_told(tmp_path):
    told = run("stage", "where", "--json").json()
    assert told["stage"].startswith("Micro-Manager")
    assert "names no stage of the phone scope" in refused("stage", "where", "--of", "phone")
    assert "not homed from here" in refused("stage", "home")
    assert "nowhere to go" in refused("stage", "move")
    assert "outside the stage's range" in refused("stage", "move", "--x", "31000")


def test_a_manual_stage_has_no_port(tmp_path):
    file = tmp_path / "scope.toml"
    file.write_text('[stage]\nkind = "manual"\ncamera = "camera:0"\ncamera_pixel_um = 1.0\n' + LIMITS)
    assert "has no port" in refused("--config", file, "stage", "where", "--port", "/dev/ttyUSB0")
    assert "camera 0 can't be opened" in refused("--config", file, "stage", "where")


@pytest.mark.parametrize(("kind", "name"), [("grbl", "Grbl"), ("sangaboard", "Sangaboard")])
def test_a_stage_is_found_by_what_it_says(bench, kind, name):
    made = bench(kind)
    assert probe_stage(made.port.port, patience_s=2).kind == name
    assert made.board.at_mm == [0, 0, 0] if kind == "grbl" else made.board.moves == []
    wire = SerialWire(made.port.port, 115200)
    with pytest.raises(PortError):
        probe_stage(made.port.port, patience_s=0.2)
    wire.close()


def test_a_person_at_a_terminal_moves_a_manual_stage(tmp_path):
    rng = np.random.default_rng(0)
    slide = np.repeat(np.repeat(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8), 5, axis=0), 5, axis=1)
    at = [500, 500]

    def view():
        return slide[at[1] : at[1] + 480, at[0] : at[0] + 480]

    with MjpegCamera(view()) as camera:
        file = tmp_path / "scope.toml"
        file.write_text(
            f'[stage]\nkind = "manual"\ncamera = "{camera.url}"\ncamera_pixel_um = 0.5\n' + LIMITS
        )
        near, far = pty.openpty()
        moving = subprocess.Popen(
            [MOBILESCOPE, "--config", file, "stage", "move", "--x", "120", "--y", "-60", "--json"],
            stdin=far, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        try:
            for line in moving.stderr:
                for way, word in re.findall(r"(\d+) µm (right|left|down|up)", line):
                    axis = 0 if word in ("right", "left") else 1
                    at[axis] += round(float(way) / 0.5) * (1 if word in ("right", "down") else -1)
                if "press Enter" in line:
                    camera.show(view())
                    time.sleep(0.5)
                    os.write(near, b"\n")
            told = json.loads(moving.stdout.read())
        finally:
            moving.kill()
            moving.wait()
            moving.stdout.close()
            moving.stderr.close()
            os.close(near)
            os.close(far)
    assert (told["x_um"], told["y_um"]) == pytest.approx((120, -60), abs=12)
    assert (0.5 * (at[0] - 500), 0.5 * (at[1] - 500)) == pytest.approx((told["x_um"], told["y_um"]), abs=1)


@pytest.mark.parametrize(("kind", "told"), [
    ("grbl", r"Arduino Uno \(2341:0043\); stage, Grbl 1\.1h"), ("sangaboard", r"stage, Sangaboard 1\.0\.4"),
])
def test_devices_lists_a_stage_on_a_board_that_could_be_a_ring(bench, monkeypatch, capsys, kind, told):
    made = bench(kind)
    plugged = SimpleNamespace(device=made.port.port, vid=0x2341, pid=0x0043, serial_number="", description="")
    monkeypatch.setattr(list_ports, "comports", lambda: [plugged])
    devices(json=True)
    shown = capsys.readouterr()
    (port,) = json.loads(shown.out)["ports"]
    assert port["ring"] is None
    assert port["stage"]["kind"].lower() == kind
    assert re.search(told, shown.err)
