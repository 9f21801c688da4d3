"""The simulated board on its pseudo-terminal: what a program that opens the port meets, and how the simulator ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import serial
from simulator_probe import PIXELS, build_probe

from mobilescope.core.errors import DeviceError
from mobilescope.twin.ring_simulator import RingSimulator, simulator_missing

pytestmark = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))

BAUD = {"uno": 115200, "trinket": 19200}
PATIENCE_S = 20.0  # for a machine under load; nothing here takes a second


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("probe")
    return {board: build_probe(board, folder) for board in BAUD}


def opened(board: RingSimulator, baud: int) -> serial.Serial:
    return serial.Serial(board.port, baud, timeout=PATIENCE_S)


def answer(line: serial.Serial, byte: bytes) -> bytes:
    line.write(byte)
    return line.read(1)


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("name", list(BAUD))
def test_bytes_come_back_and_frames_are_collected(name, programs):
    with RingSimulator(name, programs[name]) as board, opened(board, BAUD[name]) as line:
        assert answer(line, b"A") == b"A"
        assert [answer(line, bytes([byte])) for byte in range(0x80, 0xA0)] == [bytes([b]) for b in range(0x80, 0xA0)]
        assert answer(line, b"w") == b"w"
        frame = board.next_frame(PATIENCE_S)
        assert frame.pixels == PIXELS
        assert frame.error is None
        assert board.frames == [frame]
        with pytest.raises(DeviceError, match=r"no frame within 0\.01 s, after 1 frames"):
            board.next_frame(0.01)


def test_opening_the_port_resets_only_where_asked(programs):
    # A board opened before its program has run still has the power-on flag beside that of the reset pin.
    for reset_on_open, causes in ((True, (b"\x02", b"\x03")), (False, (b"\x01",))):
        with RingSimulator("uno", programs["uno"], reset_on_open=reset_on_open, events=True) as board:
            for opening in (1, 2):  # at once after each other
                with opened(board, BAUD["uno"]) as line:
                    if reset_on_open:
                        wait_for(lambda wanted=opening: len(board.events) > wanted)
                    assert answer(line, b"r") in causes
            wanted = ["power", "external", "external"] if reset_on_open else ["power"]
            assert [event.cause for event in board.events] == wanted


def test_second_program_on_an_open_port_resets_nothing(programs):
    with RingSimulator("uno", programs["uno"], reset_on_open=True, events=True) as board:
        with opened(board, BAUD["uno"]) as line:
            assert answer(line, b"A") == b"A"
            for _ in range(20):
                opened(board, BAUD["uno"]).close()
            assert answer(line, b"A") == b"A"
        wait_for(lambda: len(board.events) >= 2)
        assert [event.cause for event in board.events] == ["power", "external"]


def test_reset_pin(programs):
    with RingSimulator("uno", programs["uno"], events=True) as board, opened(board, BAUD["uno"]) as line:
        assert answer(line, b"r") == b"\x01"
        board.reset()
        wait_for(lambda: len(board.events) > 1)
        assert answer(line, b"r") == b"\x02"


def test_another_rate_makes_noise(programs):
    with RingSimulator("uno", programs["uno"]) as board, opened(board, BAUD["uno"]) as line:
        assert answer(line, b"A") == b"A"
        line.baudrate = 57600
        assert answer(line, b"A") != b"A"
        line.baudrate = BAUD["uno"]
        assert answer(line, b"A") == b"A"


def test_two_boards_have_ports_of_their_own(programs):
    with RingSimulator("uno", programs["uno"]) as one, RingSimulator("uno", programs["uno"]) as other:
        assert one.port != other.port
        with opened(one, BAUD["uno"]) as line:
            assert answer(line, b"w") == b"w"
            one.next_frame(PATIENCE_S)
        assert other.frames == []


def test_paced_time_never_runs_ahead_of_the_wall_clock(programs):
    started = time.monotonic()
    with RingSimulator("uno", programs["uno"]) as board, opened(board, BAUD["uno"]) as line:
        assert answer(line, b"w") == b"w"
        assert board.next_frame(PATIENCE_S).t_s < time.monotonic() - started


def test_free_running_time_is_not_held_to_the_wall_clock(programs):
    started = time.monotonic()
    with RingSimulator("uno", programs["uno"], free_running=True) as board, opened(board, BAUD["uno"]) as line:
        assert answer(line, b"f") == b"f"  # takes 0.28 s of the board's time
        assert answer(line, b"w") == b"w"
        time.sleep(0.2)
        assert answer(line, b"w") == b"w"
        board.next_frame(PATIENCE_S)
        assert board.next_frame(PATIENCE_S).t_s > time.monotonic() - started


def test_eeprom_is_written_when_the_board_stops(programs, tmp_path):
    memory = tmp_path / "eeprom.bin"
    for count in (b"\x00", b"\x01"):
        with RingSimulator("uno", programs["uno"], eeprom=memory) as board, opened(board, BAUD["uno"]) as line:
            assert answer(line, b"e") == count


def test_crash_is_told_when_the_board_stops(programs):
    board = RingSimulator("uno", programs["uno"]).__enter__()
    with opened(board, BAUD["uno"]) as line:
        assert answer(line, b"A") == b"A"
        line.write(b"c")
        wait_for(lambda: not runs(board.pid))
    with pytest.raises(DeviceError, match=r"status 1: .*crashed"):
        board.stop()
    board.stop()


def test_simulator_outlives_the_thread_that_started_it(programs):
    board = RingSimulator("uno", programs["uno"])
    starter = threading.Thread(target=board.__enter__)
    starter.start()
    starter.join()
    try:
        with opened(board, BAUD["uno"]) as line:
            assert answer(line, b"A") == b"A"
    finally:
        board.stop()
    assert not runs(board.pid)


def test_simulator_ends_with_a_parent_that_is_killed(programs):
    script = (
        "import sys, time; from pathlib import Path; from mobilescope.twin.ring_simulator import RingSimulator\n"
        "with RingSimulator('uno', Path(sys.argv[1])) as board:\n"
        "    print(board.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(programs["uno"])], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    wait_for(lambda: not runs(pid))


def test_missing_program_is_told_at_once(tmp_path):
    with pytest.raises(DeviceError, match=r"status 2: .*nothing\.hex can't be read"):
        RingSimulator("uno", tmp_path / "nothing.hex").__enter__()


def test_no_file_is_left_open_by_a_board_that_stopped(programs):
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = files()
    with RingSimulator("uno", programs["uno"]):
        assert files() > before
    assert files() == before
