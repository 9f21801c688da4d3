"""Stills that a phone sends: kept byte for byte, once, or refused so that nothing is left of them."""

from __future__ import annotations

import hashlib
import json
import socket
import time

import numpy as np
import pytest
from phone_page_parts import RawPage, jpeg, put_still, serving, still_alive, until
from PIL import Image


def test_a_still_is_kept_byte_for_byte_with_its_facts(server, tmp_path):
    page = RawPage(server).paired()
    data = jpeg(noise=1)
    settings = [{"name": "exposure", "state": "locked", "wanted": "5 ms", "got": "5 ms"}]
    status, answer = put_still(server, data, secret=page.secret, settings=settings, orientation="portrait-primary")
    assert (status, answer["width"], answer["height"], answer["again"]) == (200, 64, 48, False)
    kept = tmp_path / "stills" / answer["saved"]
    assert kept.read_bytes() == data
    notes = json.loads(kept.with_name(kept.name + ".json").read_text())
    assert notes["sha256"] == hashlib.sha256(data).hexdigest()
    assert notes["settings"] == settings
    assert notes["orientation"] == "portrait-primary"
    assert notes["phone"] == "test phone"


def test_a_still_sent_again_is_kept_once_also_after_the_server_was_started_anew(tmp_path):
    book = tmp_path / "phones.json"
    with serving(tmp_path, book=book) as server:
        page = RawPage(server).paired()
        first = put_still(server, jpeg(noise=1), secret=page.secret)[1]
        assert put_still(server, jpeg(noise=1), secret=page.secret)[1] == {**first, "again": True}
    with serving(tmp_path, book=book) as server:
        assert put_still(server, jpeg(noise=1), secret=page.secret)[1] == {**first, "again": True}
        assert server.hub.snapshot().stills == 1
    assert len(list((tmp_path / "stills").glob("*.jpg"))) == 1


@pytest.mark.parametrize("name", [
    "../../../etc/cron.d/evil.dng", "..\\..\\evil.dng", "/etc/passwd", ".bashrc", "a\0b.dng", "CON.dng",
    "x" * 900 + ".dng", "🔬 tissue.dng", "....//....//x", "-rf.dng",
])
def test_a_files_name_from_the_phone_leads_nowhere(server, tmp_path, name):
    page = RawPage(server).paired()
    data = b"II*\0" + name.encode()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    status, answer = put_still(server, data, secret=page.secret, source="file", name=name)
    assert status == 200
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent for path in new} == {tmp_path / "stills"}
    assert len(new) == 2
    kept = tmp_path / "stills" / answer["saved"]
    assert kept.read_bytes() == data
    assert kept.suffix == ".dng"
    assert len(kept.name) < 120
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in kept.name)


BAD_STILLS = {
    "unknown phone": ({"secret": "x"}, 401, "not paired"),
    "no digest": ({"digest": "../../x"}, 405, ""),
    "digest of another kind": ({"digest": "x" * 64}, 400, "SHA-256"),
    "damaged": ({"digest": "0" * 64}, 422, "damaged"),
    "too big": ({"length": 2**40}, 413, "at most"),
    "no picture": ({"data": b"MZ not a picture"}, 422, "neither JPEG"),
    "only begins as a JPEG": ({"data": b"\xff\xd8\xff\xe0 and no more"}, 422, "can't be read"),
    "header of no finite time": ({"wall_ms": float("nan")}, 422, "wall_ms"),
    "header not JSON": ({"header": b"{"}, 422, "not JSON"),
    "header of unknown keys": ({"more": 1}, 422, "more"),
    "header too long": ({"body": b"\xff\xff\xff\xff" + bytes(100)}, 422, "header"),
    "broken off": ({"body": b"\0\0\0\x50{"}, 422, "breaks off"),
}


@pytest.mark.parametrize(("changes", "status", "says"), BAD_STILLS.values(), ids=BAD_STILLS.keys())
def test_a_bad_still_is_refused_and_leaves_nothing(server, tmp_path, changes, status, says):
    page = RawPage(server).paired()
    options = {"data": jpeg(), "secret": page.secret} | changes
    got, answer = put_still(server, options.pop("data"), **options)
    assert got == status
    assert says in answer.get("reason", "") + answer.get("detail", "")
    assert list((tmp_path / "stills").iterdir()) == []
    assert still_alive(server)


def test_a_still_that_breaks_off_on_its_way_is_let_go_and_can_be_sent_again(server, tmp_path, caplog):
    page, data = RawPage(server).paired(), jpeg(noise=4)
    digest = hashlib.sha256(data).hexdigest()
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(
            f"PUT /stills/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {page.secret}\r\n"
            f"Content-Length: {len(data) + 200}\r\n\r\n".encode() + b"\0\0\0\x02{}"
        )
    until(lambda: not list((tmp_path / "stills").iterdir()))
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: nonsense\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")
    assert put_still(server, data, secret=page.secret)[0] == 200
    assert still_alive(server)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_still_is_refused_while_the_disk_is_full_and_taken_afterwards(small_disk):
    with serving(small_disk) as server:
        page = RawPage(server).paired()
        status, answer = put_still(server, jpeg(), secret=page.secret)
        assert status == 507
        assert "full" in answer["reason"]
        assert "phone keeps" in answer["reason"]


def test_a_still_of_another_size_than_the_camera_said_is_told(server):
    page = RawPage(server).paired()
    page.camera(still=(640, 480))
    until(lambda: server.hub.snapshot().camera)
    put_still(server, jpeg(), secret=page.secret)
    assert "64x48 pixels; the camera said 640x480" in page.heard("warning")["text"]


def test_the_clocks_difference_is_measured_and_kept_with_a_still(server, tmp_path):
    page = RawPage(server).paired()
    for _ in range(3):
        asked, wall_ms = page.heard("clock")["id"], 1000 * time.time() + 90_000
        page.say({"kind": "clock", "id": asked, "phone_ms": 5000.0, "wall_ms": wall_ms})
    until(lambda: server.hub.snapshot().clock)
    clock = server.hub.snapshot().clock
    assert clock.ahead_ms == pytest.approx(90_000, abs=clock.uncertainty_ms + 5)
    assert clock.worth_saying
    taken_s = time.time()
    answer = put_still(server, jpeg(), secret=page.secret, wall_ms=1000 * taken_s + 90_000)[1]
    notes = json.loads((tmp_path / "stills" / (answer["saved"] + ".json")).read_text())
    assert notes["taken_s"] == pytest.approx(taken_s, abs=0.1)
    assert notes["phone_clock_ahead_ms"] == pytest.approx(90_000, abs=100)


def test_stills_of_a_real_size_are_read_as_pictures(server, tmp_path):
    page = RawPage(server).paired()
    data = jpeg(size=(4000, 3000))
    answer = put_still(server, data, secret=page.secret)[1]
    with Image.open(tmp_path / "stills" / answer["saved"]) as picture:
        assert np.asarray(picture).shape == (3000, 4000, 3)
    assert (tmp_path / "stills" / answer["saved"]).read_bytes() == data
