"""Being told to end by a signal, at whatever instant it comes."""

import signal
import subprocess
import sys
import time

import pytest

from mobilescope.app.terminal.console import reporting_errors
from mobilescope.app.terminal.signals import until_told

# Each round sends the signal one line of Python later into the wait than the round before.
_AT_EVERY_LINE = """
import signal, sys
from mobilescope.app.terminal.signals import until_told

def told_after(lines):
    left = lines
    def trace(frame, what, _argument):
        nonlocal left
        if what == "line" and frame.f_code.co_filename != __file__:
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace
    with until_told() as told:
        sys.settrace(trace)
        waited = told.wait(0.001)
        sys.settrace(None)
        return left > 0, told.is_set(), waited or told.wait(0.001)

rounds = 0
while True:
    rounds += 1
    over, is_set, waited = told_after(rounds)
    if over:
        break
    assert is_set and waited
print(rounds)
"""


def test_a_signal_is_heard_at_any_instant_of_the_wait(tmp_path):
    script = tmp_path / "rounds.py"
    script.write_text(_AT_EVERY_LINE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3


def test_a_wait_without_end_is_ended_by_a_signal_from_elsewhere():
    script = (
        "import os, signal, threading\n"
        "from mobilescope.app.terminal.signals import until_told\n"
        "with until_told() as told:\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    print(told.wait(), told.wait(0), told.is_set())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["True"] * 3, done.stderr


def test_a_ctrl_c_that_comes_twice_at_once_asks_and_a_later_one_interrupts():
    with until_told() as told:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # as where a program passes on what the terminal has told both of them
        assert told.is_set()
        time.sleep(0.6)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


# A Ctrl-C in the callback of a weak reference, as every import runs one: Python prints it, and goes on.
_SWALLOWED = """
import signal, sys, weakref
from types import SimpleNamespace
from mobilescope.app.commands.stage import _halted_by_signals
from mobilescope.app.terminal.console import stoppable
from mobilescope.app.terminal.interrupts import hear_interrupts
from mobilescope.app.terminal.signals import until_told

class Thing:
    pass

hear_interrupts()
thing = Thing()
callback = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
del thing
print("swallowed")
try:
    with {block}:
        print("began")
except BaseException as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(("block", "ending"), [
    ("stoppable()", "KeyboardInterrupt"), ("until_told()", "KeyboardInterrupt"),
    ("_halted_by_signals(SimpleNamespace(describe=str))", "CancelledError"),
])
def test_a_ctrl_c_that_python_swallows_is_answered_before_the_work_begins(block, ending):
    script = _SWALLOWED.format(block=block)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["swallowed", ending], done
    assert done.stderr == ""


def test_a_failure_in_a_finalizer_is_told_as_ever():
    script = (
        "from mobilescope.app.terminal.interrupts import hear_interrupts\n"
        "hear_interrupts()\n"
        "class Thing:\n"
        "    def __del__(self):\n"
        "        raise ValueError('not closed')\n"
        "Thing()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "not closed" in done.stderr


def test_a_program_started_deaf_to_ctrl_c_stays_so():
    script = (
        "import signal\n"
        "from mobilescope.app.terminal.interrupts import hear_interrupts\n"
        "hear_interrupts()\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print('goes on')\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", script], capture_output=True, text=True,
        check=False, timeout=60,
    )
    assert done.stdout == "goes on\n", done.stderr


def test_what_an_interrupted_instrument_adds_is_told(capsys):
    interrupt = KeyboardInterrupt()
    interrupt.add_note("the benchtop's light may still be on")
    with pytest.raises(SystemExit) as ended, reporting_errors():
        raise interrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; the benchtop's light may still be on; what was finished is kept\n"
