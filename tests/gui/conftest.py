"""A display in memory, and Qt on it: windows are tested on a real X server."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

PATIENCE_S = 20


@pytest.fixture(scope="session")
def display(tmp_path_factory):
    """Run an X server while the tests do; yields its name, which is DISPLAY's value too."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            number = told.readline().strip()
        assert number, "Xvfb did not start"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISPLAY", f":{number}")
            patch.setenv("QT_QPA_PLATFORM", "xcb")
            patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
            yield f":{number}"
        server.terminate()


@pytest.fixture(scope="session")
def qt(display):
    """The Qt application on that display."""
    from mobilescope_gui.live_window import application
    from mobilescope_gui.qt_environment import why_no_window

    assert why_no_window() is None  # or Qt would end this process
    with application() as made:
        yield made


@pytest.fixture
def until(qt):
    """Let Qt work until something is so."""

    def wait(condition):
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, "it did not happen"
            qt.processEvents()
            time.sleep(0.002)

    return wait


@pytest.fixture
def window(qt):
    """A live window that is closed at the end."""
    from mobilescope_gui.live_window import LiveWindow

    made = LiveWindow()
    yield made
    made.close()
