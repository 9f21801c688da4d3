"""One page's connection: what any thread wants to tell the page, sent in order by the server's loop."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from mobilescope.devices.phone_page.messages import CloseCode, PageRefusedError

_MOST_TEXTS = 512


class PageLink:
    """Sends texts in order and the newest enhanced picture; a page that does not read is let go.

    Made in the loop's thread; `send`, `send_picture` and `refuse` may be called by any.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._texts: deque[str] = deque()
        self._picture: bytes | None = None
        self._refusal: PageRefusedError | None = None
        self._wake = asyncio.Event()

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message after those before it."""
        text = json.dumps({"kind": kind, **fields}, allow_nan=False)
        self._soon(lambda: self._add(text))

    def send_picture(self, data: bytes) -> None:
        """Send a picture unless a newer one comes before there is room."""

        def put() -> None:
            self._picture = data

        self._soon(put)

    def refuse(self, code: CloseCode, reason: str) -> None:
        """Close the connection after what was sent before, and tell why."""

        def put() -> None:
            self._refusal = self._refusal or PageRefusedError(code, reason)

        self._soon(put)

    async def pump(self) -> None:
        """Send until cancelled or refused; raises the refusal."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._send_all()
            except RuntimeError as error:  # Starlette's word for a socket that is closed already
                raise WebSocketDisconnect(1006) from error
            if self._refusal is not None:
                raise self._refusal

    async def _send_all(self) -> None:
        while self._texts:
            await self._socket.send_text(self._texts.popleft())
        picture, self._picture = self._picture, None
        if picture is not None and self._refusal is None:
            await self._socket.send_bytes(picture)

    async def receive(self) -> str | bytes:
        """Return the page's next message; WebSocketDisconnect at its end."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006), message.get("reason"))
        text = message.get("text")
        return message.get("bytes") or b"" if text is None else str(text)

    async def close(self, refusal: PageRefusedError) -> None:
        """Close now, with a code and a reason; nothing where the page is gone already."""
        with suppress(RuntimeError, WebSocketDisconnect, OSError):
            await self._socket.close(int(refusal.code), refusal.reason)

    def _add(self, text: str) -> None:
        self._texts.append(text)
        if len(self._texts) > _MOST_TEXTS:
            self._refusal = PageRefusedError(CloseCode.SILENT, "the page does not read what it is sent")

    def _soon(self, put: Any) -> None:
        def run() -> None:
            put()
            self._wake.set()

        # The loop has ended with its server: there is nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(run)
