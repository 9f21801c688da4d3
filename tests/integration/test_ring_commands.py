"""`mobilescope ring ...` against the real firmware in a simulated board: what the pixels get, and when they go dark."""

from __future__ import annotations

import signal
import time

import pytest
from integration.ring_commands import DARK, Background, SimulatedRing, needs_simulator, refused, run, write

from mobilescope.twin import ring_firmware
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware

pytestmark = needs_simulator

ORANGE = ["ff8000"] * 12


@pytest.fixture(scope="module")
def served():
    with SimulatedRing() as simulated:
        yield simulated


@pytest.fixture
def ring(served):
    """The simulated ring, dark and with nothing shown that was not looked at."""
    assert run("ring", "off", "--port", served.port).status == 0
    served.settle()
    return served


def held(ring: SimulatedRing, *arguments: object) -> Background:
    return Background("ring", *arguments, "--hold", "--json", "--port", ring.port)


def test_held_light_is_exact_on_the_wire_and_goes_off_on_ctrl_c(ring):
    with held(ring, "set", "ff8000") as holding:
        frame = ring.until(lambda pixels: pixels != DARK)[1]
        assert frame["pixels"] == ORANGE
        for name, least, greatest in (("t0h_ns", 200, 500), ("t1h_ns", 550, 850), ("bit_ns", 1150, 1650)):
            assert least <= frame[name][0] <= frame[name][1] <= greatest
        lit = holding.line()[1]
        assert lit["pixels"] == ORANGE
        assert lit["current_ma"] == 373
        time.sleep(2.5)
        assert ring.waiting() == 0
        assert holding.end(signal.SIGINT) == 0
    ring.until_dark()
    assert "the light is off" in holding.errors


def test_sigterm_switches_off_as_ctrl_c_does(ring):
    with held(ring, "set", "00ff00") as holding:
        holding.line()
        assert holding.end(signal.SIGTERM) == 0
    ring.until_dark()


def test_a_killed_command_leaves_the_ring_dark_within_2500_ms(ring):
    with held(ring, "set", "ff8000") as holding:
        holding.line()
        ring.until(lambda pixels: pixels == ORANGE)
        time.sleep(1)
        killed_s = time.monotonic()
        assert holding.end(signal.SIGKILL) == -signal.SIGKILL
    assert ring.until_dark() - killed_s <= 2.5


def test_light_that_is_not_held_goes_off_by_the_boards_time_out(ring):
    done = run("ring", "set", "102030", "--json", "--port", ring.port)
    lit_s, _ = ring.until(lambda pixels: pixels == ["102030"] * 12)
    assert done.json()["host_timeout_ms"] == 2000
    assert "goes off 2 s after" in done.errors
    # It is still lit after the command has ended, and asking does not change that.
    told = run("ring", "info", "--json", "--port", ring.port).json()
    assert told["light"]["lit"]
    assert told["identity"]["firmware"] == "1.0.0"
    assert ring.waiting() == 0
    assert ring.until_dark() - lit_s >= 1.9


@pytest.mark.parametrize(("options", "shown"), [
    (("ff8000", "--pixel", "11"), [*DARK[:11], "ff8000"]),
    (("ff8000", "--range", "2-4"), [*DARK[:2], *["ff8000"] * 3, *DARK[5:]]),
    (("255,128,0", "--brightness", "0.5"), ["804000"] * 12),
    (("808080", "--gamma"), ["383838"] * 12),
    (("ffff80", "--white-balance", "127,63,255"), ["7f3f80"] * 12),
    (("--temperature", "3200"), None),
])
def test_set_shows_what_its_options_say(ring, options, shown):
    lit = run("ring", "set", *options, "--json", "--port", ring.port).json()
    frame = ring.until(lambda pixels: pixels != DARK)[1]
    assert frame["pixels"] == lit["pixels"]
    if shown is None:
        red, green, blue = bytes.fromhex(frame["pixels"][0])
        assert red == 255 > green > blue > 0
    else:
        assert frame["pixels"] == shown
    # Nothing of it lasts: the next colour is exact again.
    run("ring", "set", "ff8000", "--port", ring.port)
    assert ring.until(lambda pixels: pixels not in (DARK, frame["pixels"]))[1]["pixels"] == ORANGE


@pytest.mark.parametrize(("options", "shown"), [
    (("bright-field", "--colour", "202020"), ["202020"] * 12),
    (("half-ring", "--position", "9", "--colour", "00ff00"), [*["00ff00"] * 3, *DARK[:6], *["00ff00"] * 3]),
    (("single", "--position", "5", "--colour", "0000ff"), [*DARK[:5], "0000ff", *DARK[:6]]),
    (("channel", "--position", "1", "--colour", "ff8040"), ["008000"] * 12),
])
def test_patterns(ring, options, shown):
    run("ring", "pattern", *options, "--port", ring.port)
    assert ring.until(lambda pixels: pixels != DARK)[1]["pixels"] == shown


