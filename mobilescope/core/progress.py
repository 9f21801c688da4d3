"""Progress reports and stop requests, without a word about how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from mobilescope.core.errors import CancelledError


@dataclass(frozen=True)
class Progress:
    """A snapshot of long work: which stage, how far, and a short note for the eye."""

    stage: str
    done: int
    total: int
    note: str = ""


ProgressListener = Callable[[Progress], None]


def ignore_progress(_progress: Progress) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class StopToken:
    """A request to stop, set from another thread or a signal handler and polled by the work."""

    _event: Event = field(default_factory=Event)

    def request(self) -> None:
        """Ask the work to stop at its next safe point."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def raise_if_requested(self, what: str, kept: str = "what was finished is kept") -> None:
        """Raise CancelledError naming the interrupted work, and what is left of it, if a stop was asked for."""
        if self.requested:
            raise CancelledError(f"{what} stopped on request", f"run the same command again; {kept}")
