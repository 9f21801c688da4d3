"""The phone's shutter: stills that its page is asked for, until each is safe on the disk."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Literal

from mobilescope.core.errors import DeviceError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.stills import Still

When = Literal["now", "tap"]
_POLL_S = 0.2


@dataclass(frozen=True)
class Asked:
    """A still that the phone was asked for; ``tap`` leaves the moment to its user."""

    request: str
    when: When
    still: Future[Still]


class Shutter:
    """Asks whichever phone is connected; every method may be called by any thread.

    Parameters
    ----------
    lock : RLock
        Held while phones come and go, so that each request reaches the one that is there, once.
    send : callable
        Sends a message of a kind to the page that is connected, if one is.
    why_none : callable
        Says what keeps the phone from taking a still, as a sentence's beginning; empty where nothing does.
    """

    def __init__(self, lock: threading.RLock, send: Callable[..., None], why_none: Callable[[], str]) -> None:
        self._lock, self._send, self._why_none = lock, send, why_none
        self._asked: dict[str, Asked] = {}

    def ask(self, when: When) -> Asked:
        """Have the phone take a still; one that goes and comes back is asked again. `wait` or `withdraw` ends it."""
        asked = Asked(secrets.token_hex(8), when, Future())
        with self._lock:
            self._asked[asked.request] = asked
            self._send("take", request=asked.request, when=when)
        return asked

    def wait(self, asked: Asked, *, timeout_s: float, stop: StopToken | None = None) -> Still:
        """Wait until a still that was asked for is safe on the disk.

        Raises
        ------
        DeviceError
            None came in time, or the phone can't take one: no phone, asleep, camera gone.
        CancelledError
            A stop was asked for.
        """
        until_s = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    return asked.still.result(min(_POLL_S, max(0.0, until_s - time.monotonic())))
                except NotYet as error:
                    if stop is not None:
                        stop.raise_if_requested("waiting for a still of the phone")
                    if time.monotonic() >= until_s:
                        why = self._why_none() or "the phone sent no still"
                        raise DeviceError(
                            f"{why}; none came in {timeout_s:g} s", "wake the phone, open the page, keep it in front"
                        ) from error
        finally:
            self.withdraw(asked)

    def withdraw(self, asked: Asked) -> None:
        """Ask no longer."""
        with self._lock:
            self._asked.pop(asked.request, None)
            self._send("take_done", request=asked.request)

    def take(self, *, timeout_s: float = 20.0) -> Still:
        """Have the phone take a still now and wait until it is safe; DeviceError as for `wait`."""
        return self.wait(self.ask("now"), timeout_s=timeout_s)

    def ask_again(self) -> None:
        """Ask a phone that has just come for what is still wanted."""
        with self._lock:
            for asked in self._asked.values():
                self._send("take", request=asked.request, when=asked.when)

    def came(self, still: Still) -> None:
        """Hand a still that is safe to whoever asked for it."""
        with self._lock:
            asked = self._asked.get(still.header.request or "")
        if asked is not None and not asked.still.done():
            asked.still.set_result(still)

    def failed(self, request: str, reason: str) -> None:
        """Tell whoever asked that the phone could not take it."""
        with self._lock:
            asked = self._asked.get(request)
            if asked is not None and not asked.still.done():
                asked.still.set_exception(
                    DeviceError(f"the phone could not take a still: {reason}", "look at the page")
                )

    def close(self) -> None:
        """Wake whoever waits."""
        with self._lock:
            waiting = list(self._asked.values())
        for asked in waiting:
            if not asked.still.done():
                asked.still.set_exception(DeviceError("the page's server was closed"))
