"""Which phone the page's server lets in: by a code that holds once or by its secret, and who takes over."""

from __future__ import annotations

import pytest
from phone_page_parts import RawPage, jpeg, put_still, serving, still_alive


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
