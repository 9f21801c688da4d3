"""Driver and simulated board each against the boards' documentation, so that they don't share one misunderstanding."""

from __future__ import annotations

import pytest
from grbl_board import GrblBoard
from sanga_board import SangaBoard
from transcripts import TranscriptWire, load

from mobilescope.devices.stages import GrblController, SangaboardController
from mobilescope.devices.stages.grbl_words import Report, parse_build, parse_report, parse_settings

DOCUMENTED_GRBL = {"version": "v1.1d.20161014", "note": "Some string", "options": "VL"}


@pytest.mark.parametrize(("name", "make"), [
    ("grbl-1.1.txt", lambda: GrblBoard(**DOCUMENTED_GRBL)),
    ("sangaboard-1.0.txt", lambda: SangaBoard(version="1.0.4")),
    ("sangaboard-0.5.txt", lambda: SangaBoard(version="0.5.1")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_simulated_board_says_what_the_documentation_says(name, make):
    board, now_s = make(), 0.0
    board.reset(now_s)
    heard = []
    for said in load(name):
        if said.who == ">":
            assert heard == [], f"said unasked before {said.text!r}"
            heard = _lines(board.feed(said.text.encode() + b"\n", now_s))
        elif said.who == "<":
            heard = heard or _lines(board.feed(b"", now_s))
            assert heard.pop(0) == said.text
        else:
            now_s += 60
            heard += _lines(board.feed(b"", now_s))
            at = board.at_mm if name.startswith("grbl") else board.at
            assert at == pytest.approx([float(value) for value in said.text.split()])
    assert heard == []


def _lines(data):
    return [line for line in data.decode().split("\r\n") if line]


def test_the_driver_understands_the_documented_grbl():
    report = ["<Idle|MPos:0.000,-10.000,5.000|FS:0,0|WCO:0.000,1.551,5.664>"]
    wire = TranscriptWire(load("grbl-1.1.txt"), {b"?": report})
    controller = GrblController(wire)
    assert controller.identity.firmware == "1.1d.20161014"
    assert controller.step_um == (4, 4, 4)
    assert controller.travel_um is None
    assert controller.state() == "idle"
    assert controller.position_um() == pytest.approx((0, -10_000, 5000))
    assert wire.asked == ["", "$I", "$$"]


@pytest.mark.parametrize(("name", "version"), [("sangaboard-1.0.txt", "1.0.4"), ("sangaboard-0.5.txt", "0.5.1")])
def test_the_driver_understands_the_documented_sangaboard(name, version):
    controller = SangaboardController(TranscriptWire(load(name), {}), (0.1, 0.1, 0.05))
    assert controller.identity.firmware == version
    assert controller.state() == "idle"
    assert controller.position_um() == pytest.approx((1.0, -2.0, 1.5))


@pytest.mark.parametrize(("line", "report"), [
    ("<Idle|MPos:0.000,-10.000,5.000|F:500>", Report("idle", (0, -10, 5), True, None)),
    ("<Hold:0|WPos:-2.500,0.000,11.000|FS:500,8000>", Report("hold", (-2.5, 0, 11), False, None, 0)),
    ("<Jog|WPos:-2.500,0.000,11.000|Bf:15,128|FS:500,8000|WCO:0.000,1.551,5.664>",
     Report("jog", (-2.5, 0, 11), False, (0, 1.551, 5.664))),
    ("<Door:2|MPos:1.000,2.000,3.000,4.000|Ln:99999>", Report("door", (1, 2, 3), True, None, 2)),
])
def test_documented_status_reports_are_read(line, report):
    assert parse_report(line) == report


@pytest.mark.parametrize("line", [
    "", "ok", "<Idle>", "<Idle|MPos:0.000,0.000>", "<Idle|MPos:0.0-0,0.000,0.000>", "<Idle|MPos:0.000,0.000,0.0",
    "Idle|MPos:0.000,0.000,0.000|F:0>", "<Id<Idle|MPos:0.000,0.000,0.000|F:0>", "<Idle|MPos:0,0,0|WCO:1,2>",
])
def test_a_damaged_report_is_none(line):
    assert parse_report(line) is None


def test_documented_settings_and_build_are_read():
    said = [line.text for line in load("grbl-1.1.txt") if line.who == "<"]
    settings = parse_settings(said)
    assert len(settings) == 34
    assert (settings[0], settings[11], settings[130]) == (10, 0.01, 200)
    assert parse_build(said) == ("1.1d.20161014", "VL")
    assert parse_build(["ok"]) == ("", "")
