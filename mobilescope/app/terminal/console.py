"""What the command line shows: progress on standard error, one-line errors, and a clean answer to Ctrl-C."""

from __future__ import annotations

import errno
import json
import math
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mobilescope.app.terminal.interrupts import raise_unanswered
from mobilescope.core.errors import MobilescopeError
from mobilescope.core.progress import Progress, StopToken

stderr = Console(stderr=True, highlight=False)


class ProgressDisplay:
    """Shows progress as bars on a terminal, and as a line for each tenth of a stage elsewhere."""

    def __init__(self) -> None:
        self._live = stderr.is_terminal
        self._bars = Bars(
            TextColumn("{task.description:<22}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=stderr,
        )
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> ProgressDisplay:
        """Start drawing."""
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing; what was shown stays."""
        if self._live:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        """Show a snapshot."""
        if self._live:
            if progress.stage not in self._tasks:
                self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=progress.total, note="")
            self._bars.update(
                self._tasks[progress.stage], completed=progress.done, total=progress.total, note=progress.note
            )
            return
        tenth = 10 * progress.done // max(1, progress.total)
        if tenth > self._tenths.get(progress.stage, 0):
            self._tenths[progress.stage] = tenth
            note = f"  {progress.note}" if progress.note else ""
            say(f"{progress.stage}: {progress.done}/{progress.total}{note}")


def say(text: str) -> None:
    """Print a line for the person on standard error; a log whose disk is full stops no work."""
    with suppress(OSError):
        stderr.print(text, markup=False, soft_wrap=True)


def say_from_handler(text: str) -> None:
    """Print a line from a signal handler; nothing where the signal came in the middle of printing another."""
    with suppress(RuntimeError):
        say(text)


def print_json(value: Any) -> None:
    """Print one line of JSON on standard output; NaN and infinity become null."""
    sys.stdout.write(json.dumps(_without_nan(value), allow_nan=False) + "\n")
    sys.stdout.flush()


def _without_nan(value: Any) -> Any:
    """Return a value with null for figures that could not be measured, since JSON knows no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Show each warning as a line, and the library's own however often they come."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.filterwarnings("always", category=RuntimeWarning, module=r"mobilescope\.")
        yield


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for `warnings.showwarning`, which prints where in the code a warning arose."""
    say("warning: " + " ".join(str(message).splitlines()))


@contextmanager
def stoppable() -> Iterator[StopToken]:
    """Turn the first Ctrl-C into a request to stop at the next safe point; the second one interrupts at once."""
    token = StopToken()

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        if token.requested:
            raise KeyboardInterrupt
        token.request()
        say_from_handler("stopping at the next safe point; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        raise_unanswered()
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn errors that a user can do something about into one line and an exit status."""
    try:
        yield
    except MobilescopeError as error:
        _say_error("; ".join([str(error), *_notes(error)]))
        raise SystemExit(error.exit_status) from error
    except KeyboardInterrupt as error:
        say("; ".join(["stopped", *_notes(error), "what was finished is kept"]))
        raise SystemExit(130) from error
    except BrokenPipeError as error:
        raise SystemExit(0) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say_error(f"the disk is full ({error.filename or 'output'}); free some space and run the same command")
            raise SystemExit(1) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _say_error(f"no permission for {error.filename}; choose another place or change its permissions")
            raise SystemExit(2) from error
        if error.filename is not None:
            _say_error(f"{error.filename}: {error.strerror}; check the path")
            raise SystemExit(2) from error
        raise


def _notes(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, such as a light that may still be on."""
    return getattr(error, "__notes__", [])


def _say_error(text: str) -> None:
    """Print an error on one line, whatever the libraries behind it put into their messages."""
    say("error: " + " ".join(text.splitlines()))
