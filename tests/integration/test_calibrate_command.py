"""`mobilescope calibrate stage` and a scope on Micro-Manager as a user meets them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from integration.small_job import ENVIRONMENT, MOBILESCOPE
from java_process import JavaProcess
from micromanager_demo import reset
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.terminal.console import reporting_errors
from mobilescope.core.stage_calibration import load_stage_calibration
from mobilescope.devices.micromanager import PythonCore, demo_configuration

TWIN = """\
[benchtop]
frame_rows = 256
frame_columns = 320

[twin.stage]
repeatability_um = 0.1

[twin.slides.tissue]
specimen = "blood"
"""
EARLIER = """\
pixel_size_um = 0.4
device_to_stage = [[1.0, 0.0], [0.0, 1.0]]
rotation_deg = 0.0
mirrored = false
residual_um = 0.1
pixel_size_error = 0.001
backlash_um = [1.0, 1.0]
moves = 16
frame_rows = 256
frame_columns = 320
"""
REAL = """\
[benchtop]
kind = "micromanager"
backend = "java"
port = {port}

[benchtop.properties]
"Camera.PixelType" = "32bitRGB"
"""


def run(instrument, *arguments):
    return CliRunner().invoke(app, ["--config", str(instrument), "calibrate", "stage", *arguments])


def test_the_twins_stage_is_calibrated_and_the_last_calibration_is_kept(tmp_path):
    instrument, out = tmp_path / "scope.toml", tmp_path / "calibration.toml"
    instrument.write_text(TWIN)
    out.write_text(EARLIER)
    done = run(instrument, "--slide", "tissue", "--autofocus-um", "20", "--repeats", "3", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["calibration"] == str(out)
    assert said["pixel_size_um"] == pytest.approx(0.37, rel=0.01)
    assert not said["mirrored"]
    found = load_stage_calibration(out)
    assert found.pixel_size_um == said["pixel_size_um"]
    assert found.moves == said["moves"] == 24
    assert (tmp_path / "calibration.previous.toml").read_text() == EARLIER


def test_a_blank_field_is_refused_in_one_line_and_nothing_is_written(tmp_path):
    instrument, out = tmp_path / "scope.toml", tmp_path / "calibration.toml"
    instrument.write_text(TWIN)
    out.write_text(EARLIER)
    done = run(instrument)
    assert done.exit_code == 1
    assert "error: there is nothing to see here but noise; move to a place" in done.stderr
    assert out.read_text() == EARLIER


def test_a_real_microscope_is_reached_and_its_grey_sky_refused(tmp_path):
    """The demo camera's waves repeat themselves and do not follow the stage: no calibration may come of it."""
    server = JavaProcess()
    instrument = tmp_path / "scope.toml"
    instrument.write_text(REAL.format(port=server.port))
    try:
        done = run(instrument)
    finally:
        server.close()
    assert done.exit_code == 1, done.stderr
    assert not (tmp_path / "calibration.toml").exists()


def test_a_light_that_can_not_be_switched_off_is_told_with_the_first_failure(tmp_path, capsys):
    """Micro-Manager dies while the shutter is open."""
    server = JavaProcess()
    instrument = tmp_path / "scope.toml"
    instrument.write_text(
        REAL.format(port=server.port).replace("port =", "auto_shutter = false\ntimeout_s = 1.0\nport =")
    )

    def fail():
        with (
            reporting_errors(), build_instruments(load_instrument(instrument), source=str(instrument)) as instruments,
        ):
            instruments.benchtop.snap()
            server.order("die")
            instruments.benchtop.snap()

    with pytest.raises(SystemExit) as stopped:
        fail()
    server.close()
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "within 1 s" in said
    assert f"the benchtop's light may still be on: nothing listens at 127.0.0.1:{server.port}" in said


def test_a_device_that_is_not_there_names_the_file(tmp_path):
    server = JavaProcess()
    instrument = tmp_path / "scope.toml"
    instrument.write_text(REAL.format(port=server.port).replace("port =", 'camera = "Andor"\nport ='))
    try:
        done = run(instrument)
    finally:
        server.close()
    assert done.exit_code == 2
    assert f"error: {instrument}: benchtop.camera: " in done.stderr
    assert "it has loaded DHub, Camera" in done.stderr


def test_micro_manager_that_does_not_run_is_told(tmp_path):
    instrument = tmp_path / "scope.toml"
    instrument.write_text(REAL.format(port=9))
    done = run(instrument)
    assert done.exit_code == 1
    assert "nothing listens at 127.0.0.1:9" in done.stderr
    assert "Run server on port" in done.stderr


SCOPE = """\
[benchtop]
kind = "micromanager"
configuration = "{configuration}"
pixel_size_um = 1.0

[benchtop.properties]
Camera.PixelType = "32bitRGB"
"""


def test_an_instrument_file_builds_a_microscope_with_its_calibration(tmp_path):
    """The calibration lies beside the instrument file and turns the stage by a quarter."""
    instrument = tmp_path / "scope.toml"
    text = SCOPE.format(configuration=demo_configuration())
    instrument.write_text(text.replace("pixel_size_um = 1.0", 'calibration = "calibration.toml"'))
    (tmp_path / "calibration.toml").write_text(
        "format = 1\npixel_size_um = 1.002\ndevice_to_stage = [[0.0, -1.0], [1.0, 0.0]]\nrotation_deg = 90.0\n"
        "mirrored = false\nresidual_um = 0.2\npixel_size_error = 0.001\nbacklash_um = [1.0, 1.0]\nmoves = 16\n"
        "frame_rows = 512\nframe_columns = 512\n"
    )
    asked = []
    config = load_instrument(instrument)
    with build_instruments(config, source=str(instrument), ask_mount=asked.append) as instruments:
        instruments.benchtop.mount("left")
        instruments.benchtop.stage.move_xy(30.0, 10.0)
        image = instruments.benchtop.snap()
    assert asked == ["left"]
    assert image.pixel_size_um == 1.002
    assert (image.position.x_um, image.position.y_um) == pytest.approx((30, 10), abs=0.03)
    core = PythonCore(demo_configuration())
    assert core.call("look", "get_x_position", "XY") == pytest.approx(10, abs=0.02)
    assert core.call("look", "get_y_position", "XY") == pytest.approx(-30, abs=0.02)
    reset(core)


def test_nobody_to_mount_a_slide_is_told_with_the_way_out(tmp_path):
    instrument = tmp_path / "scope.toml"
    instrument.write_text(SCOPE.format(configuration=demo_configuration()))
    ended = subprocess.run(
        [MOBILESCOPE, "--config", str(instrument), "calibrate", "stage", "--slide", "left"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT,
    )
    assert ended.returncode == 2, ended.stderr
    assert "slide 'left' has to be put under the objective, and nobody can be asked here; run " in ended.stderr


def test_the_person_is_asked_in_a_terminal():
    program = (
        "from mobilescope.app.terminal.mounting import ask_in_terminal\n"
        "ask_in_terminal('left')\n"
        "print('mounted')\n"
    )
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "Put slide 'left' under the objective" in asked.stderr.readline()
        os.write(ours, b"\n")
        assert asked.stdout.readline() == "mounted\n"
        assert asked.wait(10) == 0
    finally:
        asked.kill()
        asked.wait()
        asked.stdout.close()
        asked.stderr.close()
        os.close(ours)
        os.close(theirs)
