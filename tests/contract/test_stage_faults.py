"""Motorised stages when something is wrong: cables, noise, alarms, resets, impatience, and the wrong board."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from served_stage import FaultyLine, make_board, open_stage, stage_config

from mobilescope.core.errors import (
    CancelledError,
    ConfigError,
    DeviceError,
    FirmwareVersionError,
    LimitError,
    LinkError,
    LinkLostError,
    PortError,
    UserError,
)
from mobilescope.devices.transport import SerialWire
from mobilescope.twin.firmware_port import FirmwarePort

KINDS = ("grbl", "sangaboard")
HOMING = {"settings": {20: "1", 22: "1", 27: "0.100", 130: "60.000", 131: "60.000", 132: "0.600"}}
IN_THE_MIDDLE = {"origin_um": (-30_000.0, -30_000.0, -300.0)}
# 20 mm in 4 s on either board.
SLOW = {"grbl": {"settings": {110: "300", 111: "300", 112: "300"}}, "sangaboard": {"step_delay_us": 50}}


@pytest.fixture(params=KINDS)
def slow(request, served_stage):
    return served_stage(request.param, **SLOW[request.param])


def while_moving(served, action, *, target_um=20_000.0, after_s=0.4):
    """Do something while the stage moves; return what the move raised, and how long after it ended."""
    done = {}

    def act():
        time.sleep(after_s)
        done["at_s"] = time.monotonic()
        action()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        with pytest.raises(DeviceError if action != served.stage.halt else CancelledError) as raised:
            served.stage.move_xy(target_um, 0.0)
        return raised.value, time.monotonic() - done["at_s"]
    finally:
        thread.join()


@pytest.mark.parametrize("kind", KINDS)
def test_play_is_taken_up_from_either_side(served_stage, kind):
    play_um = (12.0, 7.0, 3.0)
    served = served_stage(kind, play_um=play_um)
    stage, board = served.stage, served.board
    scale = 1000 if kind == "grbl" else 0.25
    for x_um, y_um, z_um in ((50, 40, 5), (200, 90, 9), (80, 60, 2), (83, 58, 3), (-40, -70, -8), (-39, -70, -7)):
        stage.move_xy(x_um, y_um)
        stage.move_z(z_um)
        at = board.carriage_mm if kind == "grbl" else board.carriage
        # Every stop is approached upwards: the axes lag behind their motors by all of the play.
        assert [scale * value for value in at] == pytest.approx(
            [x_um - play_um[0], y_um - play_um[1], z_um - play_um[2]], abs=0.26
        )


def test_play_costs_a_move_only_where_the_direction_changes(served_stage):
    served = served_stage("sangaboard", play_um=(12.0, 7.0, 3.0))
    for x_um in (0.0, 100.0, 200.0, 150.0, 160.0):
        served.stage.move_xy(x_um, 0.0)
    ways = [move[0] * 0.25 for move in served.board.moves]
    assert ways == [-12, 12, 100, 100, -62, 12, 10]


def test_the_overshoot_stays_within_the_limits(served_stage):
    served = served_stage("grbl", play_um=(12.0, 7.0, 3.0), settings={110: "600000"})
    served.stage.move_xy(-29_990.0, 0.0)
    served.stage.move_xy(-29_995.0, 0.0)
    assert min(way[0] for way in served.board.ways) >= -30.0


def test_halt_ends_a_move_from_another_thread(slow):
    raised, late_s = while_moving(slow, slow.stage.halt)
    assert "halted" in str(raised)
    assert late_s < 1.0
    at = slow.stage.position()
    assert 200 < at.x_um < 19_000
    time.sleep(0.2)
    assert slow.stage.position() == at
    slow.stage.move_xy(at.x_um - 100.0, 0.0)
    assert slow.stage.position().x_um == pytest.approx(at.x_um - 100, abs=0.2)


def test_an_old_sangaboard_stops_within_its_piece(served_stage):
    served = served_stage("sangaboard", version="0.5.1", **SLOW["sangaboard"])
    _, late_s = while_moving(served, served.stage.halt)
    assert late_s < 1.5
    assert 200 < served.stage.position().x_um < 19_000


def test_ctrl_c_stops_the_motors(slow):
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        slow.stage.move_xy(20_000.0, 0.0)
    at = slow.stage.position()
    assert at.x_um < 19_000
    time.sleep(0.2)
    assert slow.stage.position() == at


def test_motors_that_could_not_be_told_to_stop_are_not_said_to_stand(slow):
    def fall_silent_and_interrupt():
        slow.line.dumb = True
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.4, fall_silent_and_interrupt).start()
    with pytest.raises(KeyboardInterrupt) as raised:
        slow.stage.move_xy(20_000.0, 0.0)
    (note,) = raised.value.__notes__
    assert "may still be moving" in note
    assert "answer" in note


def test_a_pulled_cable_is_told_and_so_is_what_the_stage_does(slow):
    raised, _ = while_moving(slow, slow.port.unplug)
    assert isinstance(raised, LinkLostError)
    assert "goes on to its end" in str(raised)
    assert "plug the board in again" in str(raised)
    with pytest.raises(LinkLostError):
        slow.stage.position()


def test_a_reset_in_mid_move_is_told(slow):
    raised, _ = while_moving(slow, slow.port.reset)
    assert "was reset" in str(raised)
    assert "position may be" in str(raised)


def test_a_stage_that_stops_short_is_told_with_where_it_stands(slow):
    def stop_short():
        slow.board._jog = slow.board._move = None

    raised, _ = while_moving(slow, stop_short)
    assert "was sent to" in str(raised)
    assert "stands at" in str(raised)
    assert "obstacle" in str(raised)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_on_the_line_is_passed_over(served_stage, kind):
    served = served_stage(kind)
    served.line.noise = b"\xff\x00\x13 garb\xe9ge\r\n\n"
    served.stage.move_xy(100.0, 50.0)
    assert served.stage.position().x_um == 100


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_babbles_is_given_up_on(served_stage, kind):
    served = served_stage(kind)
    served.line.noise = b"\xff\x00\x13" * 200
    with pytest.raises(LinkError, match="answer"):
        served.stage.move_xy(100.0, 50.0)


@pytest.mark.parametrize("kind", KINDS)
def test_slow_answers_are_waited_for(served_stage, kind):
    served = served_stage(kind)
    served.line.delay_s = 0.3
    served.stage.move_xy(100.0, 50.0)
    served.stage.move_xy(20.0, 50.0)
    served.line.delay_s = 0.0
    assert served.stage.position().x_um == 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_board_that_fell_silent_is_told(served_stage, kind):
    served = served_stage(kind)
    served.line.dumb = True
    with pytest.raises(LinkError, match=r"did(n't| not) answer|does not answer"):
        served.stage.move_xy(100.0, 50.0)
    # A relative move must never be made twice because its answer was lost.
    assert len([line for line in served.board.received if line.startswith(("mr", "$J"))]) <= 1
    served.line.dumb = False
    served.stage.move_xy(30.0, 0.0)
    assert served.stage.position().x_um == 30


@pytest.mark.parametrize("kind", KINDS)
def test_a_board_that_is_reset_by_opening_its_port_is_waited_for(kind):
    line = FaultyLine(make_board(kind))
    line.boot_s = 1.5
    with FirmwarePort(line) as port, open_stage(kind, port.port, stage_config(kind, (0, 0, 0))) as stage:
        stage.move_xy(10.0, 20.0)
        assert stage.position().y_um == 20


@pytest.mark.parametrize(("kind", "board", "message"), [
    ("grbl", make_board("sangaboard"), "nobody who speaks Grbl answers"),
    ("sangaboard", make_board("grbl"), "no Sangaboard answers"),
    ("grbl", make_board("grbl", version="0.9j.20160303"), r"runs Grbl 0\.9j.*not 1\.1"),
    ("sangaboard", make_board("sangaboard", version="0.4"), "update it to"),
], ids=["sangaboard as grbl", "grbl as sangaboard", "old grbl", "old sangaboard"])
def test_the_wrong_board_is_refused_and_its_port_freed(kind, board, message):
    with FirmwarePort(FaultyLine(board)) as port:
        for _ in range(2):
            with pytest.raises((LinkError, FirmwareVersionError), match=message):
                open_stage(kind, port.port, stage_config(kind, (0, 0, 0)), patience_s=1.0)


def test_a_port_that_another_process_holds_is_refused(served_stage):
    served = served_stage("grbl")
    program = (
        "from mobilescope.devices.transport import SerialWire\n"
        "from mobilescope.core.errors import PortError\n"
        "try:\n"
        f"    SerialWire({served.port.port!r}, 115200)\n"
        "except PortError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert f"is in use by process {os.getpid()}" in done.stdout
    with pytest.raises(PortError, match="in use"):
        open_stage("grbl", served.port.port, stage_config("grbl", (0, 0, 0)))


def test_a_jog_that_a_killed_program_left_is_ended_first():
    board = make_board("grbl", settings={110: "300"})
    with FirmwarePort(FaultyLine(board)) as port:
        begun = open_stage("grbl", port.port, stage_config("grbl", (0, 0, 0)))
        # As a killed process does it: the port closes, the jog goes on.
        begun._controller._jog({0: 20_000.0})
        begun.close()
        assert board.state == "Jog"
        with open_stage("grbl", port.port, stage_config("grbl", (0, 0, 0))) as stage:
            assert board.state == "Idle"
            assert stage.position().x_um < 5000


def test_a_program_that_was_left_running_is_held_before_it_is_reset():
    board = make_board("grbl", settings={110: "300"})
    with FirmwarePort(FaultyLine(board)) as port:
        wire = SerialWire(port.port, 115200)
        wire.write(b"\nG1 X20 F300\n")
        time.sleep(0.3)
        wire.close()
        assert board.state == "Run"
        with open_stage("grbl", port.port, stage_config("grbl", (0, 0, 0))) as stage:
            # Reset in motion, the board would be locked, its position lost.
            assert board.state == "Idle"
            stood_um = stage.position().x_um
            assert 0 < stood_um < 19_000
            stage.move_xy(stood_um + 50.0, 0.0)
            assert board.at_mm[0] == pytest.approx((stood_um + 50) / 1000, abs=2e-3)


def test_a_limit_switch_raises_an_alarm_that_homing_lifts(served_stage):
    served = served_stage("grbl", config=IN_THE_MIDDLE, switch_mm=-10.0, **HOMING)
    stage = served.stage
    with pytest.raises(DeviceError, match=r"locked by an alarm.*stage home"):
        stage.move_xy(0.0, 0.0)
    stage.home()
    assert stage.position().x_um == 29_900
    served.board.at_mm = [-30.0, -30.0, -0.3]
    with pytest.raises(DeviceError, match=r"limit switch was hit.*probably lost.*stage home"):
        stage.move_xy(25_000.0, 0.0)
    stage.home()
    stage.move_xy(10_000.0, -500.0)
    assert stage.position().x_um == 10_000


def test_an_alarm_may_be_unlocked_by_a_person(served_stage):
    served = served_stage("grbl", config=IN_THE_MIDDLE, switch_mm=-10.0, start_mm=(-30.0, -30.0, -0.3), **HOMING)
    served.stage.unlock()
    with pytest.raises(DeviceError, match="limit switch"):
        served.stage.move_xy(25_000.0, 0.0)
    served.stage.unlock()
    served.stage.move_xy(0.0, 0.0)
    assert served.stage.position().x_um == 0


def test_the_boards_own_limits_are_the_stages(served_stage):
    served = served_stage("grbl", config=IN_THE_MIDDLE | {"x_limits_um": None, "y_limits_um": (-50.0, 60.0)}, **HOMING)
    assert served.stage.xy_range_um() == ((-30_000, 30_000), (-50, 60))
    served.stage.home()
    with pytest.raises(LimitError, match=r"y = 61\.00 µm lies outside the stage's range -50 to 60"):
        served.stage.move_xy(0.0, 61.0)
    # Should file and board ever differ, the board has the last word.
    with pytest.raises(LimitError, match="beyond its travel"):
        served.stage._controller.go_to((5.0, -30_000.0, -300.0))


def test_a_stage_without_limits_is_refused(served_stage):
    with pytest.raises(ConfigError, match=r"no limits in x.*x_limits_um"):
        served_stage("grbl", config={"x_limits_um": None})


def test_homing_that_is_not_set_up_is_a_users_mistake(served_stage):
    with pytest.raises(UserError, match="homing is not enabled"):
        served_stage("grbl").stage.home()
    with pytest.raises(UserError, match="stage zero"):
        served_stage("sangaboard").stage.home()


def test_homing_can_be_broken_off(served_stage):
    served = served_stage("grbl", config=IN_THE_MIDDLE, homing_s=20.0, **HOMING)
    threading.Timer(0.4, served.stage.halt).start()
    with pytest.raises(CancelledError, match="halted"):
        served.stage.home()
    assert served.board.state == "Alarm"


def test_a_sangaboard_is_zeroed_where_it_stands(served_stage):
    stage = served_stage("sangaboard").stage
    stage.move_xy(100.0, -50.0)
    stage.zero()
    assert stage.position().x_um == 0
    with pytest.raises(UserError, match="home the stage"):
        served_stage("grbl").stage.zero()


@pytest.mark.parametrize("settings", [{10: "0"}, {13: "1"}, {10: "0", 13: "1"}], ids=["work", "inches", "both"])
def test_reports_in_work_positions_or_inches_are_understood(served_stage, settings):
    served = served_stage("grbl", settings=settings, offset_mm=(5.0, -3.0, 0.1))
    stage = served.stage
    stage.move_xy(2540.0, -1000.0)
    at = stage.position()
    assert (at.x_um, at.y_um) == pytest.approx((2540, -1000), abs=0.26)
    assert served.board.at_mm[0] == pytest.approx(2.54, abs=3e-4)
