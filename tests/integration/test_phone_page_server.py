"""The server of the phone's page against pages that behave and pages that don't: it refuses, says why, and lives on."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from phone_files import jpeg_bytes
from phone_page_parts import RawPage, jpeg, put_still, request, serving
from PIL import Image

from mobilescope.core.errors import CancelledError, DeviceError, PortError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.addresses import lan_address
from mobilescope.devices.phone_page.clock import PhoneClock
from mobilescope.devices.phone_page.pictures import BrowserPictures, picture_of
from mobilescope.devices.phone_page.words import status_line

FRESH = 5


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as server:
        yield server


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


def test_a_code_pairs_one_phone_once(server):
    code = server.hub.desk.new_code()
    page = RawPage(server).hello(code=code.lower().replace("-", " "))
    assert page.heard("welcome")["secret"]
    again = RawPage(server).hello(code=code)
    assert again.closed() == (4401, "this code was used already; ask for a new one")
    assert server.hub.snapshot().phone == "test phone"
    assert any("used already" in event for event in server.events)


@pytest.mark.parametrize("code", ["", "0000-0000-0000-0000", "x" * 64, "é" * 20])
def test_a_wrong_code_lets_nobody_in(server, code):
    server.hub.desk.new_code()
    number, reason = RawPage(server).hello(code=code).closed()
    assert number == 4401
    assert "scan" in reason
    assert server.hub.snapshot().phone == ""
    assert still_alive(server)


def test_a_newer_code_makes_the_one_before_it_void(server):
    old = server.hub.desk.new_code()
    server.hub.desk.new_code()
    assert RawPage(server).hello(code=old).closed()[0] == 4401


def test_a_paired_phone_comes_back_by_its_secret_also_after_the_server_was_started_anew(tmp_path):
    book = tmp_path / "phones.json"
    with serving(tmp_path, book=book) as server:
        page = RawPage(server).paired()
        page.close()
        RawPage(server, secret=page.secret).hello().heard("welcome")
    assert page.secret not in book.read_text()
    assert book.stat().st_mode & 0o077 == 0
    with serving(tmp_path, book=book) as server:
        RawPage(server, secret=page.secret).hello().heard("welcome")
        server.hub.desk.forget_all()
        assert RawPage(server, secret=page.secret).hello().closed()[0] == 4401


def test_another_phone_takes_over_only_when_it_says_so_and_the_first_is_told(server):
    first = RawPage(server).paired(name="first")
    second = RawPage(server)
    code = server.hub.desk.new_code()
    assert second.hello(code=code, name="second").heard("occupied")["by"] == "first"
    assert server.hub.snapshot().phone == "first"
    second.hello(code=code, name="second", take_over=True)
    second.heard("welcome")
    assert first.heard("taken_over")["by"] == "second took over"
    assert first.closed() == (4409, "second took over")
    assert server.hub.snapshot().phone == "second"
    assert server.hub.snapshot().refused == 0
    # What waits on the first phone is still taken.
    assert put_still(server, jpeg(), secret=first.secret)[0] == 200


def test_the_same_phone_coming_back_needs_no_take_over(server):
    first = RawPage(server).paired()
    RawPage(server, secret=first.secret).hello().heard("welcome")
    assert first.closed()[0] == 4409


NOT_PAIRED = ["{}", "[]", "x", '{"kind":"clock","id":1,"phone_ms":0,"wall_ms":0}']
MALFORMED = {
    "not JSON": "{",
    "nested": "[" * 900,
    "no object": "[1]",
    "no kind": "{}",
    "unknown kind": '{"kind":"format_disk"}',
    "kind of another type": '{"kind":["hello"]}',
    "unknown key": '{"kind":"visible","visible":true,"more":1}',
    "wrong type": '{"kind":"camera","width":"wide"}',
    "no figure": '{"kind":"clock","id":1,"phone_ms":NaN,"wall_ms":1}',
    "huge figure": '{"kind":"rates","fps":1e999}',
    "a second hello": '{"kind":"hello","protocol":1}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_message_ends_the_connection_with_its_reason(server, text):
    page = RawPage(server).paired()
    page.say(text)
    code, reason = page.closed()
    assert code == 4400
    assert reason.startswith("a ")
    assert server.hub.snapshot().refused == 1
    assert still_alive(server)


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x09" + bytes(40), b"\x02" + bytes(17) + b"x"])
def test_a_binary_message_that_is_no_preview_is_refused(server, data):
    page = RawPage(server).paired()
    page.socket.send(data)
    assert page.closed()[0] == 4400
    assert still_alive(server)


@pytest.mark.parametrize(("message", "says"), [
    (json.dumps({"kind": "visible", "visible": True}) + " " * 200, "'visible'"),
    (json.dumps({"kind": "rates", "fps": 1}) + " " * 60_000, "at most"),
    ("x" * 5_000_000, "at most"),
    (bytes(5_000_000), "at most"),
])
def test_an_oversized_message_is_refused(server, message, says):
    page = RawPage(server).paired()
    page.try_to(lambda: page.socket.send(message))
    code, reason = page.closed()
    assert code == 1009
    assert says in reason
    assert still_alive(server)


def test_a_message_that_would_fill_the_memory_is_cut_off(server):
    page = RawPage(server).paired()
    page.try_to(lambda: page.socket.send(bytes(20_000_000)))
    until(lambda: server.hub.snapshot().phone == "")
    assert still_alive(server)


def test_before_pairing_nothing_but_a_hello_is_listened_to(server):
    for text in NOT_PAIRED:
        page = RawPage(server)
        page.say(text)
        assert page.closed()[0] in (4400, 4401)
    page = RawPage(server)
    page.preview(1)
    assert page.closed()[0] == 4401
    assert server.hub.snapshot().pictures == 0


def test_a_page_of_another_version_is_told_to_reload(server):
    assert RawPage(server).hello(code=server.hub.desk.new_code(), protocol=99).closed() == (
        4426, "this page is of another version; reload it",
    )


def test_only_so_many_strangers_may_wait(server):
    strangers = [RawPage(server) for _ in range(8)]
    assert RawPage(server).closed()[0] == 4429
    for stranger in strangers:
        stranger.close()
    until(lambda: RawPage(server).hello(code="x").closed()[0] == 4401)


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


def test_a_still_that_was_asked_for_is_waited_for_over_a_lost_connection(server):
    page = RawPage(server).paired()
    page.camera()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.hub.take, timeout_s=20)
        request_id = page.heard("take")["request"]
        page.close()
        again = RawPage(server, secret=page.secret).hello()
        assert again.heard("take")["request"] == request_id
        put_still(server, jpeg(noise=3), secret=page.secret, request=request_id)
        assert asked.result().path.read_bytes() == jpeg(noise=3)


@pytest.mark.parametrize(("told", "exposure_ms", "iso"), [
    ({}, 20, 100),
    ({"exposure": "", "iso": "unknown"}, 20, 100),
    ({"exposure": "nan ms", "iso": "nan"}, 20, 100),
    ({"exposure": "-inf", "iso": "inf"}, 20, 100),
    ({"exposure": "0 ms", "iso": "1e300"}, 20, 100),
    ({"exposure": "5 ms", "iso": "200"}, 20, 100),
])
def test_a_still_was_taken_with_what_its_own_notes_tell_whatever_the_page_knows(server, told, exposure_ms, iso):
    picture = taken_by_page(server, jpeg_bytes(iso=100, exposure_s=0.02), told)
    assert (picture.exposure_ms, picture.iso) == (exposure_ms, iso)


def taken_by_page(server, data, told, state="free"):
    """Return a still as a picture, sent with what the page read of its camera's settings."""
    page, kept = RawPage(server).paired(take_over=True), []
    server.hub.on_still(kept.append)
    settings = [{"name": name, "state": state, "got": got} for name, got in told.items()]
    put_still(server, data, secret=page.secret, settings=settings)
    return picture_of(kept[0])


