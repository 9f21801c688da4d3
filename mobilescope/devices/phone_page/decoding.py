"""Preview pictures as they come compressed, decoded one after the other in a thread of their own."""

from __future__ import annotations

import io
import queue
from collections.abc import Callable
from threading import Thread
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobilescope.devices.phone_page.messages import PreviewKind, PreviewPacket

_WAITING = 8
_PATIENCE = 60

Done = Callable[[PreviewPacket, NDArray[np.uint8]], None]


class UndecodableError(Exception):
    """A preview whose pictures can't be decoded, however often a whole one was asked for."""


class PreviewDecoder:
    """Decodes packets in order and hands their pictures on; one that comes when too many wait is let go.

    H.264 pictures build on each other: after one is lost or damaged, those up to the next whole one are let go too.

    Parameters
    ----------
    done : callable
        Takes a packet and its RGB picture, in the decoder's thread.
    ask_key : callable
        Asks the page for a whole picture.
    hopeless : callable
        Called when nothing could be decoded for long.
    broken : callable
        Takes an error that nobody foresaw, of decoding or of ``done``; the next picture is tried all the same.
    """

    def __init__(
        self, done: Done, ask_key: Callable[[], None], hopeless: Callable[[], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._done, self._ask_key, self._hopeless, self._broken = done, ask_key, hopeless, broken
        self._codec: Any = None
        self._packets: queue.Queue[PreviewPacket | None] = queue.Queue(_WAITING)
        self._need_key = True
        self._failures = 0
        self._thread = Thread(target=self._run, name="phone preview", daemon=True)
        self._thread.start()

    def put(self, packet: PreviewPacket) -> bool:
        """Take a packet to decode; return whether there was room."""
        try:
            self._packets.put_nowait(packet)
        except queue.Full:
            self._need_key = True
            return False
        return True

    def close(self) -> None:
        """End the thread; what waits is let go."""
        while self._thread.is_alive():
            try:
                self._packets.put_nowait(None)
                break
            except queue.Full:
                try:
                    self._packets.get_nowait()
                except queue.Empty:
                    continue
        self._thread.join(5)

    def _run(self) -> None:
        while (packet := self._packets.get()) is not None:
            try:
                self._decode(packet)
            except (UndecodableError, av.FFmpegError):
                self._need_key = True
                self._failed()
            except Exception as error:  # noqa: BLE001 - told; a thread that ends leaves a preview that stands still
                self._need_key = True
                self._failed()
                self._broken(error)

    def _decode(self, packet: PreviewPacket) -> None:
        if packet.kind is PreviewKind.H264:
            if self._need_key and not packet.key:
                self._failed()
                return
            if packet.key and (self._need_key or self._codec is None):
                self._codec, self._need_key = _decoder(), False
        pictures = [_jpeg(packet)] if packet.kind is PreviewKind.JPEG else _pictures(self._codec, packet)
        if pictures:
            self._failures = 0
            self._done(packet, pictures[-1])

    def _failed(self) -> None:
        self._failures += 1
        if self._failures % 15 == 1:
            self._ask_key()
        if self._failures == _PATIENCE:
            self._hopeless()


def _decoder() -> Any:
    codec: Any = av.CodecContext.create("h264", "r")
    codec.thread_count = 1
    codec.options = {"flags": "low_delay"}
    return codec


def _pictures(codec: Any, packet: PreviewPacket) -> list[NDArray[np.uint8]]:
    pictures = []
    for frame in codec.decode(av.Packet(packet.payload)):
        if (frame.width, frame.height) != (packet.width, packet.height):
            raise UndecodableError
        pictures.append(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    return pictures


def _jpeg(packet: PreviewPacket) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(packet.payload), formats=["JPEG"]) as picture:
            size = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UndecodableError from error
    # Looked at before it is decoded: a small file may hold a picture that fills the memory.
    if size != (packet.width, packet.height):
        raise UndecodableError
    decoded = cv2.imdecode(np.frombuffer(packet.payload, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise UndecodableError
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
