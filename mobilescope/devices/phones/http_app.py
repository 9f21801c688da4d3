"""The HTTP of a camera app that speaks as IP Webcam does: stills, settings and its status, each with a deadline."""

from __future__ import annotations

import base64
import json
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlsplit

from mobilescope.core.addresses import credentials, without_secret
from mobilescope.core.errors import DeviceError, LinkLostError, UserError

_MOST_BYTES = 256 * 1024**2
_CHUNK = 256 * 1024
_CONNECT_S = 5.0


class HttpApp:
    """One app's server.

    Parameters
    ----------
    address : str
        Such as ``http://192.168.1.20:8080``, with ``name:password@`` before the host where the app asks for them.
    patience_s : float
        How long one answer may take in all.
    """

    def __init__(self, address: str, *, patience_s: float) -> None:
        self.shown = without_secret(address).rstrip("/")
        self._patience_s = patience_s
        self._headers = {}
        known = credentials(address)
        if known is not None:
            token = base64.b64encode(":".join(known).encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def status(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Return the app's current settings, and what it offers for each of them where it tells.

        Raises
        ------
        LinkLostError, DeviceError, UserError
            No answer in time; an answer that is none of such an app; a password is wanted.
        """
        data = self.get("/status.json?show_avail=1")
        try:
            told = json.loads(data)
            current, offered = told["curvals"], told.get("avail", {})
            return (
                {str(key): str(value) for key, value in current.items()},
                {str(key): [str(each) for each in values] for key, values in offered.items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeviceError(
                f"{self.shown}/status.json is not what IP Webcam answers", "check the address, and which app serves it"
            ) from error

    def change(self, key: str, value: str) -> None:
        """Ask for a setting; whether it took is for the status to tell."""
        self.get(f"/settings/{quote(key, safe='')}?set={quote(value, safe='')}")

    def get(self, path: str) -> bytes:
        """Return what stands at a path, whole."""
        place = urlsplit(self.shown)
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        try:
            # Asked straight: a proxy of this computer's network doesn't know the phone, and the phone has no business
            # sending us elsewhere.
            connection = kind(place.hostname or "", place.port, timeout=min(_CONNECT_S, self._patience_s))
            try:
                connection.connect()
                return self._answer(connection, place.path, path)
            finally:
                connection.close()
        except (OSError, HTTPException, ValueError) as error:
            raise self._lost(error) from error

    def _answer(self, connection: HTTPConnection, base: str, path: str) -> bytes:
        """Return the answer on an open connection; it may come late where an app focuses first or exposes for long."""
        deadline_s, line = time.monotonic() + self._patience_s, connection.sock
        try:
            _wait_until(line, deadline_s)
            connection.request("GET", base + path, headers=self._headers)
            answer = connection.getresponse()
            self._check_status(answer, path)
            return self._whole(answer, line, deadline_s, path)
        except TimeoutError as error:
            raise self._lost(f"no whole answer in {self._patience_s:g} s") from error

    def _check_status(self, answer: HTTPResponse, path: str) -> None:
        if answer.status in (401, 403):
            raise UserError(
                f"{self.shown} wants a user name and a password", "write the address as http://NAME:PASSWORD@HOST:PORT"
            )
        if not 200 <= answer.status < 300:
            raise DeviceError(
                f"{self.shown}{path} answers {answer.status} {answer.reason}",
                "check the address, and which app serves it",
            )

    def _whole(self, answer: HTTPResponse, line: socket.socket, deadline_s: float, path: str) -> bytes:
        parts, size = [], 0
        while chunk := answer.read1(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > _MOST_BYTES:
                raise DeviceError(f"{self.shown}{path} sends more than {_MOST_BYTES >> 20} MiB", "check the address")
            _wait_until(line, deadline_s)
        promised = answer.headers.get("Content-Length")
        if promised is not None and promised.isdigit() and size < int(promised):
            raise self._lost(f"the answer broke off after {size} of {promised} bytes")
        return b"".join(parts)

    def _lost(self, reason: object) -> LinkLostError:
        return LinkLostError(
            f"the phone at {self.shown} does not answer ({reason})",
            "wake it, start the server in its camera app, and check that both are in the same network",
        )


def _wait_until(line: socket.socket, deadline_s: float) -> None:
    """Let the next read wait until the deadline; TimeoutError where that has passed."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    line.settimeout(left_s)