@pytest.mark.parametrize(("exif", "exposure_ms", "iso"), [
    ({"told": False}, 5, 200), ({"iso": 0}, 20, 200), ({"exposure_s": 0}, 5, 100),
])
def test_what_a_stills_notes_do_not_tell_is_the_pages(server, exif, exposure_ms, iso):
    data = jpeg_bytes(**{"iso": 100, "exposure_s": 0.02} | exif)
    picture = taken_by_page(server, data, {"exposure": "5 ms", "iso": "200"})
    assert (picture.exposure_ms, picture.iso) == (exposure_ms, iso)
    unknown = taken_by_page(server, jpeg(noise=7), {})
    assert (np.isnan(unknown.exposure_ms), unknown.iso) == (True, 0)


@pytest.mark.parametrize(("told", "differ"), [
    ({"exposure": "5 ms", "iso": "200"}, "exposure 20 ms, page 5 ms; iso 100, page 200"),
    ({"exposure": "19 ms", "iso": "100"}, None),
])
def test_a_still_that_was_taken_otherwise_than_the_page_reads_says_so(server, told, differ):
    picture = taken_by_page(server, jpeg_bytes(iso=100, exposure_s=0.02), told)
    assert picture.facts.get("notes_differ") == differ
    assert picture.facts["exposure"] == f"free {told['exposure']}"


