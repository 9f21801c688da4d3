"""`mobilescope scan` as a user meets it: regions, resume, marks, pause, preview, and plans that are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from integration.small_job import ENVIRONMENT, MOBILESCOPE, mobilescope
from PIL import Image

from mobilescope.app.pictures.folders import network_disk
from mobilescope.app.terminal.scan_preview import previewing
from mobilescope.data.session import Session
from mobilescope.devices.micromanager import demo_configuration

INSTRUMENT = """\
[benchtop]
frame_rows = 128
frame_columns = 128

[twin.slides.s]
specimen = "blood"
"""
PLAN = '[[slides]]\nname = "s"\nrole = "training"\nscan = { %s }\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "instrument.toml").write_text(INSTRUMENT)
    return tmp_path


def scan(folder, plan, *options, name="plan.toml"):
    (folder / name).write_text(PLAN % plan if name.endswith(".toml") else plan)
    command = "--config", "instrument.toml", "scan", name, "--session", "s.h5", "--json", *options
    return mobilescope(*command, folder=folder)


def refused(run, *words):
    assert run.status == 2, run.errors
    assert "Traceback" not in run.errors
    last = run.errors.splitlines()[-1]
    assert last.startswith("error: ")
    for word in words:
        assert word in last


def test_a_polygon_in_two_planes_is_scanned_and_nothing_is_left_for_the_second_run(folder):
    plan = (
        'region = "polygon", corners_um = [[0, 0], [90, 0], [0, 90]], focus = { every = 2 }, '
        "z = { planes = 3, step_um = 0.5, fuse = true }"
    )
    first = scan(folder, plan).json()
    tiles = first["slides"]["s"]["tiles"]
    assert tiles > 3
    assert first["marks"].keys() == {"s"}
    assert scan(folder, plan).json() == first


def test_a_useq_plan_is_scanned_under_the_slide_s_name(folder):
    plan = "grid_plan: {rows: 1, columns: 2, overlap: 10}\nstage_positions: [{x: 10, y: 20}]\n"
    assert scan(folder, plan, "--slide", "s", name="plan.yaml").json()["slides"] == {"s": {"tiles": 2, "captures": 0}}


@pytest.mark.parametrize(("name", "plan", "words"), [
    ("plan.toml", "rows = 1, columns = 20000", ("slides.0.scan.columns", "plan.toml")),
    ("plan.toml", "rows = 1, colums = 2", ("colum", "plan.toml")),
    ("plan.toml", "rows = 1, columns = 2000", ("tile row 0 column 0", "-30000 to 30000", "nothing was moved")),
    ("plan.toml", 'rows = 1, columns = 1, channels = [{ name = "DAPI" }]', ("'DAPI'", "colour")),
    ("plan.yaml", "time_plan: {interval: 1, loops: 2}", ("plan.yaml", "time_plan")),
    ("plan.json", "{", ("plan.json", "not valid")),
], ids=["out of range", "typo", "limit", "channel", "useq", "json"])
def test_a_plan_that_can_not_be_carried_out_is_one_line(folder, name, plan, words):
    refused(scan(folder, plan, name=name), *words)


def test_a_refused_plan_leaves_no_session_in_the_way_of_the_mended_one(folder):
    refused(scan(folder, "rows = 1, columns = 2000"), "tile row 0 column 0")
    assert not (folder / "s.h5").exists()
    assert scan(folder, "rows = 1, columns = 1").json()["slides"]["s"]["tiles"] == 1


def test_a_session_on_a_disk_that_can_only_be_read_is_refused_at_once(folder, small_disk):
    (small_disk / "begun.h5").write_bytes(b"")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for session in (small_disk / "begun.h5", small_disk / "new.h5", small_disk / "folder" / "new.h5"):
        run = scan(folder, "rows = 1, columns = 1", "--session", str(session))
        refused(run, str(small_disk), "choose another place")
        assert "instrument:" not in run.errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_session_that_may_only_be_read_is_refused_at_once(folder):
    scan(folder, "rows = 1, columns = 1")
    (folder / "s.h5").chmod(0o444)
    refused(scan(folder, "rows = 1, columns = 1"), "s.h5 may only be read")


REAL = """\
[benchtop]
kind = "micromanager"
configuration = "%s"
pixel_size_um = 1.0

