"""Writing while the stage moves: one frame at a time is stored in a thread, in the order in which it came."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopImage, CaptureSink, TileKey, TileState


class BackgroundSink:
    """Hands tiles to a sink's thread; at most one is on its way.

    The next tile, and every question, waits until the one before is stored; a failure of storing is raised there. So
    a kill loses the frame on its way at most.
    """

    def __init__(self, sink: CaptureSink) -> None:
        self._sink = sink
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scan-sink")
        self._waiting: Future[None] | None = None
        self._then: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the last tile; its failure does not hide an earlier one."""
        try:
            self.settle()
        except BaseException as second:
            if failure is None:
                raise
            if second is not failure:
                failure.add_note(f"storing the last tile failed as well: {second}")
        finally:
            self._thread.shutdown()

    def settle(self) -> None:
        """Wait until everything is stored; raise what went wrong with it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.result()
        then, self._then = self._then, []
        for call in then:
            call()

    def when_stored(self, call: Callable[[], None]) -> None:
        """Have something called, in the thread that uses this sink, once all that was handed over is stored."""
        self._then.append(call)
        self.look()

    def look(self) -> None:
        """Settle if that takes no time."""
        if self._waiting is None or self._waiting.done():
            self.settle()

    def add_benchtop_tile(
        self, key: TileKey, index: int, image: BenchtopImage, focus: FocusRecord, *, attempt: int = 0, mark: str = ""
    ) -> None:
        """Have a tile stored once the one before is."""
        self.settle()
        self._waiting = self._thread.submit(
            self._sink.add_benchtop_tile, key, index, image, focus, attempt=attempt, mark=mark
        )

    def add_event(self, level: str, text: str) -> None:
        """Keep a line of the run's log."""
        self.settle()
        self._sink.add_event(level, text)

    def tile_marks(self, slide: str) -> dict[TileKey, TileState]:
        """Return the latest attempt of each tile of a slide."""
        self.settle()
        return self._sink.tile_marks(slide)
