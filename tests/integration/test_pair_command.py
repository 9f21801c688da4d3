"""`mobilescope pair` as an operator meets it: live, scan first, phone first, resumed, refused, and what register makes of it."""

from __future__ import annotations

import math
import resource
import shutil
import signal

import pytest
from integration.small_job import mobilescope, signalled
from PIL import Image

from mobilescope.app.pair_operator import read_point
from mobilescope.core.errors import UserError
from mobilescope.data.session import Session

SHIFT, TURN = (5000.0, -3000.0), 15.0
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
scan = { rows = 4, columns = 5, focus = { every = 5 } }
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


@pytest.fixture(scope="module")
def stitched(tmp_path_factory):
    """A folder with a slide that was scanned and stitched, by a phone scope whose frame is turned and shifted."""
    folder = tmp_path_factory.mktemp("stitched")
    write(folder, turned=True)
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


def test_both_instruments_live_then_nothing_is_left_and_register_and_inspect_know_the_pairs(tmp_path):
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

    run(tmp_path, "scan").json()
    mobilescope("stitch", "s.h5", "--json", folder=tmp_path).json()
    registered = mobilescope("register", "s.h5", "--json", folder=tmp_path).json()
    assert (registered["accepted"], registered["refused"]) == (2, 0)


def test_three_places_link_frames_that_are_far_apart_and_register_looks_where_the_pairs_were_found(stitched, tmp_path):
    folder = shutil.copytree(stitched, tmp_path / "job")
    done = run(folder, "pair", "--yes", *three_links())
    slide = done.json()["slides"]["s"]
    assert (slide["accepted"], slide["refused"]) == (2, 0)
    assert "link through 3 three places: residual" in done.errors or "link through 3" in done.errors
    assert slide["link_residual_um"] < 25
    for link in links_of(folder):
        assert link.source == "mosaic"
        assert link.tiles
        assert math.dist(link.found_um, link.planned_um) < 40
        assert math.dist(link.phone_um, on_phone(*link.planned_um)) < 40
    with Session.open(folder / "s.h5") as session:
        assert any("residual" in event.text for event in session.events())
    # The captures' own positions lie millimetres outside of the mosaic.
    registered = mobilescope("register", "s.h5", "--json", folder=folder).json()
    assert (registered["accepted"], registered["refused"]) == (2, 0)


def test_suggested_fields_are_paired_on_a_slide_that_plans_none(stitched, tmp_path):
    folder = shutil.copytree(stitched, tmp_path / "job")
    # A session keeps its plan: this one begins anew, with the tiles of a plan without fields.
    (folder / "s.h5").unlink()
    write(folder, fields="")
    run(folder, "scan").json()
    slide = run(folder, "pair", "--yes", "--suggest", "2").json()["slides"]["s"]
    assert (slide["fields"], slide["accepted"]) == (2, 2)
    one, two = links_of(folder)
    assert (one.row, one.column, two.row, two.column) == (-1, 0, -1, 1)
    assert math.dist(one.planned_um, two.planned_um) > 118
    again = run(folder, "pair", "--yes", "--suggest", "2").json()["slides"]["s"]
    assert again["captures"] == 2


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
    write(tmp_path)
    stopped = signalled(*command("pair", "--yes"), folder=tmp_path, after="pair s: 1/2", number=signal.SIGINT)
    assert stopped.status == 130, stopped.errors
    assert "Traceback" not in stopped.errors
    assert "run the same command again" in stopped.errors.splitlines()[-1]
    kept = links_of(tmp_path)
    assert 1 <= len(kept) <= 2
    assert f"{len(kept)} of 2 fields paired" in stopped.errors
    assert (tmp_path / "s.coverage.png").exists()
    slide = run(tmp_path, "pair", "--yes").json()["slides"]["s"]
    assert (slide["accepted"], slide["captures"]) == (2, 2)
    assert links_of(tmp_path)[: len(kept)] == kept


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
def test_what_can_not_be_asked_for_is_one_line(tmp_path, options, words):
    write(tmp_path)
    refused = run(tmp_path, "pair", "--yes", *options)
    assert refused.status == 2
    assert "Traceback" not in refused.errors
    for word in words:
        assert word in refused.errors.splitlines()[-1]
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("text", ["", "1,2", "1,2=3,4=5,6", "a,b=c,d", "1,2=3,nan", "1,2=3,1e9"])
def test_places_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="no place in both frames"):
        read_point(text)
