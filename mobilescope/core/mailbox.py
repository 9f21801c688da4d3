"""A place for one thing between two threads: the newest replaces what was not taken, so nothing queues."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands the newest item from one thread to another; holds one at most."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._item: Item | None = None
        self._ended = False
        self._failure: Exception | None = None

    def put(self, item: Item) -> bool:
        """Put an item in; return whether it replaced one that was never taken. After the end it is let go."""
        with self._changed:
            if self._ended:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify_all()
            return replaced

    def take(self) -> Item | None:
        """Wait for an item and take it out; None once the mailbox has ended, or the failure that it ended with."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._ended)
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._failure is not None:
                raise self._failure
            return item

    def wait_until_taken(self) -> bool:
        """Wait until the mailbox is empty; return False once it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is None or self._ended)
            return not self._ended

    def end(self, failure: Exception | None = None) -> None:
        """Let nothing more in; what is inside may still be taken, after it `take` raises the failure if there is one.

        The first end counts.
        """
        with self._changed:
            if not self._ended:
                self._ended, self._failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """End at once: what is inside is let go, and so is a failure that was not told yet."""
        with self._changed:
            self._ended, self._item, self._failure = True, None, None
            self._changed.notify_all()
