"""The simulated board in lock-step: waveform, resets, EEPROM, the UART's depth, and the same answers every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulator_probe import PIXELS, build_probe

from mobilescope.core.errors import DeviceError
from mobilescope.twin.ring_simulator import LockstepBoard, LockstepReport, simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

START_US = 5000
ANSWER_US = 4000
POWER, EXTERNAL, WATCHDOG = b"\x01", b"\x02", b"\x08"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("probe")
    return {board: build_probe(board, folder) for board in ("uno", "trinket")}


@pytest.fixture(params=["uno", "trinket"])
def board(request: pytest.FixtureRequest, programs: dict[str, Path]):
    with LockstepBoard(request.param, programs[request.param]) as board:
        board.advance(START_US)
        yield board


def ask(board: LockstepBoard, byte: bytes, us: int = ANSWER_US) -> LockstepReport:
    return board.advance(us, byte)


def test_frame_has_colours_and_times_of_its_edges(board):
    report = ask(board, b"w")
    (frame,) = report.frames
    assert report.received == b"w"
    assert frame.pixels == PIXELS
    assert frame.error is None
    assert frame.t0h_ns == (312, 312)  # 5 cycles of 62.5 ns
    assert frame.t1h_ns == (812, 812)  # 13 cycles
    assert frame.bit_ns == (1187, 1500)  # 19 cycles, 24 from byte to byte
    assert START_US < frame.latch_us < START_US + ANSWER_US
    assert frame.t_s == pytest.approx((frame.latch_us + 58) / 1e6, abs=5e-6)


def test_latch_is_measured_from_frame_to_frame(board):
    first, second = ask(board, b"w").frames[0], ask(board, b"w").frames[0]
    assert second.latch_us == pytest.approx(ANSWER_US - 58, abs=5)
    assert second.t_s - first.t_s == pytest.approx(ANSWER_US / 1e6, abs=5e-6)


def test_wrong_times_are_flagged(board):
    (frame,) = ask(board, b"l").frames
    assert frame.t1h_ns == (687, 1187)
    assert frame.bit_ns == (1562, 1875)
    assert frame.error is not None
    assert "T1H 687-1187 ns is outside 550-850 ns" in frame.error
    assert "bit 1562-1875 ns is outside 1150-1650 ns" in frame.error


def test_bits_that_make_no_pixel_are_flagged(board):
    (frame,) = ask(board, b"o").frames
    assert frame.pixels == PIXELS
    assert frame.error is not None
    assert frame.error.startswith("49 bits are no whole pixels")


def test_trigger_edges_are_told(board):
    up, down = ask(board, b"t").events
    assert (up.kind, up.level, down.level) == ("trigger", 1, 0)
    assert down.t_s - up.t_s == pytest.approx(100e-6, abs=3e-6)


def test_program_sees_the_cause_of_each_reset(board):
    assert ask(board, b"r").received == POWER
    board.reset("external")
    assert [event.cause for event in ask(board, b"").events] == ["external"]
    assert ask(board, b"r").received == EXTERNAL
    board.reset("watchdog")
    ask(board, b"", START_US)
    assert ask(board, b"r").received == WATCHDOG
    board.reset("power")
    ask(board, b"", START_US)
    assert ask(board, b"r").received == POWER


def test_hung_program_is_reset_by_its_watchdog_time_and_again(board):
    for _ in range(2):
        before_s = ask(board, b"").time_us / 1e6
        (event,) = ask(board, b"h", 200_000).events
        assert (event.kind, event.cause) == ("reset", "watchdog")
        assert event.t_s - before_s == pytest.approx(0.064, abs=0.001)
        assert ask(board, b"r").received == WATCHDOG


def test_watchdog_can_be_fed_and_switched_off_after_it_has_fired(board):
    ask(board, b"h", 200_000)
    report = ask(board, b"f", 400_000)
    assert report.received == b"f"
    assert report.events == ()


@pytest.mark.parametrize(("name", "in_mid_frame_us"), [("uno", 120), ("trinket", 530)])
def test_reset_in_mid_frame_cuts_it_and_leaves_a_board_that_answers(name, in_mid_frame_us, programs):
    with LockstepBoard(name, programs[name]) as board:
        board.advance(START_US)
        assert board.advance(in_mid_frame_us, b"w").frames == ()
        board.reset("external")
        (cut,) = board.advance(START_US).frames
        assert len(cut.pixels) < len(PIXELS)
        assert board.advance(ANSWER_US, b"w").frames[0].pixels == PIXELS


@pytest.mark.parametrize("name", ["uno", "trinket"])
def test_two_runs_are_the_same_to_the_bit(name, programs):
    def run() -> list[LockstepReport]:
        with LockstepBoard(name, programs[name]) as board:
            reports = [board.advance(START_US)]
            for byte in b"AwtlrowA":
                reports.append(board.advance(1000, bytes([byte])))
                reports.append(board.advance(1777))
            board.reset("external")
            return [*reports, board.advance(ANSWER_US), board.advance(ANSWER_US, b"rw")]

    assert run() == run()


def test_bytes_take_their_time_on_the_wire(programs):
    with LockstepBoard("uno", programs["uno"]) as board:
        board.advance(START_US)
        soon = board.advance(ANSWER_US, b"A" * 100).received
        rest = board.advance(5 * ANSWER_US).received
    assert 40 <= len(soon) <= 47  # 85 µs a byte
    assert soon + rest == b"A" * 100


def test_uart_keeps_two_bytes_and_the_one_arriving(programs):
    with LockstepBoard("uno", programs["uno"]) as board:
        board.advance(START_US)
        assert board.advance(ANSWER_US, b"d").received == b"\x00"
        assert board.advance(ANSWER_US, b"dAA").received == b"\x02"
        assert board.advance(ANSWER_US, b"dAAA").received == b"\x03"
        assert board.advance(ANSWER_US, b"dAAAA").received == b"\x83"
        assert board.advance(ANSWER_US, b"A").received == b"A"


def test_button_pulls_its_pin_low(programs):
    with LockstepBoard("trinket", programs["trinket"]) as board:
        board.advance(START_US)
        assert ask(board, b"b").received == b"\x01"
        board.press_button()
        assert ask(board, b"b").received == b"\x00"
        board.reset("external")
        ask(board, b"", START_US)
        assert ask(board, b"b").received == b"\x00"
        board.release_button()
        assert ask(board, b"b").received == b"\x01"


def test_uno_has_no_button(programs):
    with LockstepBoard("uno", programs["uno"]) as board:
        board.press_button()
        with pytest.raises(DeviceError, match="not possible on this board"):
            board.advance(START_US)


@pytest.mark.parametrize("name", ["uno", "trinket"])
def test_eeprom_survives_resets_and_power_cycles(name, programs, tmp_path):
    memory = tmp_path / "eeprom.bin"
    with LockstepBoard(name, programs[name], eeprom=memory) as board:
        board.advance(START_US)
        assert ask(board, b"e", 20_000).received == b"\x00"  # blank is 0xff
        board.reset("power")
        board.advance(START_US)
        assert ask(board, b"e", 20_000).received == b"\x01"
    with LockstepBoard(name, programs[name], eeprom=memory) as board:
        board.advance(START_US)
        assert ask(board, b"e", 20_000).received == b"\x02"


def test_writing_the_eeprom_takes_its_time(board):
    assert ask(board, b"e", 3_000).received == b""
    assert ask(board, b"", 2_000).received == b"\x00"


def test_crash_of_the_program_is_an_error(board):
    with pytest.raises(DeviceError, match=r"status 1: .*crashed after 0\.00"):
        ask(board, b"c")


def test_file_that_is_no_program_is_an_error(tmp_path):
    text = tmp_path / "ring.hex"
    text.write_text("no program\n")
    with LockstepBoard("uno", text) as board, pytest.raises(DeviceError, match="no Intel HEX file"):
        board.advance(START_US)
