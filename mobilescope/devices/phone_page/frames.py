"""The preview of the phone's page as a live stream."""

from __future__ import annotations

from collections.abc import Callable

from mobilescope.core.mailbox import Mailbox
from mobilescope.core.protocols import Frame


class PhonePageFrames:
    """Implements `FrameSource` over the preview of whichever phone is connected; silence while none is.

    Parameters
    ----------
    on_close : callable
        Called with this stream when it is closed.
    """

    on_demand = False

    def __init__(self, name: Callable[[], str], on_close: Callable[[PhonePageFrames], None]) -> None:
        self._name, self._on_close = name, on_close
        self._newest: Mailbox[Frame] = Mailbox()

    @property
    def name(self) -> str:
        """The phone's page, and the phone where one is connected."""
        return self._name()

    def put(self, frame: Frame) -> None:
        """Hand in a picture."""
        self._newest.put(frame)

    def read(self) -> Frame | None:
        """Return the newest picture that was not read yet."""
        return self._newest.take()

    def end(self) -> None:
        """Let whoever reads know that the server has ended."""
        self._newest.end()

    def close(self) -> None:
        """End the stream; the server goes on."""
        self._newest.close()
        self._on_close(self)