@pytest.mark.parametrize(("state", "times"), [("locked", 1), ("free", 0)])
def test_a_phone_that_takes_stills_apart_from_what_is_locked_is_told_once(server, state, times):
    page = RawPage(server).paired()
    page.camera()
    source = BrowserPictures(lambda: nullcontext(server.hub), by_hand=False, patience_s=20)
    settings = [{"name": "exposure", "state": state, "got": "5 ms"}, {"name": "iso", "state": state, "got": "100"}]
    with ThreadPoolExecutor(1) as pool:
        for number in range(2):
            taking = pool.submit(source.take, StopToken(), ())
            data = jpeg_bytes(seed=number, iso=100, exposure_s=0.02)
            put_still(server, data, secret=page.secret, request=page.heard("take")["request"], settings=settings)
            assert taking.result(20).exposure_ms == 20
    warnings = [event for event in server.events if "exposure is locked at 5 ms" in event]
    assert len(warnings) == times
    assert all("the still's own notes say 20 ms" in event for event in warnings)
    assert not any("iso is locked" in event for event in server.events)
    source.close()


def test_who_asks_for_a_still_hears_why_none_comes(server):
    with pytest.raises(DeviceError, match="no phone is connected"):
        server.hub.take(timeout_s=0.05)
    page = RawPage(server).paired(name="Pixel")
    page.camera()
    page.say({"kind": "visible", "visible": False})
    until(lambda: not server.hub.snapshot().awake)
    with pytest.raises(DeviceError, match="Pixel is asleep"):
        server.hub.take(timeout_s=0.05)
    page.say({"kind": "visible", "visible": True})
    page.say({"kind": "camera_failed", "reason": "another app uses it"})
    until(lambda: server.hub.snapshot().camera_failure)
    with pytest.raises(DeviceError, match="another app uses it"):
        server.hub.take(timeout_s=0.05)
    page = RawPage(server, secret=page.secret).hello()
    page.camera()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.hub.take, timeout_s=20)
        page.say({"kind": "take_failed", "request": page.heard("take")["request"], "reason": "too dark"})
        with pytest.raises(DeviceError, match="too dark"):
            asked.result()


def test_a_phone_that_is_turned_or_changes_its_resolution_is_noticed(server):
    page = RawPage(server).paired()
    page.camera(still=(400, 300))
    page.camera(still=(300, 400))
    assert "turned" in page.heard("warning")["text"]
    assert "turned" in server.hub.snapshot().warning
    page.camera(still=(400, 300))
    assert page.heard("warning")["text"] == ""
    page.camera(still=(200, 150))
    assert "resolution changed: stills are 200x150" in page.heard("warning")["text"]


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


def test_preview_pictures_come_as_a_stream_that_outlives_the_connection(server):
    stream = server.hub.frames()
    page = RawPage(server).paired(name="Pixel")
    page.preview(1)
    assert page.heard("seen")["number"] == 1
    first = stream.read()
    assert stream.name == "phone page (Pixel)"
    page.close()
    until(lambda: server.hub.snapshot().phone == "")
    again = RawPage(server, secret=page.secret).hello()
    again.heard("welcome")
    again.preview(7, size=(48, 64))
    second = stream.read()
    assert second.pixels.shape == (64, 48, 3)
    assert (first.index, second.index) == (0, 1)
    assert first.pixel_size_um == 0.9
    stream.close()
    assert stream.read() is None


