"""A camera that sends H.264 over RTSP as phones and network cameras do, with the faults of real ones.

RTSP 1.0 (RFC 2326) with the stream inside the same connection, or over UDP; H.264 in RTP (RFC 6184).
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from phone_files import SHAPE

_CLOCK_HZ = 90_000
_MOST_BYTES = 1200
_PAYLOAD = 96
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 461: "Unsupported Transport", 501: "Not Implemented"}


def noise(number, shape):
    """Return a picture like no other number's, with the same mean."""
    return np.random.default_rng(number).integers(40, 200, (*shape, 3), dtype=np.uint8)


class RtspCamera:
    """Serves pictures while its with-block runs.

    Attributes
    ----------
    picture : callable
        (number, shape) to a picture (rows, columns, 3) uint8 RGB.
    transports : set of str
        What it agrees to: "tcp", "udp".
    frozen : bool
        The same picture again and again.
    mute : bool
        Everything is agreed to, and nothing is sent.
    deaf : bool
        Connections are taken, and no word is answered.
    missing : bool
        There is no stream at any path.
    last : int or None
        After so many pictures the camera says that it has ended (RTCP BYE), or sends no more where it ``hangs``.
    frame_s : float
        From one picture to the next.
    key_after : int
        A decoder can begin with the picture after so many: the stream is joined in the middle.
    damaged : set of int
        Numbers of pictures of which only the first byte is right.
    describes : bool
        What a decoder needs besides the pictures is told before them, as most cameras do.
    asked : list of str
        Each request's first line and its transport.
    """

    def __init__(self, picture=noise, *, shape=SHAPE, password=None):
        self.picture, self.shape, self.password = picture, shape, password
        self.transports = {"tcp"}
        self.frozen = self.mute = self.deaf = self.missing = self.hangs = False
        self.last, self.key_after, self.frame_s = None, 0, 0.02
        self.describes, self.damaged = True, set()
        self.asked = []
        self.sent = 0
        self._told = threading.Condition()
        self._port = 0
        self._plugged = threading.Event()
        self._threads, self._sockets = [], []

    def __enter__(self):
        self.plug()
        return self

    def __exit__(self, *_):
        self.pull()

    @property
    def url(self):
        return f"rtsp://127.0.0.1:{self._port}/live"

    def plug(self):
        """Answer at the same port as before."""
        listening = socket.create_server(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        self._plugged.set()
        self._sockets = [listening]
        self._begin(self._listen, listening)

    def pull(self):
        """Close every connection, and refuse others."""
        self._plugged.clear()
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for thread in self._threads:
            thread.join()
        self._threads, self._sockets = [], []

    def wait_for(self, sent):
        """Wait until so many pictures were sent."""
        with self._told:
            self._told.wait_for(lambda: self.sent >= sent)

    def _begin(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listening):
        while self._plugged.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self._sockets.append(connection)
            self._begin(self._serve, connection)

    def _serve(self, connection):
        talk = _Talk(connection)
        playing = None
        with suppress(OSError, ValueError), connection:
            while self._plugged.is_set():
                request = talk.request()
                if request is None:
                    break
                if self.deaf:
                    continue
                self.asked.append(f"{request.method} {request.headers.get('transport', '')}".strip())
                self._answer(talk, request)
                if request.method == "PLAY" and playing is None:
                    playing = threading.Thread(target=self._play, args=(talk,))
                    playing.start()
                if request.method == "TEARDOWN":
                    break
        talk.over.set()
        if playing is not None:
            playing.join()
        if talk.udp is not None:
            talk.udp.close()

    def _answer(self, talk, request):
        told = {"CSeq": request.headers.get("cseq", "0")}
        wanted = None if self.password is None else "Basic " + base64.b64encode(self.password.encode()).decode()
        if wanted is not None and request.headers.get("authorization") != wanted:
            talk.answer(401, told | {"WWW-Authenticate": 'Basic realm="camera"'})
        elif self.missing:
            talk.answer(404, told)
        elif request.method == "DESCRIBE":
            talk.answer(200, told | {"Content-Type": "application/sdp"}, self._sdp())
        elif request.method == "SETUP":
            transport = request.headers["transport"]
            ports = re.search(r"client_port=(\d+)", transport)
            if ("udp" if ports else "tcp") not in self.transports:
                talk.answer(461, told)
                return
            if ports:
                talk.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                talk.udp.bind(("127.0.0.1", 0))
                talk.udp.connect(("127.0.0.1", int(ports[1])))
                transport += f";server_port={talk.udp.getsockname()[1]}-{talk.udp.getsockname()[1] + 1}"
            talk.answer(200, told | {"Transport": transport, "Session": "7;timeout=60"})
        elif request.method in _METHODS.split(", "):
            talk.answer(200, told | {"Public": _METHODS, "Session": "7"})
        else:
            talk.answer(501, told)

    def _sdp(self):
        parameters = ""
        if self.describes:
            (first,) = _encoder(self.shape, 0).encode(av.VideoFrame.from_ndarray(noise(0, self.shape), format="rgb24"))
            sets = [base64.b64encode(unit).decode() for unit in _units(bytes(first)) if unit[0] & 0x1F in (7, 8)]
            parameters = f";sprop-parameter-sets={','.join(sets)}"
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            f"m=video 0 RTP/AVP {_PAYLOAD}\r\na=rtpmap:{_PAYLOAD} H264/{_CLOCK_HZ}\r\n"
            f"a=fmtp:{_PAYLOAD} packetization-mode=1{parameters}\r\na=control:track1\r\n"
        )

    def _play(self, talk):
        encoder = _encoder(self.shape, self.key_after)
        number = 0
        begun_s = time.monotonic()
        with suppress(OSError):
            while not talk.over.is_set() and self._plugged.is_set():
                if self.last is not None and number >= self.last:
                    if not self.hangs:
                        talk.bye()
                    return
                if not self.mute:
                    picture = self.picture(0 if self.frozen else self.sent + 1, self.shape)
                    for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                        ticks = int((time.monotonic() - begun_s) * _CLOCK_HZ)
                        talk.frame(bytes(packet), ticks, damaged=self.sent + 1 in self.damaged)
                    number += 1
                    with self._told:
                        self.sent += 1
                        self._told.notify_all()
                talk.over.wait(self.frame_s)


