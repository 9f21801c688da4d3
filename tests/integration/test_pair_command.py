"""`mobilescope pair` as an operator meets it: live, scan first, phone first, resumed, refused, and registered."""

from __future__ import annotations

import math
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from integration.small_job import ENVIRONMENT, mobilescope, signalled
from PIL import Image

from mobilescope.app.cli import main
from mobilescope.app.paired_sessions.pair_operator import read_point
from mobilescope.core.errors import UserError
from mobilescope.data.session import Session

SHIFT, TURN = (60.0, -40.0), 15.0
INSTRUMENT = """\
name = "small twin"

[benchtop]
frame_rows = 256
frame_columns = 256

[twin]
seed = 4

[twin.phone]
bayer_rows = 256
bayer_columns = 256
position_error_um = 3.0
%s
[twin.slides.s]
specimen = "blood"
seed = 5
"""
PLAN = """\
[[slides]]
name = "s"
role = "blind"
scan = { rows = 5, columns = 6, focus = { every = 5 } }
"""
FIELDS = "capture = { rows = 1, columns = 2, overlap = -0.1 }\n"


def write(folder, *, turned=False, fields=FIELDS):
    frame = f"frame_shift_um = [{SHIFT[0]}, {SHIFT[1]}]\nframe_turn_deg = {TURN}\n" if turned else ""
    (folder / "instrument.toml").write_text(INSTRUMENT % frame)
    (folder / "plan.toml").write_text(PLAN + fields)


def command(name, *options):
    return "--config", "instrument.toml", name, "plan.toml", "--session", "s.h5", "--json", *options


def run(folder, name, *options):
    return mobilescope(*command(name, *options), folder=folder)


def links_of(folder):
    with Session.open(folder / "s.h5") as session:
        assert session.verify() == []
        return session.pair_links("s")


def captures_of(folder):
    with Session.open(folder / "s.h5") as session:
        return session.captures("s")


@pytest.fixture(scope="module")
def stitched(tmp_path_factory):
    """A folder with a slide that was scanned and stitched, by a phone scope whose frame is turned and shifted."""
    folder = tmp_path_factory.mktemp("stitched")
    write(folder, turned=True, fields="capture = { rows = 2, columns = 2, overlap = 0.0 }\n")
    run(folder, "scan").json()
    mobilescope("stitch", "s.h5", "--json", folder=folder).json()
    return folder


def on_phone(x, y):
    """Return a place of the benchtop's frame in the turned phone scope's."""
    angle, x, y = math.radians(TURN), x - SHIFT[0], y - SHIFT[1]
    return x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)


def three_links(miss_um=8.0):
    places = [(-120.0, -90.0), (130.0, -80.0), (10.0, 110.0)]
    given = []
    for number, (x, y) in enumerate(places):
        (px, py), off = on_phone(x, y), miss_um * (-1) ** number
        given += ["--link", f"{px:.1f},{py:.1f}={x + off:.1f},{y - off:.1f}"]
    return given


def test_both_instruments_live_then_nothing_is_left_and_inspect_counts_the_pairs(tmp_path):
    write(tmp_path)
    told = run(tmp_path, "pair", "--yes").json()
    slide = told["slides"]["s"]
    assert (slide["fields"], slide["accepted"], slide["refused"], slide["open"]) == (2, 2, 0, 0)
    assert slide["quality"]["fine"] + slide["quality"]["fair"] == 2
    assert 0.05 < slide["covered"] < 0.9
    assert slide["link_points"] == 2
    with Image.open(tmp_path / told["coverage_map"]) as picture:
        assert min(picture.size) > 300

    again = run(tmp_path, "pair", "--yes").json()["slides"]["s"]
    assert (again["accepted"], again["captures"]) == (2, 2)
    facts = mobilescope("inspect", "s.h5", "--json", folder=tmp_path).json()
    assert facts["slides"][0]["paired"] == {"accepted": 2}
    assert facts["problems"] == []


