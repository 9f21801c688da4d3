"""A served page for tests, a page without a browser, and a browser with a camera that is not there."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import struct
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mobilescope.core.phone_page_config import LockWishes
from mobilescope.devices.phone_page.hub import PhoneHub
from mobilescope.devices.phone_page.pairing import PairingDesk
from mobilescope.devices.phone_page.server import PhonePageServer
from mobilescope.devices.phone_page.stills import StillStore

DEBIANS_CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=fps=30"]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def launched(playwright, arguments=ARGUMENTS):
    """Start Debian's Chromium, or where the distribution has none, or a snap of it, the one that Playwright fetched."""
    path = DEBIANS_CHROMIUM if DEBIANS_CHROMIUM.exists() else Path(playwright.chromium.executable_path)
    assert path.exists(), "there is no Chromium here: make gui-tools"
    return playwright.chromium.launch(executable_path=str(path), args=arguments)


@contextmanager
def serving(folder, *, wishes=None, book=None, pixel_size_um=0.9, port=0, host="127.0.0.1"):
    """Serve the page from a folder; its server, whose ``events`` are what a person was told."""
    stills = folder / "stills"
    stills.mkdir(exist_ok=True)
    events = []
    hub = PhoneHub(
        PairingDesk(book), StillStore(stills), wishes=wishes or LockWishes(), pixel_size_um=pixel_size_um,
        on_event=events.append, settle_ms=100,
    )
    with PhonePageServer(hub, host=host, port=port, state=folder / "state") as server:
        server.events = events
        yield server


def jpeg(shade=100, size=(64, 48), noise=None):
    """Return a JPEG of one shade, or of noise from a seed."""
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    if noise is not None:
        pixels = np.random.default_rng(noise).integers(0, 255, pixels.shape, dtype=np.uint8)
    return jpeg_of(pixels)


def jpeg_of(pixels):
    """Return a picture (rows, columns, 3) as JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


class RawPage:
    """Speaks the page's side of the protocol, well or badly."""

    def __init__(self, server, *, secret="", origin=None, host=None):
        self.server, self.secret = server, secret
        self._connecting = connect(
            f"ws://{host or f'127.0.0.1:{server.port}'}/page", origin=origin, compression=None, open_timeout=10,
            max_size=None, sock=socket.create_connection(("127.0.0.1", server.port)),
        )
        self.socket = self._connecting.__enter__()

    def hello(self, *, code=None, name="test phone", take_over=False, protocol=1):
        message = {"kind": "hello", "protocol": protocol, "name": name, "take_over": take_over}
        if self.secret:
            message["secret"] = self.secret
        if code is not None:
            message["token"] = code
        self.say(message)
        return self

    def paired(self, **options):
        """Pair with a new code and return this page."""
        self.hello(code=self.server.hub.desk.new_code(), **options)
        self.secret = self.heard("welcome")["secret"]
        return self

    def say(self, message):
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def camera(self, *, width=64, height=48, still=(64, 48), settings=()):
        self.say({
            "kind": "camera", "width": width, "height": height, "still_width": still[0], "still_height": still[1],
            "still_method": "test", "codec": "JPEG", "settings": list(settings),
        })

    def try_to(self, send):
        """Do what the server may cut short."""
        with suppress(ConnectionClosed):
            send()

    def preview(self, number, *, data=None, size=(64, 48), kind=2, captured_ms=0.0):
        data = jpeg(40 * (number % 5 + 1), size) if data is None else data
        self.socket.send(struct.pack(">BBIdHH", kind, 1, number, captured_ms, *size) + data)

    def heard(self, kind, timeout_s=10):
        """Return the next message of a kind; others are let go. ``picture`` stands for a binary one."""
        while True:
            data = self.socket.recv(timeout_s)
            if isinstance(data, bytes):
                if kind == "picture":
                    return data
                continue
            message = json.loads(data)
            if message["kind"] == kind:
                return message

    def closed(self, timeout_s=10):
        """Return the code and reason with which the server closes."""
        try:
            while True:
                self.socket.recv(timeout_s)
        except ConnectionClosed as end:
            return end.rcvd.code, end.rcvd.reason

    def close(self):
        self._connecting.__exit__(None, None, None)


def put_still(server, data, *, secret, digest=None, header=None, length=None, body=None, **changes):
    """Send a still as the page does; return the status and the answer."""
    header = {"source": "camera", "method": "test", "wall_ms": 1.7e12, **changes} if header is None else header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = struct.pack(">I", len(text)) + text + data if body is None else body
    digest = hashlib.sha256(data).hexdigest() if digest is None else digest
    return request(
        server, "PUT", f"/stills/{digest}", body,
        {"Authorization": f"Bearer {secret}", "Content-Length": str(len(body) if length is None else length)},
    )


def request(server, method, path, body=None, headers=None):
    """Return the status and the answer to a request whose path nobody has tidied."""
    place = urlsplit(server.listening.urls[0])
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if answer.getheader("content-type") == "application/json" else data
    finally:
        connection.close()


class ScriptedPhone:
    """A phone at the page that takes whatever it is asked for: each still another one, of a shape."""

    def __init__(self, folder, shape):
        self.folder, self.shape = folder, shape
        self.frozen = self.deaf = False
        self.taken = 0
        self.page = self.thread = None

    @contextmanager
    def serving(self):
        """Serve the page with this phone at it; yields what knows the phone."""
        with serving(self.folder) as self.server:
            self.plug()
            try:
                yield self.server.hub
            finally:
                self.pull()

    def plug(self):
        """Come, or come back."""
        if self.page is None:
            page = RawPage(self.server).paired(take_over=True)
        else:
            page = RawPage(self.server, secret=self.page.secret).hello()
        self.page = page
        page.camera(still=self.shape[::-1])
        self.thread = Thread(target=self._answer, args=(page,))
        self.thread.start()

    def pull(self):
        """Go without a word."""
        self.page.close()
        self.thread.join(10)

    def _answer(self, page):
        with suppress(ConnectionClosed):
            while True:
                asked = page.heard("take", timeout_s=None)
                if self.deaf:
                    continue
                self.taken += 0 if self.frozen and self.taken else 1
                data = jpeg(noise=self.taken, size=self.shape[::-1])
                put_still(self.server, data, secret=page.secret, request=asked["request"])


def still_alive(server):
    """Pair anew and see a preview picture arrive."""
    page, stream = RawPage(server).paired(name="later", take_over=True), server.hub.frames()
    page.preview(1)
    assert stream.read().pixels.shape == (48, 64, 3)
    page.close()
    return True


def until(condition, timeout_s=10):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.01)
