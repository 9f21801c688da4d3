"""Messages of pages that don't behave: refused with a reason, and the server lives on."""

from __future__ import annotations

import json

import pytest
from phone_page_parts import RawPage, still_alive, until

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
