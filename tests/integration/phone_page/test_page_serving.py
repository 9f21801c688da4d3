"""Where the page is served, to whom, and how that starts and ends."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from phone_page_parts import RawPage, request, serving, until

from mobilescope.core.errors import DeviceError, PortError, UserError
from mobilescope.devices.phone_page.addresses import lan_address


def test_a_page_of_another_site_gets_nowhere(server):
    assert RawPage(server, origin="https://elsewhere.example").closed()[0] == 4403
    assert RawPage(server, host="elsewhere.example").closed()[0] == 4403
    assert request(server, "GET", "/", headers={"Host": "elsewhere.example"})[0] == 421
    assert RawPage(server, origin=server.listening.urls[0], host=f"localhost:{server.port}").paired().secret


def test_the_page_is_served_and_nothing_beside_it(server, tmp_path):
    status, page = request(server, "GET", "/")
    assert status == 200
    assert b"Mobilescope" in page
    (tmp_path / "stills" / "secret.txt").write_text("mine")
    for path in ("/../messages.py", "/%2e%2e/messages.py", "/..%2f..%2fmessages.py", "//etc/passwd",
                 "/stills/secret.txt", "/js/../../messages.py", "/\\..\\messages.py", "/main.js%00.html"):
        assert request(server, "GET", path)[0] == 404, path


def test_the_loopback_alone_is_listened_on_unless_told_otherwise(server):
    try:
        own = lan_address()
    except UserError:
        pytest.skip("this machine is in no network")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own, server.port), timeout=5)
    assert "this computer alone" in server.listening.exposure()[0]


def test_in_the_network_it_speaks_tls_and_says_what_it_exposes(tmp_path):
    try:
        own = lan_address()
    except UserError:
        pytest.skip("this machine is in no network")
    with serving(tmp_path, host=own) as server:
        text = " ".join(server.listening.exposure())
        assert "everyone in this network" in text
        pem = ssl.get_server_certificate((own, server.port), timeout=10)
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
        assert digest in text.replace(":", "")
        assert server.listening.urls == (f"https://{own}:{server.port}",)
        key = tmp_path / "state" / "certificate.pem"
        assert key.stat().st_mode & 0o077 == 0
    with serving(tmp_path, host=own) as again:
        assert again.listening.certificate.fingerprint in text


def test_a_port_that_is_taken_and_an_address_of_another_computer_are_told(tmp_path, server):
    with pytest.raises(PortError, match=f"port {server.port} is taken"), serving(tmp_path, port=server.port):
        pass
    with pytest.raises(PortError, match="no address"), serving(tmp_path, host="192.0.2.7"):
        pass


def test_a_server_that_does_not_start_says_why_and_leaves_nothing_running(tmp_path):
    with serving(tmp_path, host="0.0.0.0") as server:
        port = server.port
    pem = tmp_path / "state" / "certificate.pem"
    pem.write_text(pem.read_text()[pem.read_text().index("-----BEGIN CERTIFICATE") :])
    said = "did not start.*remove .*certificate.pem"
    with pytest.raises(DeviceError, match=said), serving(tmp_path, host="0.0.0.0", port=port):
        pass
    assert "phone page" not in {thread.name for thread in threading.enumerate()}
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))


def test_closing_the_server_wakes_whoever_waits(tmp_path):
    with serving(tmp_path) as server:
        stream = server.hub.frames()
        pool = ThreadPoolExecutor(2)
        reading, asked = pool.submit(stream.read), pool.submit(server.hub.shutter.take, timeout_s=60)
        until(lambda: server.hub.shutter._asked)
    assert reading.result(10) is None
    with pytest.raises(DeviceError, match="closed"):
        asked.result(10)
    pool.shutdown()
