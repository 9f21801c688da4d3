"""OpenCV's own words about devices that are not there, kept from the terminal: our errors say it better."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2

# FFmpeg inside OpenCV reads this once, when it first opens something; -8 is its level "quiet".
_FFMPEG_LEVEL = ("OPENCV_FFMPEG_LOGLEVEL", "-8")
# The level is the process's: the first of those who want quiet sets it, the last puts it back.
_lock = Lock()
_level_before: list[int] = []
_wanting = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing while the with-block runs, in any thread."""
    global _wanting
    os.environ.setdefault(*_FFMPEG_LEVEL)
    with _lock:
        _wanting += 1
        if _wanting == 1:
            _level_before.append(cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT))
    try:
        yield
    finally:
        with _lock:
            _wanting -= 1
            if _wanting == 0:
                cv2.utils.logging.setLogLevel(_level_before.pop())