def test_a_sequence_plays_to_its_end(ring, tmp_path):
    file = write(tmp_path / "two.toml", """
repeats = 2
[[steps]]
pattern = "half-ring"
colour = "00ff00"
duration_ms = 200
[[steps]]
pattern = "channel"
position = 2
colour = [16, 32, 64]
duration_ms = 200
""")
    played = run("ring", "sequence", file, "--json", "--port", ring.port)
    assert played.json() | {"seconds": 0} == {"file": str(file), "steps": 2, "seconds": 0, "stopped": False}
    assert "round 2 of 2, step 2 of 2: channel 2 102040, 200 ms" in played.errors
    half = [*["00ff00"] * 6, *DARK[:6]]
    shown = []
    while not shown or shown[-1] != DARK:
        shown.append(ring.until(lambda pixels: pixels != DARK or shown)[1]["pixels"])
    assert shown == [half, ["000040"] * 12] * 2 + [DARK]


def test_an_endless_sequence_stops_on_ctrl_c(ring, tmp_path):
    steps = '[[steps]]\npattern = "bright-field"\ncolour = "101010"\nduration_ms = 50\n'
    file = write(tmp_path / "endless.toml", steps)
    with Background("ring", "sequence", file, "--hold", "--json", "--port", ring.port) as playing:
        for _ in range(10):
            ring.until(lambda pixels: pixels == ["101010"] * 12)
        assert playing.end(signal.SIGINT) == 0
        assert playing.line()[1]["stopped"]
    ring.until_dark()


def test_the_self_test_passes_and_the_walk_lights_every_pixel_in_every_colour(ring):
    tested = run("ring", "test", "--json", "--port", ring.port)
    report = tested.json()
    assert report["ok"]
    assert all(report["tests"].values())
    assert {"flash", "ram", "show", "watchdog"} <= set(report["tests"])
    assert "FAILED" not in tested.errors
    lit = set()
    for colour in ("ff0000", "00ff00", "0000ff", "181818"):
        for pixel in range(12):
            frame = ring.until(lambda pixels: set(pixels) - {"000000"} != set())[1]
            assert frame["pixels"] == [*DARK[:pixel], colour, *DARK[pixel + 1 :]]
            lit.add((colour, pixel))
    assert len(lit) == 48


def test_statistics_count_what_both_sides_did(ring):
    before, after = (run("ring", "stats", "--json", "--port", ring.port).json() for _ in range(2))
    assert after["frames"] == before["frames"] + 2
    assert after["bad_frames"] == before["bad_frames"]
    assert after["link"]["retries"] == 0
    assert ring.waiting() == 0


@pytest.mark.parametrize(("arguments", "what"), [
    (("set", "ff80"), "no colour"),
    (("set", "256,0,0"), "red is 256"),
    (("set",), "no colour was given"),
    (("set", "ff8000", "--pixel", "12"), "no pixel 12 on a ring of 12"),
    (("set", "ff8000", "--pixel", "-1"), "no pixel -1"),
    (("set", "ff8000", "--range", "4-12"), "no pixels 4-12"),
    (("set", "ff8000", "--range", "5-2"), "no range of pixels"),
    (("set", "ff8000", "--range", "1-2", "--pixel", "1"), "both given"),
    (("set", "ffffff"), "732 mA, limit 500 mA"),
    (("set", "ff8000", "--brightness", "1.5"), "brightness is 1.5"),
    (("set", "--temperature", "100"), "colour temperature of 100 K"),
    (("pattern", "spiral"), "bright-field, half-ring, single, channel"),
    (("pattern", "single", "--position", "12"), "position 12"),
    (("pattern", "channel", "--position", "3"), "channel"),
    (("sequence", "missing.toml"), "missing.toml"),
])
def test_bad_input_is_one_line_and_leaves_the_ring_dark(ring, arguments, what):
    line = refused("ring", *arguments, "--port", ring.port)
    assert what in line
    ring.settle()
    assert run("ring", "info", "--json", "--port", ring.port).json()["light"]["lit"] is False


def test_a_port_that_is_held_or_missing_is_refused_and_the_light_stays(ring, tmp_path):
    with held(ring, "set", "ff8000") as holding:
        holding.line()
        ring.until(lambda pixels: pixels == ORANGE)
        line = refused("ring", "off", "--port", ring.port)
        assert f"in use by process {holding.pid}" in line
        assert ring.waiting() == 0
    assert "no port /dev/ttyNONE" in refused("ring", "info", "--port", "/dev/ttyNONE")
    assert "can't be opened as a serial port" in refused("ring", "info", "--port", write(tmp_path / "file", ""))


@pytest.mark.parametrize(("version", "what"), [((2, 0), "too new"), ((0, 9), "too old")])
def test_firmware_of_another_protocol_is_refused(monkeypatch, version, what):
    monkeypatch.setattr(ring_firmware, "PROTOCOL_VERSION", version)
    with FirmwarePort(RingFirmware()) as other:
        line = refused("ring", "set", "ff8000", "--port", other.port)
    assert what in line
    assert "update" in line


def test_a_silent_port_is_a_failure_with_a_way_out():
    class Silence(RingFirmware):
        def feed(self, data, now_s):
            return b""

    with FirmwarePort(Silence()) as nobody:
        assert "check cable and supply" in refused("ring", "info", "--port", nobody.port, status=1)
