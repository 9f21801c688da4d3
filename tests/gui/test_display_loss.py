"""A display that is lost ends the process with a line, whichever library notices; other messages are passed on."""

from __future__ import annotations

import subprocess
import sys

from gui.x_server import x_server

# What Xlib alone notices: its own connection to the server, as OpenGL and input methods have one beside Qt's.
_THROUGH_XLIB = """
import ctypes, sys
from mobilescope_gui.display_loss import end_at_once_with_the_display

end_at_once_with_the_display()
xlib = ctypes.CDLL("libX11.so.6")
xlib.XOpenDisplay.restype = ctypes.c_void_p
display = ctypes.c_void_p(xlib.XOpenDisplay(sys.argv[1].encode()))
print("connected", flush=True)
sys.stdin.readline()
xlib.XSync(display, 0)
print("still there")
"""

_ANOTHER_MESSAGE = """
from PyQt5.QtCore import qWarning
from mobilescope_gui.display_loss import end_at_once_with_the_display

end_at_once_with_the_display()
qWarning("a font is missing")
print("still there")
"""


def test_a_loss_that_xlib_notices_ends_the_process_with_a_line():
    with x_server() as (server, name):
        process = subprocess.Popen(
            [sys.executable, "-c", _THROUGH_XLIB, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        assert process.stdout.readline() == "connected\n"
        server.kill()
        server.wait()
        output, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, output) == (1, "")
    assert errors == "error: the display was lost; what was recorded is kept, start the same command again\n"


def test_other_messages_of_qt_are_passed_on():
    done = subprocess.run(
        [sys.executable, "-c", _ANOTHER_MESSAGE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "still there\n", "a font is missing\n")
