"""What the server answers: the page's files, stills that are sent in, and the page's WebSocket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from mobilescope.core.errors import MobilescopeError
from mobilescope.devices.phone_page import messages
from mobilescope.devices.phone_page.hub import PhoneHub
from mobilescope.devices.phone_page.link import PageLink
from mobilescope.devices.phone_page.messages import CloseCode, Hello, PageRefusedError
from mobilescope.devices.phone_page.pairing import Client, PairingRefusedError
from mobilescope.devices.phone_page.stills import StillRefusedError

_FILES = Path(__file__).with_name("page")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), screen-wake-lock=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_HELLO_S = 10.0
_ASIDE_S = 300.0
_MOST_STRANGERS = 8
_MOST_UPLOADS = 4
_DIGEST = re.compile(r"[0-9a-f]{64}")


def page_app(hub: PhoneHub, host_names: frozenset[str]) -> ASGIApp:
    """Return the application behind a server that is reached by these names alone."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    files = {f"/{path.relative_to(_FILES).as_posix()}": path for path in _FILES.rglob("*") if path.is_file()}
    files["/"] = files["/index.html"]
    waiting = _Count(_MOST_STRANGERS)
    uploads = _Count(_MOST_UPLOADS)

    # Only files that were there when the server started, looked up whole: no path is ever put together.
    @app.get("/{path:path}")
    async def page_file(path: str) -> Response:
        file = files.get(f"/{path}")
        if file is None:
            return JSONResponse({"reason": "there is no such page"}, status_code=404, headers=_HEADERS)
        return FileResponse(file, media_type=_TYPES.get(file.suffix, "application/octet-stream"), headers=_HEADERS)

    @app.put("/stills/{digest}")
    async def still(digest: str, request: Request) -> Response:
        async def received() -> Response:
            return await _receive_still(hub, digest, request)

        return await uploads.holding(received) or _answer(503, "too many stills at once; send it again")

    @app.websocket("/page")
    async def page(socket: WebSocket) -> None:
        await _talk(hub, socket, waiting)

    return _OwnNamesOnly(app, host_names)


class _Count:
    """Lets only so many do something at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    async def holding(self, work: Callable[[], Awaitable[Response]]) -> Response | None:
        """Do the work, or return None where too many are at it."""
        if not self.enter():
            return None
        try:
            return await work()
        finally:
            self.leave()

    def enter(self) -> bool:
        self._free -= 1
        if self._free >= 0:
            return True
        self._free += 1
        return False

    def leave(self) -> None:
        self._free += 1


class _OwnNamesOnly:
    """Refuses requests under a foreign name: that is how a foreign page would reach a server of this computer."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _host_of(scope) not in self._names:
            refusal = JSONResponse({"reason": "this server has another name"}, status_code=421, headers=_HEADERS)
            await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            scope["mobilescope_own_name"] = _host_of(scope) in self._names
        await self._app(scope, receive, send)


def _host_of(scope: Scope) -> str:
    value = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    try:
        return (urlsplit(f"//{value}").hostname or "").lower()
    except ValueError:
        return ""


def _answer(status: int, reason: str) -> Response:
    return JSONResponse({"reason": reason}, status_code=status, headers=_HEADERS | {"Connection": "close"})


async def _talk(hub: PhoneHub, socket: WebSocket, waiting: _Count) -> None:
    """Admit a page and talk with it; whatever it sends, the server lives on."""
    await socket.accept()
    link = PageLink(socket)
    try:
        origin = socket.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != socket.headers.get("host")
        if foreign or not socket.scope.get("mobilescope_own_name"):
            raise PageRefusedError(CloseCode.FOREIGN, "a page of another site")
        if not waiting.enter():
            raise PageRefusedError(CloseCode.TOO_MANY, "too many pages wait to be paired")
        try:
            client, secret = await _admitted(hub, link, socket)
        finally:
            waiting.leave()
        await hub.serve(link, client, secret)
    except PageRefusedError as refusal:
        if refusal.code is not CloseCode.TAKEN_OVER:
            hub.refused(refusal.reason)
        await link.close(refusal)
    except WebSocketDisconnect:
        # The page is gone: a later one finds everything as it was.
        return


