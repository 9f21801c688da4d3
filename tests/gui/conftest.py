"""A display in memory, and Qt on it: windows are tested on a real X server."""

from __future__ import annotations

import time

import pytest
from gui.x_server import x_server

PATIENCE_S = 20


@pytest.fixture(scope="session")
def display(tmp_path_factory):
    """Run an X server while the tests do; yields its name, which is DISPLAY's value too."""
    with x_server() as (_, name), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", name)
        patch.setenv("QT_QPA_PLATFORM", "xcb")
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield name


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