def test_a_preview_that_cant_be_decoded_is_asked_for_anew_and_given_up_in_the_end(server):
    page = RawPage(server).paired()
    page.preview(1, data=b"\xff\xd8 not a picture")
    page.heard("key_wanted")
    # A picture that is larger than it says is not unpacked.
    page.preview(2, data=jpeg(size=(640, 480)))
    page.preview(3)
    assert page.heard("seen")["number"] == 3
    for number in range(FRESH, 90):
        page.try_to(lambda number=number: page.preview(number, kind=1, data=b"\0\0\0\1garbage"))
        time.sleep(0.002)
    assert page.closed() == (4400, "the preview can't be decoded")
    assert still_alive(server)


def test_a_preview_that_fails_on_this_computer_is_told_and_goes_on_with_the_next_picture(server, monkeypatch):
    page, stream = RawPage(server).paired(), server.hub.frames()

    def no_room(_frame):
        raise RuntimeError("no more room")

    with monkeypatch.context() as broken:
        broken.setattr(stream, "put", no_room)
        page.preview(1)
        until(lambda: server.hub.snapshot().preview_failure)
    assert "no more room" in status_line(server.hub.snapshot())
    assert any("no more room" in event for event in server.events)
    page.preview(2)
    assert stream.read().pixels.shape == (48, 64, 3)
    until(lambda: server.hub.snapshot().preview_failure == "")


def test_the_phones_clock_is_read_by_one_thread_while_another_takes_answers():
    clock, ended = PhoneClock(), threading.Event()

    def answer():
        while not ended.is_set():
            clock.answer(clock.ask(), phone_ms=1.0, wall_ms=1.0)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(answer)
            try:
                for _ in range(20_000):
                    clock.monotonic_s(1.0)
            finally:
                ended.set()
            answering.result()
    finally:
        sys.setswitchinterval(before)
    assert clock.reading is not None


def test_an_enhanced_picture_goes_back_with_its_delay(server):
    page, stream = RawPage(server).paired(), server.hub.frames()
    page.preview(1, captured_ms=123.5)
    frame = stream.read()
    server.hub.show_enhanced(b"\xff\xd8picture", frame, method="full", trust="trusted", note="")
    data = page.heard("picture")
    length = int.from_bytes(data[:2], "big")
    header = json.loads(data[2 : 2 + length])
    assert data[2 + length :] == b"\xff\xd8picture"
    assert header["captured_ms"] == 123.5
    assert header["delay_ms"] >= 0


def test_an_operator_who_comes_late_sees_what_to_do(server):
    server.hub.guide("Field 3: go there.", "go")
    page = RawPage(server).paired()
    assert page.heard("guidance") == {"kind": "guidance", "text": "Field 3: go there.", "level": "go"}


def test_waiting_for_a_phone_ends_when_a_stop_is_asked_for(server):
    stop = StopToken()
    source = BrowserPictures(lambda: nullcontext(server.hub), by_hand=True, patience_s=60)
    source.prepare()
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(source.take, stop, ())
        stop.request()
        with pytest.raises(CancelledError):
            taking.result(10)
    source.close()


def test_closing_the_server_wakes_whoever_waits(tmp_path):
    with serving(tmp_path) as server:
        stream = server.hub.frames()
        pool = ThreadPoolExecutor(2)
        reading, asked = pool.submit(stream.read), pool.submit(server.hub.take, timeout_s=60)
        until(lambda: server.hub._asked)
    assert reading.result(10) is None
    with pytest.raises(DeviceError, match="closed"):
        asked.result(10)
    pool.shutdown()


def test_stills_of_a_real_size_are_read_as_pictures(server, tmp_path):
    page = RawPage(server).paired()
    data = jpeg(size=(4000, 3000))
    answer = put_still(server, data, secret=page.secret)[1]
    with Image.open(tmp_path / "stills" / answer["saved"]) as picture:
        assert np.asarray(picture).shape == (3000, 4000, 3)
    assert (tmp_path / "stills" / answer["saved"]).read_bytes() == data