async def _admitted(hub: PhoneHub, link: PageLink, socket: WebSocket) -> tuple[Client, str]:
    """Return the phone that may use the page, and its secret."""
    patience_s = _HELLO_S
    while True:
        try:
            data = await asyncio.wait_for(link.receive(), patience_s)
        except TimeoutError as error:
            raise PageRefusedError(CloseCode.SILENT, "the page did not say who it is") from error
        hello = messages.read_text(data) if isinstance(data, str) else None
        if not isinstance(hello, Hello):
            raise PageRefusedError(CloseCode.NOT_PAIRED, "this page is not paired; scan the code in the terminal")
        if hello.protocol != messages.PROTOCOL:
            raise PageRefusedError(CloseCode.OTHER_VERSION, "this page is of another version; reload it")
        try:
            client = _known(hub, hello)
            occupant = hub.occupant(client)
            if not occupant or hello.take_over:
                return (client, hello.secret or "") if client else hub.desk.redeem(hello.token or "", hello.name)
        except PairingRefusedError as refusal:
            raise PageRefusedError(CloseCode.NOT_PAIRED, str(refusal)) from refusal
        await socket.send_json({"kind": "occupied", "by": occupant})
        patience_s = _ASIDE_S


def _known(hub: PhoneHub, hello: Hello) -> Client | None:
    """Return the client of a secret; None for a stranger with a code that is good."""
    if hello.secret:
        try:
            return hub.desk.recognise(hello.secret)
        except PairingRefusedError:
            if not hello.token:
                raise
    hub.desk.check(hello.token or "")
    return None


async def _receive_still(hub: PhoneHub, digest: str, request: Request) -> Response:
    """Take a still in and answer once it is safe."""
    try:
        client = hub.desk.recognise(request.headers.get("authorization", "").removeprefix("Bearer "))
    except PairingRefusedError as refusal:
        return _refuse(hub, 401, str(refusal))
    if not _DIGEST.fullmatch(digest):
        return _refuse(hub, 400, "a still without its SHA-256")
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return _refuse(hub, 411, "a still without its length")
    if int(length) > messages.MAX_STILL_BYTES:
        return _refuse(hub, 413, f"a still of {int(length)} bytes; at most {messages.MAX_STILL_BYTES} are taken")
    clock = hub.clock_of(client)
    try:
        with hub.store.incoming(digest, int(length)) as stream:
            reader = _StillReader(stream.write)
            async for chunk in request.stream():
                reader.feed(chunk)
            header = reader.header()
            kept = await asyncio.to_thread(
                hub.store.keep, stream, digest, header, client=client.name, clock=clock.reading if clock else None
            )
    except ClientDisconnect:
        # Nobody hears the answer; the phone has the still and sends it again.
        return _answer(400, "the still broke off on its way")
    except (PageRefusedError, StillRefusedError) as refusal:
        return _refuse(hub, 422, str(refusal))
    except MobilescopeError as error:
        return _refuse(hub, 507, str(error))
    hub.still_saved(kept)
    answer = {"saved": kept.path.name, "again": kept.again, "width": kept.width, "height": kept.height}
    return JSONResponse(answer, headers=_HEADERS)


def _refuse(hub: PhoneHub, status: int, reason: str) -> Response:
    hub.refused(reason)
    return _answer(status, reason)


class _StillReader:
    """Parts a still's header, four bytes of length and JSON, from the picture behind it."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._head: bytearray | None = bytearray()
        self._header: messages.StillHeader | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._head is None:
            self._write(chunk)
            return
        self._head += chunk
        if len(self._head) < 4:
            return
        length = int.from_bytes(self._head[:4], "big")
        if length > messages.MAX_STILL_HEADER_BYTES:
            raise PageRefusedError(CloseCode.TOO_BIG, f"a still whose header has {length} bytes")
        if len(self._head) < 4 + length:
            return
        self._header = messages.read_still_header(bytes(self._head[4 : 4 + length]))
        rest, self._head = bytes(self._head[4 + length :]), None
        if rest:
            self._write(rest)

    def header(self) -> messages.StillHeader:
        """Return the header once everything has come."""
        if self._header is None:
            raise PageRefusedError(CloseCode.MALFORMED, "a still that breaks off in its header")
        return self._header
