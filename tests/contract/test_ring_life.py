"""The light through a program's life, in real time: held while it should be on, dark however the program ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from firmware.ring_benches import firmware_of, open_bench, pixels_of

from mobilescope.core.errors import LinkLostError, PortError
from mobilescope.core.ring_protocol import BOARDS, LightFlag, Setting
from mobilescope.devices.ring import Ring
from mobilescope.plans.illumination import Pattern, Sequence, SequenceStep
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware
from mobilescope.twin.ring_simulator import RingSimulator

DARK = ((0, 0, 0),) * 12
AMBER = ((255, 128, 0),) * 12

# The board's own time-out is switched off where the driver has to darken the ring itself.
START = """
import sys, time
from mobilescope.core.ring_protocol import Setting
from mobilescope.devices.ring import Ring

def light(ring):
    ring.configure(Setting.HOST_TIMEOUT_MS, 0)
    ring.fill((255, 128, 0))
    print("lit", flush=True)
"""
ENDINGS = {
    "block left": "with Ring.open(sys.argv[1]) as ring:\n    light(ring)\n",
    "exception": "with Ring.open(sys.argv[1]) as ring:\n    light(ring)\n    1 / 0\n",
    "exit without close": "ring = Ring.open(sys.argv[1])\nlight(ring)\n",
    "exception without close": "ring = Ring.open(sys.argv[1])\nlight(ring)\n1 / 0\n",
    "Ctrl-C": "with Ring.open(sys.argv[1]) as ring:\n    light(ring)\n    time.sleep(60)\n",
    "Ctrl-C without close": "ring = Ring.open(sys.argv[1])\nlight(ring)\ntime.sleep(60)\n",
    "Ctrl-C while commands run": (
        "with Ring.open(sys.argv[1]) as ring:\n    light(ring)\n    while True:\n        ring.fill((255, 128, 0))\n"
    ),
}


@pytest.fixture(params=["twin on a port", "uno on a port"])
def bench(request):
    with open_bench(request.param) as bench:
        # The port is for the programs under test.
        bench.wire.close()
        yield bench


def start(program, port):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START + program, port],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_ring_is_dark_when_its_program_has_ended(bench, ending):
    with start(ENDINGS[ending], bench.wire.name) as child:
        assert child.stdout.readline() == "lit\n", child.stderr.read()
        if "Ctrl-C" in ending:
            assert bench.shown(AMBER) == AMBER
            child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
    assert AMBER in [pixels for _, pixels in bench.shows()]
    assert bench.shown(DARK) == DARK, said
    assert ("ZeroDivisionError" in said) == ("exception" in ending)
    assert ("KeyboardInterrupt" in said) == ("Ctrl-C" in ending)


def test_a_killed_program_leaves_its_light_on_for_two_and_a_half_seconds_at_most(bench):
    program = (
        "with Ring.open(sys.argv[1]) as ring:\n    ring.fill((255, 128, 0))\n    print('lit', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with start(program, bench.wire.name) as child:
        assert child.stdout.readline() == "lit\n"
        assert bench.shown(AMBER) == AMBER
        child.kill()
        killed_s = time.monotonic()
        child.wait(60)
    assert bench.shown(DARK) == DARK
    assert time.monotonic() - killed_s <= 2.5


def test_the_light_is_held_while_nobody_says_a_word(bench):
    with Ring.open(bench.wire.name) as ring:
        ring.fill((255, 128, 0))
        time.sleep(3.3)
        assert bench.shown(AMBER) == AMBER
        assert ring.statistics().timeouts == 0
        assert ring.ring_state().connected


def test_a_port_belongs_to_one_process(bench):
    with start("with Ring.open(sys.argv[1]) as ring:\n    light(ring)\n    time.sleep(60)\n", bench.wire.name) as child:
        assert child.stdout.readline() == "lit\n"
        with pytest.raises(PortError, match=f"in use by process {child.pid}"):
            Ring.open(bench.wire.name)
        assert bench.shown(AMBER) == AMBER
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    Ring.open(bench.wire.name).close()


def wait_for(condition, what):
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def test_the_light_returns_by_itself_after_a_reset(bench):
    with Ring.open(bench.wire.name) as ring:
        ring.configure(Setting.BRIGHTNESS, 127)
        ring.fill((255, 128, 0))
        dimmed = ((127, 64, 0),) * 12
        assert bench.shown(dimmed) == dimmed
        bench.reset()
        wait_for(lambda: ring.statistics().resets == 1, "the reset")
        assert bench.shown(dimmed) == dimmed


class TwinBoard:
    """A twin that can be unplugged; its port keeps its name."""

    def __init__(self, link):
        self._firmware = RingFirmware()
        self._port = FirmwarePort(self._firmware, link)
        self.plug, self.unplug = self._port.plug, self._port.unplug

    def shown(self):
        return self._firmware.shown


class SimulatedBoard:
    """A simulated Uno that can be unplugged; its port keeps its name."""

    def __init__(self, link):
        self._link = link

    def plug(self):
        self._simulator = RingSimulator("uno", firmware_of(BOARDS[0])).__enter__()
        self._link.symlink_to(self._simulator.port)

    def unplug(self):
        self._link.unlink()
        self._simulator.stop()

    def shown(self):
        frames = self._simulator.frames
        return pixels_of(frames[-1].pixels) if frames else DARK


@pytest.fixture(params=[TwinBoard, SimulatedBoard])
def board(request, tmp_path):
    board = request.param(tmp_path / "ring")
    board.plug()
    yield board
    board.unplug()


def test_the_light_returns_with_the_cable(board, tmp_path):
    with Ring.open(str(tmp_path / "ring")) as ring:
        states = []
        ring.subscribe(states.append)
        ring.configure(Setting.BRIGHTNESS, 127)
        ring.fill((255, 128, 0))
        dimmed = ((127, 64, 0),) * 12
        wait_for(lambda: board.shown() == dimmed, "the light")
        board.unplug()
        wait_for(lambda: not ring.ring_state().connected, "the cable to be missed")
        with pytest.raises(LinkLostError, match=r"no port|lost"):
            ring.set_pixel(0, (1, 2, 3))
        assert not ring.state().on
        board.plug()
        wait_for(lambda: ring.ring_state().connected, "the board to be found again")
        wait_for(lambda: board.shown() == dimmed, "the light to return")
        assert ring.state().on
        assert [state.connected for state in states if state.pixels == dimmed][-1]
        assert any(state.error for state in states)
    wait_for(lambda: board.shown() == DARK, "the light to go off")


def test_a_sequence_goes_on_after_the_cable_was_out(board, tmp_path):
    steps = (SequenceStep(Pattern.single(0, (9, 9, 9)), 50), SequenceStep(Pattern.single(1, (9, 9, 9)), 50))
    with Ring.open(str(tmp_path / "ring")) as ring:
        ring.play(Sequence(steps, repeats=0))
        board.unplug()
        wait_for(lambda: not ring.ring_state().connected, "the cable to be missed")
        board.plug()
        wait_for(lambda: ring.ring_state().connected, "the board to be found again")
        assert LightFlag.SEQUENCE in ring.ring_state().flags
        for pixel in (0, 1, 0):
            wait_for(lambda pixel=pixel: any(board.shown()[pixel]), "the sequence")
