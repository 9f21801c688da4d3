"""Having the disk keep up beside the work: what was stored is synced now and then by a thread of its own."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor

_INTERVAL_S = 1.0
# Small enough that the last sync, which is waited for, has little left to do.
_INTERVAL_BYTES = 64 * 1024**2


class BackgroundSync:
    """Syncs one file; not made for several threads at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="session-sync")
        self._running: Future[None] | None = None
        self._pending_bytes = 0
        self._begun_at = time.monotonic()

    def stored(self, count_bytes: int) -> None:
        """Note that so much was handed to the system; raises the OSError of the last sync if it failed."""
        self._pending_bytes += count_bytes
        if self._running is not None:
            if not self._running.done():
                return
            self._running.result()
        if self._pending_bytes >= _INTERVAL_BYTES or time.monotonic() - self._begun_at >= _INTERVAL_S:
            self._pending_bytes, self._begun_at = 0, time.monotonic()
            self._running = self._worker.submit(os.fsync, self._descriptor)

    def close(self) -> None:
        """Wait for the sync in flight; raises its OSError if it failed. The descriptor stays open."""
        self._worker.shutdown()
        if self._running is not None:
            self._running.result()
