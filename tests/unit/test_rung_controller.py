"""The controller of the quality ladder holds the rate with the best rung, by what frames took, and is not restless."""

from __future__ import annotations

import pytest

from mobilescope.enhance.rung_controller import Rung, RungController

ALL = tuple(Rung)
RATE = 10.0  # 100 ms a frame


class Machine:
    """Runs a controller against what each rung takes, with a clock that only its frames move."""

    def __init__(self, took_ms, rungs=ALL, rate=RATE):
        self.took_ms, self.controller = dict(took_ms), RungController(rungs, rate)
        self.now_s, self.changes, self.ran = 0.0, [], []

    def run(self, seconds):
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            rung = self.controller.rung
            took_s = self.took_ms[rung] / 1000
            self.ran.append(rung)
            self.now_s += max(took_s, 1 / RATE)
            change = self.controller.observe(took_s, self.now_s)
            if change is not None:
                self.changes.append(change)
        return self.controller.rung


QUICK = {Rung.FULL: 40, Rung.REGION: 20, Rung.DISTILLED: 5, Rung.COLOUR: 1}


def test_a_machine_that_can_stays_on_the_full_network():
    machine = Machine(QUICK)
    assert machine.run(60) is Rung.FULL
    assert machine.changes == []
    assert machine.controller.reason == "it takes 40 ms, 10 frames/s allow 100 ms"


@pytest.mark.parametrize(
    ("took_ms", "expected"),
    [
        ({Rung.FULL: 150, Rung.REGION: 60}, Rung.REGION),
        ({Rung.FULL: 900, Rung.REGION: 300}, Rung.DISTILLED),
        ({Rung.FULL: 900, Rung.REGION: 300, Rung.DISTILLED: 120}, Rung.COLOUR),
    ],
)
def test_it_comes_to_the_best_rung_that_holds_the_rate(took_ms, expected):
    machine = Machine(QUICK | took_ms)
    assert machine.run(8) is expected
    assert [change.after for change in machine.changes] == list(ALL[1 : ALL.index(expected) + 1])
    assert set(machine.controller.took_s) == set(ALL[: ALL.index(expected) + 1])


def test_the_reason_says_what_was_too_slow():
    machine = Machine(QUICK | {Rung.FULL: 150})
    machine.run(8)
    (change,) = machine.changes
    assert (change.before, change.after) == (Rung.FULL, Rung.REGION)
    assert change.reason == "full takes 150 ms, 10 frames/s allow 100 ms"
    assert machine.controller.reason == change.reason


def test_figures_in_the_reason_follow_the_machine():
    machine = Machine(QUICK)
    machine.run(5)
    machine.took_ms[Rung.FULL] = 70
    machine.run(5)
    assert machine.controller.reason == "it takes 70 ms, 10 frames/s allow 100 ms"


def test_one_hopeless_frame_after_the_warm_up_is_enough():
    machine = Machine(QUICK | {Rung.FULL: 2000})
    machine.run(6)
    assert machine.ran.count(Rung.FULL) == 2


def test_a_single_slow_frame_changes_nothing():
    machine = Machine(QUICK)
    machine.run(3)
    for _ in range(2):
        assert machine.controller.observe(0.18, machine.now_s) is None
        machine.run(1)
    assert machine.controller.rung is Rung.FULL


def test_the_first_frame_is_not_held_against_a_rung():
    controller = RungController(ALL, RATE)
    assert controller.observe(30.0, 0.0) is None
    for _ in range(10):
        assert controller.observe(0.05, 1.0) is None
    assert controller.rung is Rung.FULL


def test_it_climbs_again_once_the_machine_is_free():
    machine = Machine(QUICK | {Rung.FULL: 150, Rung.REGION: 130})
    assert machine.run(8) is Rung.DISTILLED
    machine.took_ms = dict(QUICK)
    assert machine.run(30) is Rung.FULL
    assert [change.reason for change in machine.changes[2:]] == ["on trial", "on trial"]


def test_failed_trials_become_rarer():
    machine = Machine(QUICK | {Rung.FULL: 150})
    machine.run(1500)
    trials = [change for change in machine.changes if change.after is Rung.FULL]
    # After 10, 20, 40 ... s, and then every 300 s: a dozen would be one every two minutes.
    assert 5 <= len(trials) <= 9
    assert machine.ran.count(Rung.FULL) < 0.01 * len(machine.ran) + 10 * len(trials)


@pytest.mark.parametrize("took_ms", [95.0, 100.0, 105.0])
def test_at_the_limit_it_does_not_go_to_and_fro(took_ms):
    machine = Machine(QUICK | {Rung.FULL: took_ms})
    machine.run(300)
    assert machine.changes == []
    down = Machine(QUICK | {Rung.FULL: 150})
    down.run(8)
    down.took_ms[Rung.FULL] = took_ms
    down.run(300)
    # On trial it must be clearly fast enough.
    assert down.controller.rung is Rung.REGION


def test_where_nothing_holds_the_rate_it_says_so():
    machine = Machine(dict.fromkeys(ALL, 400.0))
    assert machine.run(8) is Rung.COLOUR
    assert machine.controller.reason == "no rung holds 10 frames/s here: it takes 400 ms, 10 frames/s allow 100 ms"


def test_a_single_rung_stays():
    machine = Machine({Rung.DISTILLED: 900}, rungs=(Rung.DISTILLED,))
    assert machine.run(30) is Rung.DISTILLED
    assert machine.changes == []


@pytest.mark.parametrize(("rungs", "rate"), [((), 10.0), (ALL, 0.0), (ALL, -1.0), (ALL, float("nan"))])
def test_no_ladder_is_built_of_nothing(rungs, rate):
    with pytest.raises(ValueError, match="ladder"):
        RungController(rungs, rate)
