"""A video file as a live stream, at its own pace or as fast as it is read."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from mobilescope.core.errors import InputFileError
from mobilescope.core.input_files import check_file
from mobilescope.core.pacing import Pace
from mobilescope.core.protocols import Frame
from mobilescope.devices.opencv_quiet import quiet_opencv

_USUAL_FRAMES_PER_S = 25.0
_MOST_FRAMES_PER_S = 1000.0
# Some containers only estimate how many frames they hold; a file that breaks off holds far fewer.
_LEAST_PART = 0.9


class VideoFrames:
    """Implements `FrameSource` over a video file.

    Parameters
    ----------
    on_demand : bool
        Give every frame when it is asked for, instead of those that the file's own pace has reached.
    loop : bool
        Begin again after the last frame.
    """

    def __init__(
        self, path: Path, *, on_demand: bool = False, loop: bool = False, pixel_size_um: float | None = None
    ) -> None:
        check_file(path, "video file")
        self._path = path
        self._loop = loop
        self._pixel_size_um = pixel_size_um
        self._lock = Lock()
        self._video = self._opened()
        rate = float(self._video.get(cv2.CAP_PROP_FPS))
        self._frames_per_s = rate if 0 < rate <= _MOST_FRAMES_PER_S else _USUAL_FRAMES_PER_S
        self._promised = int(max(0, self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._pace = Pace(None if on_demand else 1 / self._frames_per_s)
        self._index = -1
        self._in_file = 0
        self._closed = False
        self.on_demand = on_demand

    @property
    def name(self) -> str:
        """The file and its pace."""
        return f"video {self._path} ({self._frames_per_s:g} frames/s)"

    def read(self) -> Frame | None:
        """Return the frame that is due; None after the last; InputFileError where the file breaks off."""
        index = self._pace.wait_after(self._index)
        if index is None:
            return None
        with self._lock:
            # Frames that are overdue are decoded, since later ones build on them, but not converted.
            while not self._closed and self._index < index:
                if not self._grabbed():
                    return None
                self._index += 1
            if self._closed:
                return None
            captured_s = time.monotonic()
            ok, image = self._video.retrieve()
        if not ok:
            raise InputFileError(f"frame {self._in_file} of {self._path} can't be decoded", "the file is damaged")
        pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        return Frame(pixels, self._index, captured_s, self._pixel_size_um)

    def close(self) -> None:
        """End the stream and close the file."""
        self._pace.close()
        with self._lock:
            self._closed = True
            self._video.release()

    def _grabbed(self) -> bool:
        """Step to the next frame, from the end to the beginning where the video loops; False at its end."""
        if self._video.grab():
            self._in_file += 1
            return True
        if self._in_file < _LEAST_PART * self._promised or self._in_file == 0:
            raise InputFileError(
                f"{self._path} breaks off after {self._in_file} of {self._promised} frames", "the file is damaged"
            )
        if not self._loop:
            return False
        self._video.release()
        self._video, self._in_file = self._opened(), 0
        return self._grabbed()

    def _opened(self) -> Any:
        with quiet_opencv():
            video = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not video.isOpened():
            raise InputFileError(
                f"{self._path} is not a video, or it is damaged", "give a file such as .mp4, .avi or .mkv"
            )
        return video
