"""What every stage keeps: it goes where it is sent, says where it stands, and refuses to leave its range."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from mobilescope.core.errors import DeviceError, LimitError
from mobilescope.core.protocols import BoundedStage, SweepingStage, XYZStage
from mobilescope.devices.micromanager import MicroManagerStage, StageLimits, demo_configuration
from mobilescope.twin.benchtop import ErringStage
from mobilescope.twin.parameters import load_parameters

# Micro-Manager's demo stage counts in steps of 0.015 µm; the boards' are half of their steps.
STEP_UM = 0.02
BOARD_STEP_UM = 0.126


def micromanager():
    # Every stage of a process shares Micro-Manager's one core.
    return MicroManagerStage(demo_configuration())


def erring(device):
    return ErringStage(device, load_parameters().stage, seed=0)


BOARDS = {
    "grbl": {}, "grbl with play": {"play_um": (12.0, 7.0, 3.0)}, "grbl mirrored": {"reversed": ("x", "z")},
    "sangaboard": {}, "old sangaboard": {"version": "0.5.1"}, "sangaboard with play": {"play_um": (12.0, 7.0, 3.0)},
}
STAGES = ("micromanager", "erring over micromanager", "erring over software", *BOARDS)


@pytest.fixture(params=STAGES)
def stage(request, make_twin, served_stage):
    if request.param == "micromanager":
        made = micromanager()
    elif request.param == "erring over micromanager":
        made = erring(micromanager())
    elif request.param in BOARDS:
        made = served_stage("grbl" if "grbl" in request.param else "sangaboard", **BOARDS[request.param]).stage
    else:
        made = erring(make_twin().stage)
    made.move_xy(0.0, 0.0)
    made.move_z(0.0)
    return made


@pytest.fixture
def step_um(request):
    return BOARD_STEP_UM if request.node.callspec.params["stage"] in BOARDS else STEP_UM


def test_it_is_a_stage(stage):
    assert isinstance(stage, XYZStage)


@pytest.mark.parametrize("target", [(150.0, -80.0), (-33.3, 12.7), (0.4, 0.0)])
def test_it_stands_where_it_was_sent(stage, target, step_um):
    stage.move_xy(*target)
    at = stage.position()
    assert (at.x_um, at.y_um) == pytest.approx(target, abs=step_um)
    assert at.z_um == pytest.approx(0, abs=step_um)


@pytest.mark.parametrize("z_um", [12.34, -7.5, 0.25])
def test_the_focus_drive_stands_where_it_was_sent(stage, z_um, step_um):
    stage.move_xy(40.0, 30.0)
    stage.move_z(z_um)
    at = stage.position()
    assert at.z_um == pytest.approx(z_um, abs=step_um)
    assert (at.x_um, at.y_um) == pytest.approx((40, 30), abs=step_um)


def test_small_steps_add_up(stage, step_um):
    for step in range(1, 11):
        stage.move_xy(step * 5.0, step * -2.5)
        stage.move_z(step * 0.5)
    at = stage.position()
    assert (at.x_um, at.y_um, at.z_um) == pytest.approx((50, -25, 5), abs=step_um)


@pytest.mark.parametrize("target", [(30_001.0, 0.0), (0.0, -30_001.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_a_move_out_of_range_is_refused_before_it_starts(stage, target):
    stage.move_xy(25.0, -15.0)
    before = stage.position()
    with pytest.raises(LimitError, match="outside"):
        stage.move_xy(*target)
    assert stage.position() == before


def test_a_focus_out_of_range_is_refused_before_it_starts(stage):
    low, high = stage.z_range_um()
    stage.move_z(3.0)
    before = stage.position()
    for z_um in (low - 0.01, high + 0.01, float("nan")):
        with pytest.raises(LimitError, match="outside"):
            stage.move_z(z_um)
    assert stage.position() == before


def test_the_ends_of_the_focus_range_can_be_reached(stage, step_um):
    for z_um in stage.z_range_um():
        stage.move_z(z_um)
        assert stage.position().z_um == pytest.approx(z_um, abs=step_um)


def test_it_says_how_far_it_goes_in_x_and_y(stage):
    assert isinstance(stage, BoundedStage)
    for axis, (low, high) in enumerate(stage.xy_range_um()):
        for outside in (low - 1, high + 1):
            with pytest.raises(LimitError):
                stage.move_xy(*((outside, 0.0) if axis == 0 else (0.0, outside)))


def test_a_focus_drive_that_can_be_watched_arrives_where_it_was_sent(stage, step_um):
    if not (isinstance(stage, SweepingStage) and stage.sweeps):
        assert not hasattr(stage, "begin_z") or not stage.sweeps
        return
    stage.begin_z(7.5)
    until_s = time.monotonic() + 10
    while stage.z_while_moving()[1]:
        assert time.monotonic() < until_s
    assert stage.position().z_um == pytest.approx(7.5, abs=step_um)
    with pytest.raises(LimitError, match="outside"):
        stage.begin_z(stage.z_range_um()[1] + 0.01)


def test_it_says_what_it_is(stage):
    assert stage.describe()
    assert stage.describe() == stage.describe()


def test_limits_are_those_that_were_asked_for():
    stage = MicroManagerStage(demo_configuration(), xy_limits_um=(-50.0, 60.0), z_limits_um=(-5.0, 6.0))
    stage.move_xy(0.0, 0.0)
    assert stage.z_range_um() == (-5, 6)
    assert stage.xy_range_um() == ((-50, 60), (-50, 60))
    with pytest.raises(LimitError, match=r"x = 61\.00 µm.*-50 to 60"):
        stage.move_xy(61.0, 0.0)
    with pytest.raises(LimitError, match=r"z = -5\.50 µm"):
        stage.move_z(-5.5)


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("rotation_deg", [0, 5, -40, 90, 181])
def test_every_place_within_the_range_of_a_turned_stage_can_be_reached(rotation_deg, mirror):
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, mirror])
    limits = StageLimits(x_um=(-100.0, 300.0), y_um=(-50.0, 80.0))
    stage = MicroManagerStage(demo_configuration(), limits=limits, device_to_stage=turn)
    x_range_um, y_range_um = stage.xy_range_um()
    for x_um in x_range_um:
        for y_um in y_range_um:
            # Not quite to the corner, where rounding decides.
            stage.move_xy(0.999 * x_um + 0.001 * sum(x_range_um) / 2, 0.999 * y_um + 0.001 * sum(y_range_um) / 2)
    area = (x_range_um[1] - x_range_um[0]) * (y_range_um[1] - y_range_um[0])
    assert area == pytest.approx(400 * 130, rel=1e-6) if rotation_deg in (0, 90) else area > 0.1 * 400 * 130


def test_the_true_position_errs_by_play_and_chance_alone(make_twin):
    stage = erring(make_twin().stage)
    parameters = load_parameters().stage
    for x_um in (100.0, 250.0, -30.0):
        stage.move_xy(x_um, 0.0)
        true, reported = stage.true_position(), stage.position()
        assert abs(true.x_um - reported.x_um) < parameters.backlash_um / 2 + 5 * parameters.repeatability_um
        assert true.y_um == reported.y_um


@pytest.mark.parametrize(
    ("name", "text"),
    [("nowhere.cfg", None), ("broken.cfg", "Device,XY,NoSuchLibrary,NoSuchStage\n"), ("empty.cfg", "# nothing\n")],
    ids=["missing", "unknown device", "no devices"],
)
def test_a_configuration_that_does_not_work_is_named(tmp_path, name, text):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    program = (
        "from pathlib import Path\n"
        "from mobilescope.core.errors import MobilescopeError\n"
        "from mobilescope.devices.micromanager import MicroManagerStage\n"
        "try:\n"
        f"    MicroManagerStage(Path({str(path)!r}))\n"
        "except MobilescopeError as error:\n"
        "    print('refused:', error)\n"
    )
    # A process of its own, since Micro-Manager has one core in each.
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("refused:")
    assert str(path) in ended.stdout


def test_a_second_configuration_in_one_process_is_refused(tmp_path):
    micromanager()
    other = tmp_path / "other.cfg"
    other.write_text("# another microscope\n")
    with pytest.raises(DeviceError, match=r"already runs with .*MMConfig_demo\.cfg"):
        MicroManagerStage(other)
