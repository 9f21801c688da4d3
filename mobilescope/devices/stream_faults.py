"""Why an address gives no video: OpenCV tells no reason, so its host is asked once more, in a few words."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from mobilescope.core.addresses import credentials, without_secret

_PORTS = {"rtsp": 554, "http": 80}
_MOST_BYTES = 4096
_PLAYER = "check that the address opens in a browser or a video player on this machine"
_NETWORK = "wake the camera, start its server, and check the address and that both are in the same network"


def stream_fault(address: str, *, patience_s: float, let_in: bool = False) -> tuple[str, str]:
    """Return what the host of an address that gives no video says to it, and what to do about that.

    Parameters
    ----------
    address : str
        rtsp:// or http://; of others nothing is known, and the cause is empty. A name and password in it are not sent.
    patience_s : float
        How long the host may take for each step.
    let_in : bool
        Whether it sent pictures before, so that the name and password are right.
    """
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        return "", _PLAYER
    if host is None:
        return "it names no host", f"write it as {parts.scheme}://HOST/…"
    place = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), patience_s) as line:
            line.sendall(_question(parts.scheme, without_secret(address), place))
            answer = line.recv(_MOST_BYTES)
    except ConnectionRefusedError:
        return f"nothing listens at {place}", _NETWORK
    except socket.gaierror:
        return f"there is no host {host!r}", "check the address"
    except OSError as error:
        said = "did not answer" if isinstance(error, TimeoutError) else f"can't be reached ({error.strerror or error})"
        return f"{place} {said}", _NETWORK
    words = answer.partition(b"\r\n")[0].decode("latin-1").split(None, 2)
    status = words[1] if len(words) > 1 and words[1].isdigit() else ""
    if status in ("401", "403") and not let_in:
        if credentials(address) is None:
            return "it asks for a name and a password", f"write the address as {parts.scheme}://NAME:PASSWORD@{place}/…"
        return "it asks for a name and a password", f"check those in its address (%40 stands for an @); then {_PLAYER}"
    if status and status != "401" and not status.startswith("2"):
        return f"it answers {' '.join(words[1:])}", "check the path at the end of the address"
    return "it answers, but sends no video" if status else "", _PLAYER


def _question(scheme: str, address: str, place: str) -> bytes:
    if scheme == "rtsp":
        return f"DESCRIBE {address} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode()
    parts = urlsplit(address)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n".encode()
