"""OpenCV's own words about devices that are not there, kept from the terminal: our errors say it better."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

# FFmpeg inside OpenCV reads this once, when it first opens something; -8 is its level "quiet".
_FFMPEG_LEVEL = ("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing while the with-block runs."""
    os.environ.setdefault(*_FFMPEG_LEVEL)
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
