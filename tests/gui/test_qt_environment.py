"""Qt starts beside OpenCV on a real X server, and where it can't the reason is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2

from mobilescope_gui.qt_environment import keep_to_pyqt, why_no_window

OPEN_A_WINDOW = """
import cv2
from PyQt5.QtWidgets import QLabel
from mobilescope_gui.live_window import application
with application() as qt:
    label = QLabel("text")
    label.show()
    qt.processEvents()
    print(qt.platformName(), label.isVisible())
"""


def test_a_window_opens_in_a_process_that_uses_opencv(display):
    done = subprocess.run([sys.executable, "-c", OPEN_A_WINDOW], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "xcb True\n"), done.stderr


def test_only_opencvs_own_entries_are_taken_out(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(Path(cv2.__file__).parent / "qt" / "plugins"))
    monkeypatch.setenv("QT_QPA_FONTDIR", "/usr/share/fonts/mine")
    keep_to_pyqt()
    assert "QT_QPA_PLATFORM_PLUGIN_PATH" not in os.environ
    assert os.environ["QT_QPA_FONTDIR"] == "/usr/share/fonts/mine"


def test_there_is_a_window_where_there_is_a_display(display):
    assert why_no_window() is None


def test_without_a_display_it_says_so(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert why_no_window() == "there is no display"


def test_a_display_that_does_not_answer_is_told_instead_of_ending_the_process(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":64999")
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    assert ":64999" in why_no_window()


def test_ctrl_c_while_a_display_is_looked_for_is_no_reason_against_a_window(display):
    script = (
        "import os, signal, threading\n"
        "from mobilescope_gui.qt_environment import why_no_window\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "for wait_s in (0.02, 0.05, 0.1, 0.15):\n"
        "    threading.Timer(wait_s, os.killpg, (os.getpgid(0), signal.SIGINT)).start()\n"
        "print(why_no_window())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, start_new_session=True
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
