"""A camera as a live stream: by number, or by the address at which it sends a video."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.addresses import without_secret
from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.mailbox import Mailbox
from mobilescope.core.protocols import Frame
from mobilescope.devices.opencv_quiet import quiet_opencv

_TIMEOUT_MS = 3000
_RETRY_S = 0.25


class CameraFrames:
    """Implements `FrameSource` over a camera that OpenCV opens.

    A thread grabs all the time and keeps the newest frame only: OpenCV and its drivers keep four, and what is read
    slowly would be that old. A camera that falls silent is opened anew until ``patience_s`` have passed.

    Parameters
    ----------
    address : int or str
        Number of a camera of this machine, or a URL (rtsp://, http://).
    frame_shape : tuple of int, optional
        Rows and columns to ask a camera of this machine for; it may send others.
    """

    on_demand = False

    def __init__(
        self, address: int | str, *, pixel_size_um: float | None = None, patience_s: float = 5.0,
        frame_shape: tuple[int, int] | None = None,
    ) -> None:
        self._address, self._frame_shape = address, frame_shape
        self._pixel_size_um = pixel_size_um
        self._patience_s = patience_s
        self._closed = Event()
        self._newest: Mailbox[Frame] = Mailbox()
        self._index = 0
        self._heard_s = time.monotonic()
        camera = self._opened()
        if camera is None:
            raise UserError(f"{self.name} can't be opened", self._remedy())
        self._thread = Thread(target=self._grab_until_closed, args=(camera,), name=f"frames of {self.name}")
        self._thread.start()

    @property
    def name(self) -> str:
        """The camera's number or address."""
        return f"camera {without_secret(str(self._address))}"

    def read(self) -> Frame | None:
        """Return the newest frame that was not read yet; DeviceError for a camera that is gone."""
        return self._newest.take()

    def close(self) -> None:
        """End the stream and free the camera."""
        self._closed.set()
        self._newest.close()
        self._thread.join()

    def _grab_until_closed(self, camera: Any) -> None:
        try:
            while not self._closed.is_set():
                image = None
                if camera.grab():
                    captured_s = time.monotonic()
                    _, image = camera.retrieve()
                if image is None:
                    camera = self._reopened(camera)
                    continue
                self._newest.put(Frame(self._rgb(image), self._index, captured_s, self._pixel_size_um))
                self._index += 1
                self._heard_s = captured_s
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that reads
            self._newest.end(error)
        finally:
            camera.release()

    def _rgb(self, image: NDArray[np.generic]) -> NDArray[np.uint8]:
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DeviceError(
                f"{self.name} sends pictures of shape {image.shape} and type {image.dtype}", "set it to 8-bit colour"
            )
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 or image.shape[-1] == 1 else cv2.COLOR_BGR2RGB
        return np.asarray(cv2.cvtColor(np.asarray(image, dtype=np.uint8), code), dtype=np.uint8)

    def _reopened(self, camera: Any) -> Any:
        """Open the camera anew; the old one where the stream was closed meanwhile."""
        camera.release()
        while not self._closed.wait(_RETRY_S):
            if time.monotonic() - self._heard_s > self._patience_s:
                raise DeviceError(
                    f"{self.name} sent no more pictures and did not come back in {self._patience_s:g} s", self._remedy()
                )
            again = self._opened()
            if again is not None:
                return again
        return camera

    def _opened(self) -> Any | None:
        """Return the open camera, None where it is not there."""
        with quiet_opencv():
            if isinstance(self._address, int):
                kind = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
                camera = cv2.VideoCapture(self._address, kind)
                camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
                if self._frame_shape is not None:
                    camera.set(cv2.CAP_PROP_FRAME_HEIGHT, self._frame_shape[0])
                    camera.set(cv2.CAP_PROP_FRAME_WIDTH, self._frame_shape[1])
            else:
                limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
                camera = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, limits)
        if camera.isOpened():
            return camera
        camera.release()
        return None

    def _remedy(self) -> str:
        if not isinstance(self._address, int):
            return "check that the address opens in a browser or a video player on this machine"
        there = sorted(int(path.name[5:]) for path in Path("/dev").glob("video*") if path.name[5:].isdigit())
        seen = f"cameras here: {', '.join(f'camera:{number}' for number in there)}" if there else "none is plugged in"
        return f"check its cable and that no other program uses it ({seen})"
