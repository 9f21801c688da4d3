"""What the EEPROM keeps: settings and light over resets, wear, and power that fails in the middle."""

from __future__ import annotations

import pytest
from firmware.talking_board import TalkingBoard

from mobilescope.core.ring_protocol import Command, LightFlag, PatternKind, SelfTest, Setting, Status
from mobilescope.twin.ring_simulator import simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

TEAL = (0, 60, 90)
DARK_RING = ((0, 0, 0),) * 12
LOCAL_LIGHT = LightFlag.LIT | LightFlag.LOCAL | LightFlag.FRESH


@pytest.fixture(params=["uno", "trinket"])
def board(request, built):
    with TalkingBoard(request.param, built[request.param]) as board:
        yield board


@pytest.mark.parametrize("cause", ["external", "power", "watchdog"])
def test_settings_and_light_survive(board, cause):
    board.configure(Setting.BRIGHTNESS, 127)
    board.configure(Setting.PIXELS, 10)
    board.do(Command.PATTERN, bytes([PatternKind.HALF_RING, 7, 200, 100, 50]))
    stored = board.shown
    board.do(Command.STORE)
    board.configure(Setting.BRIGHTNESS, 255)
    board.reset(cause)
    assert board.shown[:10] == stored[:10]
    assert board.do(Command.KEEP_ALIVE).flags == LOCAL_LIGHT
    assert (board.setting(Setting.BRIGHTNESS), board.setting(Setting.PIXELS)) == (127, 10)
    assert board.statistics().stores == 1


def test_the_longest_ring_is_stored(board):
    pixels = board.kind.max_pixels
    board.configure(Setting.SUPPLY_MA, 5000)
    board.configure(Setting.PIXELS, pixels)
    board.fill((255, 0, 254), count=pixels)
    board.do(Command.STORE)
    board.reset("power", us=20_000)
    assert board.shown == ((255, 0, 254),) * pixels


def test_what_is_not_stored_is_gone(board):
    board.fill(TEAL)
    board.do(Command.STORE)
    board.fill((1, 2, 3))
    board.configure(Setting.GAMMA, 1)
    board.reset()
    assert board.shown == (TEAL,) * 12
    assert board.setting(Setting.GAMMA) == 0


def test_stored_light_goes_off_after_its_own_time(board):
    board.configure(Setting.LOCAL_TIMEOUT_S, 3)
    board.fill(TEAL)
    board.do(Command.STORE)
    board.reset("power")
    began_us = board.time_us
    for _ in range(3):
        board.run(900_000)
        assert board.do(Command.KEEP_ALIVE).flags == LOCAL_LIGHT
    board.run(600_000)
    assert board.shown == DARK_RING
    assert (board.frames[-1].t_s - began_us / 1e6) == pytest.approx(3, abs=0.05)
    assert board.do(Command.KEEP_ALIVE).flags == LightFlag.FRESH
    assert board.statistics().timeouts == 0


def test_the_host_takes_stored_light_over(board):
    board.fill(TEAL)
    board.do(Command.STORE)
    board.reset("power")
    board.run(3_000_000)
    assert board.shown == (TEAL,) * 12
    assert board.fill((1, 2, 3), count=1).flags == LightFlag.FRESH | LightFlag.LIT
    assert board.shown == ((1, 2, 3), *(TEAL,) * 11)
    board.run(2_200_000)
    assert board.shown == DARK_RING


def test_stores_keep_apart(board):
    board.do(Command.STORE)
    board.run(9_000_000)
    assert board.ask(Command.STORE).status == Status.STORE_TOO_SOON
    board.run(1_100_000)
    board.do(Command.STORE)
    assert board.statistics().stores == 2


def test_unchanged_bytes_are_not_written(board):
    board.fill(TEAL)
    before_us = board.time_us
    board.do(Command.STORE)
    first_us = board.time_us - before_us
    for _ in range(11):
        board.run(1_000_000)
        board.do(Command.KEEP_ALIVE)
    before_us = board.time_us
    board.do(Command.STORE)
    again_us = board.time_us - before_us
    # 3.4 ms a byte: the whole record, then its mark (twice), its counter and its CRC.
    assert first_us > 40 * 3_400
    assert again_us < 5 * 3_400 + 20_000


def test_power_that_fails_in_the_middle_shows_nothing_strange(board):
    board.configure(Setting.BRIGHTNESS, 200)
    board.fill(TEAL)
    old = board.shown
    board.do(Command.STORE)
    board.reset("power")
    seen = set()
    for cut_ms in range(5, 200, 13):
        board.configure(Setting.BRIGHTNESS, 100)
        board.fill((90, 80, 70 + cut_ms // 13))
        new = board.shown
        board.run(cut_ms * 1000, board.frame(Command.STORE))
        finished = bool(board.replies())
        board.reset("power")
        assert board.shown in ((new,) if finished else (old, new, DARK_RING))
        if board.shown == DARK_RING:
            assert board.setting(Setting.BRIGHTNESS) == 255
            assert board.do(Command.SELF_TEST).data[3] & SelfTest.EEPROM
        seen.add((finished, board.shown == DARK_RING))
        old = board.shown
    assert {(False, True), (True, False)} <= seen


def test_the_hosts_time_out_waits_for_a_store_to_end(board):
    board.configure(Setting.HOST_TIMEOUT_MS, 100)
    board.fill(TEAL)
    board.do(Command.STORE)
    board.run(20_000)
    assert board.shown == DARK_RING
    board.reset("power")
    assert board.shown == (TEAL,) * 12


@pytest.mark.parametrize("at", [0, 1, 5, 30, 57])
def test_a_damaged_record_is_no_record(tmp_path, built, at):
    eeprom = tmp_path / "eeprom.bin"
    with TalkingBoard("uno", built["uno"], eeprom) as board:
        board.configure(Setting.BRIGHTNESS, 9)
        board.fill((255, 255, 255))
        board.do(Command.STORE)
    contents = bytearray(eeprom.read_bytes())
    contents[at] ^= 0x04
    eeprom.write_bytes(contents)
    with TalkingBoard("uno", built["uno"], eeprom) as board:
        assert board.shown == DARK_RING
        assert board.setting(Setting.BRIGHTNESS) == 255
        passed = board.do(Command.SELF_TEST).data[3]
        assert not passed & SelfTest.EEPROM
        board.do(Command.STORE)
        assert board.do(Command.SELF_TEST).data[3] & SelfTest.EEPROM


def test_a_blank_eeprom_passes(board):
    run, passed = board.do(Command.SELF_TEST).data[1], board.do(Command.SELF_TEST).data[3]
    assert run == passed == sum(SelfTest)
