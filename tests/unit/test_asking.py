"""Asking a person: Enter goes on, Ctrl-C ends at once, and where nobody is there it says so."""

from __future__ import annotations

import os
import pty
import threading

import pytest

from mobilescope.app.terminal.asking import ask_person
from mobilescope.core.errors import CancelledError, UserError
from mobilescope.core.progress import StopToken


@pytest.fixture
def terminal(monkeypatch):
    """Standard input as a terminal; returns our end of it."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield ours
    os.close(ours)


def test_enter_goes_on(terminal, capsys):
    threading.Timer(0.1, lambda: os.write(terminal, b"\n")).start()
    ask_person("turn the knob", StopToken())
    assert "Turn the knob, then press Enter" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_stop_ends_the_waiting():
    stop = StopToken()
    threading.Timer(0.1, stop.request).start()
    with pytest.raises(CancelledError):
        ask_person("turn the knob", stop)


def test_where_nobody_is_there_it_says_what_would_be_asked(monkeypatch, tmp_path):
    (tmp_path / "in").touch()
    with (tmp_path / "in").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(UserError, match=r"has to turn the knob.*nobody can be asked.*use a motor"):
            ask_person("turn the knob", otherwise="use a motor")