def test_three_places_link_turned_frames_more_fields_are_suggested_and_register_looks_where_they_were_found(
    stitched, tmp_path
):
    folder = shutil.copytree(stitched, tmp_path / "job")
    done = run(folder, "pair", "--yes", "--suggest", "1", *three_links())
    slide = done.json()["slides"]["s"]
    assert (slide["fields"], slide["accepted"], slide["refused"]) == (5, 5, 0)
    assert "slide s: link through 3 places: residual" in done.errors
    assert 1 < slide["link_residual_um"] < 25
    links = links_of(folder)
    for link in links:
        assert link.source == "mosaic"
        assert link.tiles
        assert math.dist(link.found_um, link.planned_um) < 40
        assert math.dist(link.phone_um, on_phone(*link.planned_um)) < 40
    assert [(link.row, link.column) for link in links] == [(0, 0), (0, 1), (1, 1), (1, 0), (-1, 0)]
    with Session.open(folder / "s.h5") as session:
        assert any("residual" in event.text for event in session.events())
    # The captures' own positions are another frame's, too far off for a search around them.
    registered = mobilescope("register", "s.h5", "--json", folder=folder).json()
    assert (registered["accepted"], registered["refused"]) == (5, 0)


def test_the_link_is_found_by_itself_in_a_mosaic_and_a_phone_on_the_wrong_field_is_told(stitched, tmp_path):
    folder = shutil.copytree(stitched, tmp_path / "job")
    # Taken for one with the benchtop's, the frame leads to other fields, which are found in the mosaic nevertheless.
    lost = run(folder, "pair", "--yes", "--retakes", "0").json()["slides"]["s"]
    assert lost["refused"] >= 3
    assert "another field" in lost["retake"][0]["reason"]
    assert "move the phone scope's view" in lost["retake"][0]["advice"]
    done = run(folder, "pair", "--yes", "--link", "auto", "--retake")
    slide = done.json()["slides"]["s"]
    assert (slide["accepted"], slide["refused"]) == (4, 0)
    assert "fields found on the benchtop's side: residual" in done.errors


def test_a_session_without_captures_has_nothing_to_pair_and_that_is_told(tmp_path):
    write(tmp_path)
    run(tmp_path, "scan").json()
    done = run(tmp_path, "pair", "--from-session")
    assert done.status == 2
    assert done.errors.splitlines()[-1].endswith(" has no captures of s to pair; capture or ingest them first")


def test_phone_first_and_the_scan_on_another_day(tmp_path):
    write(tmp_path)
    run(tmp_path, "capture").json()
    early = run(tmp_path, "pair", "--from-session")
    assert early.status == 2
    assert "was not scanned" in early.errors
    assert "Traceback" not in early.errors
    run(tmp_path, "scan").json()
    slide = run(tmp_path, "pair", "--from-session").json()["slides"]["s"]
    assert (slide["accepted"], slide["refused"], slide["captures"]) == (2, 0, 2)
    assert [link.index for link in links_of(tmp_path)] == [0, 1]


def test_ctrl_c_ends_after_the_field_at_hand_with_a_summary_and_the_same_command_goes_on(tmp_path):
    write(tmp_path, fields=FIELDS.replace("columns = 2, overlap = -0.1", "columns = 3, overlap = 0.1"))
    stopped = signalled(*command("pair", "--yes"), folder=tmp_path, after="pair s: 1/3", number=signal.SIGINT)
    assert stopped.status == 130, stopped.errors
    assert "Traceback" not in stopped.errors
    assert "run the same command again" in stopped.errors.splitlines()[-1]
    kept = links_of(tmp_path)
    assert 1 <= len(kept) <= 2
    assert f"{len(kept)} of 3 fields paired" in stopped.errors
    assert (tmp_path / "s.coverage.png").exists()
    slide = run(tmp_path, "pair", "--yes").json()["slides"]["s"]
    assert (slide["accepted"], slide["captures"]) == (3, 3)
    assert list(map(repr, links_of(tmp_path)[: len(kept)])) == list(map(repr, kept))


