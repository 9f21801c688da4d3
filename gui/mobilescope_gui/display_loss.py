"""A display that dies under a window: the process ends there and then, with a line that says why.

Qt, or Xlib below it, calls C's ``exit`` where the display's server is gone. The libraries then take down what the
threads of a network are working with, and the process crashes, or hangs with the light on. Both say what happened
before that, and this ends the process when they do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import NoReturn

from PyQt5.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

# Both of Qt's platforms, X11 and Wayland, word it so.
_QT_WORDS = "connection broke"
_XLIB = "libX11.so.6"


def end_at_once_with_the_display() -> None:
    """End the process with status 1 when the display is lost, from now on."""
    qInstallMessageHandler(_pass_on)
    with contextlib.suppress(OSError, AttributeError):  # no Xlib, no X server
        ctypes.CDLL(_XLIB).XSetIOErrorHandler(_ON_XLIB_LOSS)


def _pass_on(_kind: QtMsgType, _context: QMessageLogContext, text: str | None) -> None:
    """Print a message of Qt's as Qt does, or end the process where it tells of the loss."""
    if _QT_WORDS in (text or ""):
        _end()
    with contextlib.suppress(OSError):  # a log whose disk is full stops no work
        sys.stderr.write(f"{text or ''}\n")


def _end() -> NoReturn:
    # No library's ending, and none of Python's: their locks may be held by threads at work.
    line = "error: the display was lost; what was recorded is kept, start the same command again\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
    os._exit(1)


def _on_xlib_loss(_display: int) -> NoReturn:
    _end()


# Xlib keeps its address, so it lives as long as this module.
_ON_XLIB_LOSS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_on_xlib_loss)
