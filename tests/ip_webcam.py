"""A phone's camera app as IP Webcam serves it: MJPEG, stills, settings and status, with the faults of real ones."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from phone_files import jpeg_bytes

OFFERED = {
    "manual_sensor": ["on", "off"], "iso": ["50", "3200"], "exposure_ns": ["100000", "200000000"],
    "whitebalance": ["auto", "daylight", "cloudy-daylight"], "focusmode": ["auto", "off", "continuous-picture"],
    "photo_size": ["96x64", "64x96", "48x32"],
}


class IpWebcam:
    """Serves a noisy picture while its with-block runs.

    Attributes
    ----------
    deaf : set of str
        Settings that are accepted and not made.
    told_exposure_s, told_iso
        What a still's notes say, where it is not what is set.
    late_s : float
        How long it takes a still, before anything of its answer comes.
    forget_after_still : bool
        The app goes back to automatic exposure after a still.
    """

    def __init__(self, shape=(64, 96), *, password=None):
        self.shape, self.password = shape, password
        self.curvals = {
            "manual_sensor": "off", "iso": "400", "exposure_ns": "33333333", "whitebalance": "auto",
            "focusmode": "continuous-picture", "focus_distance": "0.0", "orientation": "landscape", "zoom": "100",
            "quality": "90", "photo_size": "96x64",
        }
        self.deaf, self.told_exposure_s, self.told_iso = set(), None, None
        self.forget_after_still = self.frozen = self.truncated = self.trickles = False
        self.notes, self.late_s = True, 0.0
        self.orientation = None
        self.asked = []
        self.stills = self.frames = 0
        self._port = 0
        self._server = None
        self._open = threading.Event()

    def __enter__(self):
        self.plug()
        return self

    def __exit__(self, *_):
        self.pull()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def plug(self):
        """Answer at the same port as before."""
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                app._answer(self)

            def log_message(self, *_):
                pass

        self._open.set()
        ThreadingHTTPServer.allow_reuse_address = True
        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def pull(self):
        """Refuse connections, as a phone that fell asleep."""
        self._open.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def _answer(self, request):
        parts = urlsplit(request.path)
        self.asked.append(request.path)
        if self.password is not None:
            wanted = "Basic " + base64.b64encode(self.password.encode()).decode()
            if request.headers.get("Authorization") != wanted:
                request.send_error(401)
                return
        if parts.path == "/status.json":
            avail = OFFERED if "show_avail=1" in parts.query else {}
            body = {"video_connections": 0, "curvals": self.curvals, **({"avail": avail} if avail else {})}
            self._send(request, json.dumps(body).encode(), "application/json")
        elif parts.path.startswith("/settings/"):
            key, value = parts.path.rpartition("/")[2], parse_qs(parts.query)["set"][0]
            if key not in self.deaf:
                # A sensor rounds exposures to whole lines.
                self.curvals[key] = str(round(int(value) / 10_101) * 10_101) if key == "exposure_ns" else value
            self._send(request, b"Ok", "text/html")
        elif parts.path in ("/photo.jpg", "/photoaf.jpg", "/shot.jpg"):
            data = self._still()
            time.sleep(self.late_s)
            self._send(request, data, "image/jpeg", cut=self.truncated)
            if self.forget_after_still:
                self.curvals |= {"manual_sensor": "off", "exposure_ns": "33333333"}
        elif parts.path == "/video":
            self._stream(request)
        else:
            request.send_error(404)

    def _still(self):
        if not self.frozen:
            self.stills += 1
        told_s = self.told_exposure_s or int(self.curvals["exposure_ns"]) / 1e9
        return jpeg_bytes(
            seed=self.stills, shape=self.shape, after_s=self.stills, told=self.notes, exposure_s=told_s,
            iso=self.told_iso or int(self.curvals["iso"]), orientation=self.orientation,
        )

    def _send(self, request, data, kind, *, cut=False):
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if self.trickles:
            for byte in data:
                with suppress(OSError):
                    request.wfile.write(bytes((byte,)))
                if not self._open.wait(0) or not self.trickles:
                    return
                time.sleep(0.05)
            return
        with suppress(OSError):
            request.wfile.write(data[: len(data) // 2] if cut else data)

    def _stream(self, request):
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        while self._open.is_set():
            self.frames += 0 if self.frozen else 1
            data = jpeg_bytes(seed=self.frames, shape=self.shape)
            try:
                request.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data)
                )
            except OSError:
                return
            time.sleep(0.02)