def _encoder(shape, key_after):
    """Return an encoder of which every picture stands alone, or one after ``key_after`` that need what came before."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = shape
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {
        "preset": "ultrafast", "tune": "zerolatency",
        "x264-params": f"keyint={key_after + 1}:min-keyint=1:scenecut=0:qp=12:repeat-headers=1:log-level=none",
    }
    if key_after:
        encoder.encode(av.VideoFrame.from_ndarray(noise(0, shape), format="rgb24"))
    return encoder


def _units(stream):
    """Return the units of H.264 between their start codes."""
    return [unit for unit in re.split(rb"\x00?\x00\x00\x01", stream) if unit]


@dataclass(frozen=True)
class _Request:
    method: str
    headers: dict[str, str]


@dataclass
class _Talk:
    """One client's connection: its requests, our answers, and the stream between them."""

    connection: socket.socket
    udp: socket.socket | None = None
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sequence: int = 0
    _heard: bytes = b""

    def request(self):
        """Return the next request, past the client's own reports; None at the end."""
        while True:
            if self._heard[:1] == b"$" and len(self._heard) >= 4:
                size = 4 + struct.unpack(">H", self._heard[2:4])[0]
                if len(self._heard) >= size:
                    self._heard = self._heard[size:]
                    continue
            elif b"\r\n\r\n" in self._heard:
                text, _, self._heard = self._heard.partition(b"\r\n\r\n")
                first, *lines = text.decode().split("\r\n")
                pairs = (line.partition(":") for line in lines)
                return _Request(first.split()[0], {name.strip().lower(): value.strip() for name, _, value in pairs})
            more = self.connection.recv(4096)
            if not more:
                return None
            self._heard += more

    def answer(self, status, headers, body=""):
        """Answer a request."""
        told = headers | ({"Content-Length": str(len(body))} if body else {})
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in told.items())]
        self._send("\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode())

    def frame(self, stream, ticks, *, damaged=False):
        """Send a picture of H.264: a small unit whole, a large one in fragments (FU-A)."""
        units = [unit[:1] + bytes(len(unit) - 1) if damaged else unit for unit in _units(stream)]
        for place, unit in enumerate(units):
            last = place == len(units) - 1
            if len(unit) <= _MOST_BYTES:
                self._packet(unit, ticks, last)
                continue
            head, body = unit[0], unit[1:]
            parts = range(0, len(body), _MOST_BYTES)
            for at in parts:
                begins, ends = at == 0, at == parts[-1]
                fragment = bytes((head & 0xE0 | 28, begins << 7 | ends << 6 | head & 0x1F))
                self._packet(fragment + body[at : at + _MOST_BYTES], ticks, last and ends)

    def bye(self):
        """Say that the stream has ended."""
        report = struct.pack(">BBHI", 0x80, 200, 6, 1) + bytes(20)
        self._interleaved(1, report + struct.pack(">BBHI", 0x81, 203, 1, 1))

    def _packet(self, payload, ticks, last):
        head = struct.pack(">BBHII", 0x80, last << 7 | _PAYLOAD, self._sequence & 0xFFFF, ticks & 0xFFFFFFFF, 1)
        self._sequence += 1
        if self.udp is not None:
            self.udp.send(head + payload)
        else:
            self._interleaved(0, head + payload)

    def _interleaved(self, channel, data):
        self._send(struct.pack(">BBH", 0x24, channel, len(data)) + data)

    def _send(self, data):
        with self._lock:
            self.connection.sendall(data)
