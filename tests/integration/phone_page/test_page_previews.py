"""The phone's preview: a stream that outlives connections, and what goes back to the page."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from phone_page_parts import RawPage, jpeg, still_alive, until

from mobilescope.devices.phone_page.clock import PhoneClock
from mobilescope.devices.phone_page.words import status_line

FRESH = 5


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
