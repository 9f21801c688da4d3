"""The server of the phone's page: opened on one address, run in a thread, closed cleanly."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from websockets.exceptions import InvalidState

from mobilescope.core.closing import Closing
from mobilescope.core.errors import DeviceError, PortError
from mobilescope.devices.phone_page.addresses import host_names, is_loopback, reachable_at
from mobilescope.devices.phone_page.certificate import Certificate, certificate_for
from mobilescope.devices.phone_page.hub import PhoneHub
from mobilescope.devices.phone_page.messages import MAX_MESSAGE_BYTES
from mobilescope.devices.phone_page.routes import page_app

_START_S = 15.0
_PING_S = 4.0


@dataclass(frozen=True)
class Listening:
    """Where the server listens, for people."""

    urls: tuple[str, ...]
    loopback: bool
    certificate: Certificate | None

    def exposure(self) -> list[str]:
        """Return what is exposed to whom, a sentence each."""
        if self.loopback:
            return [
                f"listening on {self.urls[0]}: this computer alone can reach it, and a phone on its USB cable",
            ]
        lines = [
            f"listening on {self.urls[0]}: everyone in this network can open the page; pictures go only to and from "
            "a phone that was paired with the code",
        ]
        if self.certificate is not None:
            lines.append(
                "the phone will warn of a certificate that nobody vouches for; compare its SHA-256 before you go on: "
                f"{self.certificate.fingerprint}"
            )
        return lines


class PhonePageServer(Closing):
    """Serves a hub's page until it is closed: HTTP on the loopback, HTTPS elsewhere, as browsers ask for cameras.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0 takes a free one.
    state : Path
        Folder that keeps the certificate.

    Raises
    ------
    PortError
        The address or port can't be had.
    DeviceError
        The server did not start; nothing of it is left.
    """

    def __init__(self, hub: PhoneHub, *, host: str, port: int, state: Path) -> None:
        self.hub = hub
        loopback = is_loopback(host)
        reached = reachable_at(host)
        self._socket = _bound("127.0.0.1" if host == "localhost" else host, port)
        self.port = int(self._socket.getsockname()[1])
        try:
            certificate = None if loopback else certificate_for(reached, state)
        except BaseException:
            self._socket.close()
            raise
        scheme = "http" if certificate is None else "https"
        shown = ("localhost",) if loopback else tuple(f"[{name}]" if ":" in name else name for name in reached)
        self.listening = Listening(tuple(f"{scheme}://{name}:{self.port}" for name in shown), loopback, certificate)
        # Compressed pictures don't shrink by being compressed again: it only takes time.
        config = uvicorn.Config(
            page_app(hub, host_names(host)), log_config=None, log_level="error", access_log=False, lifespan="off",
            server_header=False, proxy_headers=False, ws="websockets-sansio", ws_per_message_deflate=False,
            ws_max_size=MAX_MESSAGE_BYTES, ws_ping_interval=_PING_S, ws_ping_timeout=2 * _PING_S,
            timeout_graceful_shutdown=1, limit_concurrency=64,
            ssl_certfile=None if certificate is None else certificate.file,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._serve, name="phone page", daemon=True
        )
        self._failure: Exception | None = None
        self._thread.start()
        try:
            self._wait_for_start(certificate)
        except BaseException:
            self.close()
            raise

    def _wait_for_start(self, certificate: Certificate | None) -> None:
        until_s = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive():
                remedy = "choose another --port, or start it again"
                if certificate is not None and isinstance(self._failure, ssl.SSLError):
                    remedy = f"remove {certificate.file}: another one is made"
                why = self._failure or "it ended at once"
                raise DeviceError(f"the page's server did not start: {why}", remedy) from self._failure
            if time.monotonic() > until_s:
                raise DeviceError(f"the page's server did not start within {_START_S:g} s", "start it again")
            time.sleep(0.01)

    def _serve(self) -> None:
        """Serve until told to end."""
        try:
            self._server.run(sockets=[self._socket])
        except InvalidState:
            # A page that was going as the server ended: uvicorn says goodbye to it once more, and may not.
            if not self._server.should_exit:
                raise
        except Exception as error:
            if self._server.started:
                raise
            self._failure = error

    def pairing_url(self, code: str) -> str:
        """Return the address that pairs a phone; the code stands where browsers don't send it over the network."""
        return f"{self.listening.urls[0]}/#{code}"

    def close(self) -> None:
        """Let the phone go and end the server's thread."""
        self._server.should_exit = True
        self._thread.join(10)
        self.hub.close()
        self._socket.close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError as error:
        raise PortError(f"{host!r} is no address", "give one of this computer's, such as 127.0.0.1") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortError(f"port {port} is taken", "end the program that has it, or choose another --port") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise PortError(f"this computer has no address {host}", "give one of its own, or --lan") from error
        raise PortError(f"{host}:{port} can't be listened on: {error.strerror}", "choose another --port") from error
    return listener
