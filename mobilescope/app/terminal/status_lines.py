"""A status line: drawn in place on a terminal, and now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.status import Status

from mobilescope.app.terminal.console import say, stderr

_LINE_EVERY_S = 2.0


class _Lines:
    """Puts a line now and then."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            say(text)


@contextmanager
def status_place() -> Iterator[_Lines | StatusLine]:
    """Yield what puts a status line: in place on a terminal, now and then elsewhere."""
    if not stderr.is_terminal:
        yield _Lines()
        return
    with stderr.status("starting") as status:
        yield StatusLine(status)


class StatusLine:
    """Puts a line in the place of the one before."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, text: str) -> None:
        """Show the line."""
        self._status.update(text.replace("[", r"\["))
