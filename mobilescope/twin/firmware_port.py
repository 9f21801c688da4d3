"""A pseudo-terminal behind which a simulated board answers, as behind a serial port."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from pathlib import Path
from typing import Protocol, Self

from mobilescope.core.ring_protocol import ResetCause

_TICK_S = 0.005
_CHUNK = 4096


class Firmware(Protocol):
    """What answers bytes, by a clock that it is told."""

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Take bytes and return the reply."""

    def reset(self, now_s: float, cause: ResetCause) -> None:
        """Start anew."""


class FirmwarePort:
    """Serves a firmware in a thread, in real time, while its with-block runs.

    Parameters
    ----------
    firmware : Firmware
        What answers; its clock is the monotonic one.
    link : Path, optional
        A symbolic link to the pseudo-terminal, which keeps its name when the board is unplugged and plugged in again.
    """

    def __init__(self, firmware: Firmware, link: Path | None = None) -> None:
        self._firmware = firmware
        self._link = link
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._descriptors: tuple[int, int] = (-1, -1)
        self.port = ""

    def __enter__(self) -> Self:
        """Plug the board in."""
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        """Unplug it."""
        self.unplug()

    def plug(self) -> None:
        """Power the board on and serve it; `port` names where."""
        if self._thread is not None:
            return
        # The far end is held open, or the near end would fail whenever no host has the port open.
        near, far = self._descriptors = os.openpty()
        tty.setraw(far)
        name = os.ttyname(far)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(name)
        self.port = str(self._link or name)
        self.reset(ResetCause.POWER_ON)
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, args=(near,), name=f"firmware on {name}", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable: the port vanishes."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        for descriptor in self._descriptors:
            os.close(descriptor)

    def reset(self, cause: ResetCause = ResetCause.EXTERNAL) -> None:
        """Reset the board."""
        with self._lock:
            self._firmware.reset(time.monotonic(), cause)

    def _serve(self, near: int) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([near], [], [], _TICK_S)
            data = os.read(near, _CHUNK) if ready else b""
            with self._lock:
                reply = self._firmware.feed(data, time.monotonic())
            while reply:
                reply = reply[os.write(near, reply) :]
