"""Work that goes on until it is told to end: Ctrl-C and SIGTERM ask, a second Ctrl-C interrupts at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType

from mobilescope.app.terminal.interrupts import raise_unanswered

_ASKING = (signal.SIGINT, signal.SIGTERM)
# Programs that start others pass Ctrl-C on to those, which the terminal has told already.
_SAME_S = 0.5


class SignalEvent(threading.Event):
    """An event that a signal handler may set while the same thread waits for it.

    `threading.Event` guards its flag with a lock: a handler that comes while its own thread holds that lock waits for
    it for ever. `queue.SimpleQueue.put` is documented to be safe there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._told

    def set(self) -> None:
        """Set it and wake whoever waits."""
        self._told = True
        self._wake.put(None)

    def clear(self) -> None:
        """Refuse: what was told stays told."""
        raise NotImplementedError("a SignalEvent is set once")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; return whether it is."""
        if not self._told:
            try:
                self._wake.get(timeout=None if timeout is None else max(0.0, timeout))
            except Empty:
                return self._told
            # Another thread may wait as well.
            self._wake.put(None)
        return self._told


@contextmanager
def until_told() -> Iterator[SignalEvent]:
    """Yield the event that Ctrl-C and SIGTERM set; one that comes within half a second of the first is the same."""
    told = SignalEvent()
    first_s = 0.0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal first_s
        if not told.is_set():
            first_s = time.monotonic()
            told.set()
        elif number == signal.SIGINT and time.monotonic() - first_s > _SAME_S:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in _ASKING}
    try:
        raise_unanswered()
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