[benchtop.properties]
Camera.PixelType = "32bitRGB"
"""


def test_one_slide_that_lies_there_is_scanned_without_a_terminal(folder):
    (folder / "instrument.toml").write_text(REAL % demo_configuration())
    refused(scan(folder, "rows = 1, columns = 2"), "nobody can be asked here", "--yes")
    assert scan(folder, "rows = 1, columns = 2", "--yes").json()["slides"]["s"]["tiles"] == 2
    with Session.open(folder / "s.h5") as session:
        assert session.flat_field("benchtop") is None


def test_several_slides_need_somebody_to_change_them(folder):
    (folder / "two.toml").write_text(
        "".join(PLAN.replace('"s"', f'"{name}"') % "rows = 1, columns = 1" for name in ("s", "t"))
    )
    run = mobilescope(
        "--config", "instrument.toml", "scan", "two.toml", "--session", "s.h5", "--yes", folder=folder
    )
    refused(run, "'s' and 't'", "--slide")
    assert not (folder / "s.h5").exists()


def test_another_scan_of_the_same_session_is_refused_and_a_pause_holds_the_first(folder):
    (folder / "plan.toml").write_text(PLAN % "rows = 5, columns = 5")
    command = [MOBILESCOPE, "--config", "instrument.toml", "scan", "plan.toml", "--session", "s.h5"]
    first = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        for line in first.stderr:
            if line.startswith("scan s:"):
                break
        first.send_signal(signal.SIGUSR1)
        refused(scan(folder, "rows = 5, columns = 5"), "is being written by process")
        counts = []
        for _ in range(2):
            time.sleep(0.3)
            with Session.open(folder / "s.h5") as session:
                counts.append(len(session.tiles("s")))
        assert counts[0] == counts[1] < 25
        first.send_signal(signal.SIGUSR1)
        _, said = first.communicate(timeout=60)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 0, said
    with Session.open(folder / "s.h5") as session:
        assert len(session.tiles("s")) == 25


def test_a_preview_shows_the_scan_and_ends_with_it(folder):
    assert scan(folder, "rows = 2, columns = 3").status == 0
    with previewing(folder / "s.h5", folder / "preview.png", interval_s=0.1):
        deadline = time.monotonic() + 20
        while not (folder / "preview.png").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with Image.open(folder / "preview.png") as picture:
        width, height = picture.size
    assert (round(width / 96, 1), round(height / 96, 1)) == (2.8, 1.9)
    assert not list(folder.glob("*.partial"))


def test_a_preview_of_a_scan_that_was_killed_ends_too(folder):
    program = (
        "import time\nfrom pathlib import Path\nfrom mobilescope.app.terminal.scan_preview import previewing\n"
        "with previewing(Path('none.h5'), Path('p.png'), interval_s=30):\n    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [MOBILESCOPE.with_name("python"), "-c", program], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as scanning:
        assert scanning.stdout.readline() == "up\n"
        (child,) = Path(f"/proc/{scanning.pid}/task/{scanning.pid}/children").read_text().split()
        scanning.kill()
        scanning.wait()
    deadline = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process):
    """Tell whether a process still runs; one that nobody waited for is dead as well."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_network_disk_is_recognised(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:20 / / rw - ext4 /dev/root rw\n"
        "23 22 0:21 / /data rw,relatime shared:1 - nfs4 server:/x rw\n"
        "24 23 0:22 / /data/local rw - xfs /dev/sdb rw\n"
    )
    (tmp_path / "s.h5").touch()
    assert network_disk(tmp_path / "s.h5", mounts) == ""
    assert network_disk(Path("/data/new/s.h5"), mounts) == "nfs4"
    assert network_disk(Path("/data/local/s.h5"), mounts) == ""
