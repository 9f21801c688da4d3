"""Worker processes that leave Ctrl-C to the program that started them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start processes, and the threads that start more of them, so that Ctrl-C in a terminal does not reach them.

    A terminal interrupts every process of the program at once. A worker inherits the mask of the thread that starts
    it, so it is deaf from its first instruction on; asking it to ignore the signal once its modules are loaded leaves
    a second or two in which it would die with a traceback. A Ctrl-C during the block comes when the block ends.
    """
    # Python's tracker of shared resources would undo the mask if it began inside the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
