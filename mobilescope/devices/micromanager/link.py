"""What both backends of Micro-Manager's core have in common: calls with a deadline and answers in plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class CoreLink(Protocol):
    """A connection to a Micro-Manager core.

    Answers are the same whatever the backend: strings, numbers and booleans; lists of strings; a region of interest
    as ``[x, y, width, height]``; an image as a numpy array of any shape whose bytes are the frame's.
    """

    @property
    def facts(self) -> dict[str, str]:
        """The backend, the versions and the configuration, for records."""

    @property
    def name(self) -> str:
        """Which Micro-Manager this is, for people."""

    def call(self, what: str, method: str, *arguments: object) -> Any:
        """Call a method of the core by its snake_case name and return its answer.

        Parameters
        ----------
        what : str
            What the call is for, for error messages: ``"move the xy stage"``.

        Raises
        ------
        DeviceError
            The core refused, a device failed, or no answer came in time. A call is never repeated on its own.
        LinkLostError
            Micro-Manager is gone. The next call tries to connect anew.
        """

    def after_reconnect(self, action: Callable[[], None]) -> None:
        """Run ``action`` each time that a lost connection was made anew, before anything else is asked of it."""

    def close(self) -> None:
        """End the connection; what the devices do is not changed. May be called twice."""