# The command, which waits to be killed where it is about to commit a pair whose capture is stored, after some others.
WAITS_BEFORE_THE_COMMIT = """
import signal, sys
from mobilescope.app.cli import main
from mobilescope.data.writer import SessionWriter

commit, left = SessionWriter.add_pair_link, int(sys.argv.pop(1))

def commit_or_wait(writer, link):
    global left
    if left == 0:
        print("about to commit", file=sys.stderr, flush=True)
        while True:
            signal.pause()
    left -= 1
    commit(writer, link)

SessionWriter.add_pair_link = commit_or_wait
main()
"""


@pytest.mark.parametrize("before", [0, 1])
def test_killed_between_a_capture_and_its_pair_the_same_command_pairs_that_capture(tmp_path, before):
    write(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS_BEFORE_THE_COMMIT, str(before), *command("pair", "--yes")], cwd=tmp_path,
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    with process, process.stderr as said:
        lines = []
        while not lines or lines[-1] not in ("about to commit\n", ""):
            lines.append(said.readline())
        process.kill()
    assert process.returncode == -signal.SIGKILL, "".join(lines)

    kept, stored = links_of(tmp_path), captures_of(tmp_path)
    assert [link.verdict for link in kept] == ["accepted"] * before
    assert len(stored) == before + 1
    facts = mobilescope("inspect", "s.h5", "--json", folder=tmp_path).json()
    assert (facts["state"], facts["problems"]) == ("interrupted", [])
    assert facts["slides"][0]["paired"] == ({"accepted": before} if before else {})

    slide = run(tmp_path, "pair", "--yes").json()["slides"]["s"]
    assert (slide["accepted"], slide["refused"], slide["open"], slide["captures"]) == (2, 0, 0, 2)
    links, captures = links_of(tmp_path), captures_of(tmp_path)
    assert [repr(link) for link in links[:before]] == [repr(link) for link in kept]
    # The capture without a pair was paired first, and its field was not taken again.
    assert [capture.sha256 for capture in captures[: before + 1]] == [capture.sha256 for capture in stored]
    assert [(link.index, link.row, link.column) for link in links] == [(0, 0, 0), (1, 0, 1)]
    assert [(capture.index, capture.row, capture.column) for capture in captures] == [(0, 0, 0), (1, 0, 1)]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path):
    write(tmp_path)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_500_000, 3_500_000))

    full = mobilescope(*command("pair", "--yes"), folder=tmp_path, before=limit)
    assert full.status == 1, full.errors
    assert "Traceback" not in full.errors
    assert full.errors.splitlines()[-1].startswith("error: ")
    assert "free some space" in full.errors.splitlines()[-1]
    links_of(tmp_path)  # which verifies the session
    slide = run(tmp_path, "pair", "--yes").json()["slides"]["s"]
    assert (slide["accepted"], slide["refused"]) == (2, 0)


@pytest.mark.parametrize(("options", "words"), [
    (["--link", "1,2=3"], ("'1,2=3'", "x1,y1=X1,Y1")),
    (["--link", "1,2=3,4"], ("needs 3 places",)),
    (["--link", "auto", "--link", "1,2=3,4"], ("auto alone",)),
    (["--from-session"], ("no session", "capture first")),
    (["--slide", "t"], ("no slide 't'", "its slides are s")),
])
def test_what_can_not_be_asked_for_is_one_line(tmp_path, monkeypatch, capsys, options, words):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mobilescope", *command("pair", "--yes", *options)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    for word in words:
        assert word in last
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("text", ["", "1,2", "1,2=3,4=5,6", "a,b=c,d", "1,2=3,nan", "1,2=3,1e9"])
def test_places_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="no place in both frames"):
        read_point(text)
