"""A video stream or a USB camera as a phone: its newest frame, taken after the field stood still."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.addresses import without_secret
from mobilescope.core.errors import DeviceError
from mobilescope.core.phone_picture import NO_RAW_WHITE, UNKNOWN_ISO, UNKNOWN_MS, PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import Frame
from mobilescope.devices.camera_frames import CameraFrames

_CAMERA = "camera:"


class StreamPictures:
    """Implements `PictureSource` over what OpenCV opens: MJPEG and RTSP by address, USB cameras as ``camera:N``.

    Parameters
    ----------
    latency_ms : float
        How old a frame of this stream is when it arrives: frames that arrive earlier than that after the request
        were exposed before it, and are let pass.
    frame_shape : tuple of int, optional
        Rows and columns to ask a USB camera for.
    """

    waits_for_person = False

    def __init__(
        self, address: str, *, latency_ms: float, patience_s: float, frame_shape: tuple[int, int] | None = None
    ) -> None:
        self._address, self._latency_s, self._patience_s = address, latency_ms / 1000, patience_s
        self._frame_shape = frame_shape
        self._frames: CameraFrames | None = None
        self._prepared_s = 0.0

    @property
    def name(self) -> str:
        """The stream's address."""
        return f"stream {without_secret(self._address)}"

    def shape(self) -> tuple[int, int]:
        """Return the rows and columns of its frames."""
        rows, columns = self._next().pixels.shape[:2]
        return int(rows), int(columns)

    def prepare(self) -> None:
        """Let pass what was exposed before now."""
        self._prepared_s = time.monotonic()

    def take(self, stop: StopToken, _known: Collection[str]) -> PhonePicture:
        """Return the first frame that was exposed since `prepare`."""
        while True:
            stop.raise_if_requested(f"waiting for {self.name}")
            frame = self._next()
            if frame.captured_s >= self._prepared_s + self._latency_s:
                return _picture(frame.pixels)

    def close(self) -> None:
        """End the stream."""
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()

    def _next(self) -> Frame:
        if self._frames is None:
            number = self._address.removeprefix(_CAMERA)
            usb = self._address.startswith(_CAMERA) and number.isdigit()
            self._frames = CameraFrames(
                int(number) if usb else self._address, patience_s=self._patience_s, frame_shape=self._frame_shape
            )
        frame = self._frames.read()
        if frame is None:
            raise DeviceError(f"{self.name} has ended", "start it again, then run the same command")
        return frame


def _picture(pixels: NDArray[np.uint8]) -> PhonePicture:
    """Return a frame as a picture; its JPEG is made here, with all that JPEG can keep."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise DeviceError(f"a frame of shape {pixels.shape} can't be a JPEG")
    jpeg = data.tobytes()
    rows, columns = pixels.shape[:2]
    facts = {"jpeg": "made of a video frame, quality 100", "jpeg_sha256": hashlib.sha256(jpeg).hexdigest()}
    return PhonePicture(
        None, jpeg, (int(rows), int(columns)), "", 0, NO_RAW_WHITE, (1.0, 1.0, 1.0), "", UNKNOWN_ISO, UNKNOWN_MS, "",
        None, facts,
    )
