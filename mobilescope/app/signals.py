"""Work that goes on until it is told to end: Ctrl-C and SIGTERM ask, a second Ctrl-C interrupts at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def until_told() -> Iterator[threading.Event]:
    """Yield the event that Ctrl-C and SIGTERM set."""
    told = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if told.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, on_signal) for number in _ASKING}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
