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
from mobilescope.devices.stream_faults import stream_fault

_TIMEOUT_MS = 3000
# A stream that tells its size with a picture that stands alone, and sends one every ten seconds.
_LONGER = 4
_RETRY_S = 0.25
# So many pictures in a row may come that can't be decoded: damaged ones, or such that build on what was not received.
_MOST_UNDECODED = 1000
# What FFmpeg looks at while it opens a stream is handed out afterwards, all at once: it is older than it seems.
_LOOKED_AT_S = 0.5
_JPEGS = cv2.VideoWriter.fourcc(*"MJPG")


class CameraFrames:
    """Implements `FrameSource` over a camera that OpenCV opens.

    A thread grabs all the time and keeps the newest frame only: OpenCV and its drivers keep four, and what is read
    slowly would be that old. What a stream sent while it was being opened is let pass. A camera that falls silent is
    opened anew until ``patience_s`` have passed. A stream of JPEGs may change its size; OpenCV would squeeze the later
    pictures into the shape of the first, and does so with other streams.

    Parameters
    ----------
    address : int or str
        Number of a camera of this machine, or a URL (rtsp://, http://).
    pixel_size_um : float, optional
        Holds for pictures of the first one's size, also turned; of others it is not known.
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
        self._of_jpegs = False
        self._sides: list[int] = []
        self._fresh_s = time.monotonic()
        camera = self._opened()
        if camera is None:
            cause, remedy = self._fault()
            raise UserError(f"{self.name} can't be opened{cause}", remedy)
        self._heard_s = time.monotonic()
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
        with quiet_opencv():
            try:
                while not self._closed.is_set():
                    camera = camera if self._passed_on(camera) else self._reopened(camera)
            except Exception as error:  # noqa: BLE001 - it is raised in the thread that reads
                self._newest.end(error)
            finally:
                camera.release()

    def _passed_on(self, camera: Any) -> bool:
        """Wait for the camera's next frame and keep it where it is fresh; False where none came."""
        if not self._grabbed(camera):
            return False
        captured_s = time.monotonic()
        if captured_s >= self._fresh_s:
            image = self._retrieved(camera)
            if image is None:  # a damaged JPEG is passed over
                return self._of_jpegs and captured_s - self._heard_s < _TIMEOUT_MS / 1000
            pixels = self._rgb(image)
            sides = sorted(pixels.shape[:2])
            self._sides = self._sides or sides
            pitch_um = self._pixel_size_um if sides == self._sides else None
            self._newest.put(Frame(pixels, self._index, captured_s, pitch_um))
        self._index += 1
        self._heard_s = captured_s
        return True

    def _grabbed(self, camera: Any) -> bool:
        """Wait for the next frame; False where the stream has ended or fell silent.

        OpenCV says the same of a picture that can't be decoded, but of each, and at once of a stream that ended.
        """
        for _ in range(_MOST_UNDECODED):
            asked_s = time.monotonic()
            if camera.grab():
                return True
            if self._closed.is_set() or time.monotonic() - asked_s > 0.9 * _TIMEOUT_MS / 1000:
                break
        return False

    def _retrieved(self, camera: Any) -> NDArray[np.generic] | None:
        image: NDArray[np.uint8] | None = camera.retrieve()[1]
        if image is None or not self._of_jpegs:
            return image
        return cv2.imdecode(image.ravel(), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)

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
                cause, remedy = self._fault()
                ended = "sent no more pictures and did not come back" if self._index else "opened and sent no picture"
                raise DeviceError(f"{self.name} {ended} in {self._patience_s:g} s{cause}", remedy)
            again = self._opened()
            if again is not None:
                return again
        return camera

    def _opened(self) -> Any | None:
        """Return the open camera, None where it is not there."""
        with quiet_opencv():
            camera = self._plugged_in(self._address) if isinstance(self._address, int) else self._stream(self._address)
        if camera.isOpened():
            return camera
        camera.release()
        return None

    def _plugged_in(self, number: int) -> Any:
        kind = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
        camera = cv2.VideoCapture(number, kind)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._frame_shape is not None:
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, self._frame_shape[0])
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, self._frame_shape[1])
        return camera

    def _stream(self, address: str) -> Any:
        """Open a stream; one whose size did not become known is none yet, and is given longer the first time."""
        for limit_ms in (_TIMEOUT_MS,) if self._index else (_TIMEOUT_MS, _LONGER * _TIMEOUT_MS):
            begun_s = time.monotonic()
            # A decoder holds back a frame for each further thread: on a large machine, more than a second of them.
            camera = cv2.VideoCapture(address, cv2.CAP_FFMPEG, [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS,
                cv2.CAP_PROP_N_THREADS, 1,
            ])
            self._fresh_s = time.monotonic() + min(_LOOKED_AT_S, time.monotonic() - begun_s)
            if not camera.isOpened() or camera.get(cv2.CAP_PROP_FRAME_WIDTH) > 0:
                break
            camera.release()
        # Format -1 hands the JPEGs out as they came.
        jpegs = camera.isOpened() and int(camera.get(cv2.CAP_PROP_FOURCC)) == _JPEGS
        self._of_jpegs = jpegs and bool(camera.set(cv2.CAP_PROP_FORMAT, -1))
        return camera

    def _fault(self) -> tuple[str, str]:
        """Return why there are no pictures, to be said after that, and what to do about it."""
        if not isinstance(self._address, int):
            cause, remedy = stream_fault(self._address, patience_s=_TIMEOUT_MS / 1000, let_in=self._index > 0)
            return cause and f": {cause}", remedy
        there = sorted(int(path.name[5:]) for path in Path("/dev").glob("video*") if path.name[5:].isdigit())
        seen = f"cameras here: {', '.join(f'camera:{number}' for number in there)}" if there else "none is plugged in"
        return "", f"check its cable and that no other program uses it ({seen})"
