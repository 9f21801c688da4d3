"""A camera that sends its pictures over HTTP as phones and network cameras do, and whose cable can be pulled."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

BOUNDARY = b"frame"
FRAME_S = 0.02


class MjpegCamera:
    """Sends one picture (rows, columns, 3) uint8 RGB again and again while its with-block runs."""

    def __init__(self, picture):
        self.show(picture)
        self._plugged = threading.Event()
        self._plugged.set()
        self._server = None
        self._port = 0

    def __enter__(self):
        self.plug()
        return self

    def __exit__(self, *_):
        self.pull()

    def show(self, picture):
        """Send another picture from now on."""
        ok, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert ok
        self._jpeg = bytes(data)

    def send(self, data):
        """Send other bytes in place of a picture from now on."""
        self._jpeg = data

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}/video"

    def plug(self):
        """Answer at the same port as before."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}")
                self.end_headers()
                part = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                while camera._plugged.is_set():
                    jpeg = camera._jpeg
                    try:
                        self.wfile.write(part % (BOUNDARY, len(jpeg), jpeg))
                    except OSError:
                        return
                    time.sleep(FRAME_S)

            def log_message(self, *_):
                pass

        self._plugged.set()
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def pull(self):
        """Go silent, and refuse connections."""
        if self._server is None:
            return
        self._plugged.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = None
