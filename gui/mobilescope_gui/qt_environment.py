"""Qt beside OpenCV, and whether a window can be opened here at all.

opencv-python brings a Qt of its own and points Qt's variables at it when it is imported; PyQt5 would load those plugins
and abort. This is the one place that points them away again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2

_VARIABLES = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
_PROBE = "from PyQt5.QtWidgets import QApplication; QApplication([])"
_PROBE_S = 20.0


def keep_to_pyqt() -> None:
    """Take OpenCV's Qt out of Qt's variables; a user's own setting stays. Before the application is made."""
    inside = str(Path(cv2.__file__).parent)
    for name in _VARIABLES:
        if os.environ.get(name, "").startswith(inside):
            del os.environ[name]


def why_no_window() -> str | None:
    """Return why no window can be opened, None where one can.

    Qt ends the process where it can't reach the display, so another process tries.
    """
    keep_to_pyqt()
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if sys.platform.startswith("linux") and not platform and not _has_display():
        return "there is no display"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_PROBE_S, start_new_session=True,  # Ctrl-C is this process's, not the probe's
        )
    except subprocess.TimeoutExpired:
        return "Qt does not start"
    if tried.returncode == 0:
        return None
    said = [line for line in tried.stderr.splitlines() if line.strip()]
    return said[0].strip() if said else f"Qt ended with status {tried.returncode}"


def _has_display() -> bool:
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
