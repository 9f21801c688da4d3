"""The place that a model is trained into: nothing else stands there, and one training at a time writes to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mobilescope.core.errors import OutputError, SessionLockedError, UserError
from mobilescope.data.lock import WriterLock
from mobilescope.learn.checkpoint import read_card
from mobilescope.learn.ranks import is_main_process


def check_place(model: Path) -> None:
    """Refuse a name under which something else stands: a mistyped --out must not cost a session (OutputError)."""
    if not model.parent.is_dir() or model.is_dir():
        raise OutputError(f"the model can't be written as {model}", "give a file name in a folder that is there")
    if model.exists():
        try:
            read_card(model)
        except UserError as error:
            raise OutputError(f"{model} is there and is no model", "give another name for the model") from error


@contextlib.contextmanager
def alone(model: Path) -> Iterator[None]:
    """Keep a second training from writing the same files meanwhile: a SessionLockedError tells it."""
    lock: WriterLock | None = None
    if is_main_process():
        try:
            lock = WriterLock.acquire(model)
        except SessionLockedError:
            raise
        except OutputError:
            pass  # a disk without locks, as clusters have them: training there is worth more than the guard
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
