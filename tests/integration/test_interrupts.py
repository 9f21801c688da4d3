"""Ctrl-C, kills and full disks in the middle of each command: a clear ending, and the same command goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from integration.small_job import (
    MOBILESCOPE,
    STEPS,
    Run,
    acquisition,
    interrupted_at_first_worker,
    mobilescope,
    signalled,
    write_job,
)

from mobilescope.data.session import Session
from mobilescope.data.writer import DISK_MARGIN_BYTES
from mobilescope.learn.checkpoint import load_model

# Enough for the flat field and a few of nine tiles.
ROOM_BYTES = 7 * 1024**2


def assert_stopped(run: Run) -> None:
    """Check the ending that Ctrl-C must have."""
    assert run.status == 130, run.errors
    assert run.output == ""
    assert "Traceback" not in run.errors
    lines = run.errors.splitlines()
    assert "stopping at the next safe point; press Ctrl-C again to stop at once" in lines
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "stopped" in lines[-1]
    assert "run the same command" in lines[-1]


def tile_digests(session: Path) -> list[str]:
    """Return the digests of all benchtop tiles in the order in which they were taken."""
    with Session.open(session) as opened:
        return [tile.checksum for slide in opened.slides for tile in opened.tiles(slide.name)]


def parts_of_job(small_job, folder: Path, *patterns: str) -> None:
    """Copy the files of the job that match."""
    for pattern in patterns:
        for path in small_job.folder.glob(pattern):
            shutil.copy(path, folder)


def test_a_scan_survives_an_interrupt_and_a_kill(tmp_path):
    write_job(tmp_path, tiles=2, slides=2)
    session = tmp_path / "session.h5"

    assert_stopped(signalled(*acquisition("scan"), folder=tmp_path, after="scan first: 1/4", number=signal.SIGINT))
    interrupted = tile_digests(session)
    assert 1 <= len(interrupted) < 4

    killed = signalled(*acquisition("scan"), folder=tmp_path, after="scan second: 1/4", number=signal.SIGKILL)
    assert killed.status == -signal.SIGKILL
    kept = tile_digests(session)
    assert kept[: len(interrupted)] == interrupted
    assert 5 <= len(kept) < 8
    facts = mobilescope("inspect", "session.h5", "--json", folder=tmp_path).json()
    assert (facts["state"], facts["problems"]) == ("interrupted", [])

    finished = mobilescope(*acquisition("scan"), folder=tmp_path).json()
    assert finished["slides"] == {name: {"tiles": 4, "captures": 0} for name in ("first", "second")}
    assert tile_digests(session)[: len(kept)] == kept
    with Session.open(session) as opened:
        assert opened.verify() == []
        assert [event.text for event in opened.events()] == ["resumed after the last run was interrupted"]


def test_a_capture_survives_an_interrupt(tmp_path):
    write_job(tmp_path, captures=4, slides=2)
    run = signalled(*acquisition("capture"), folder=tmp_path, after="capture first: 2/16", number=signal.SIGINT)
    assert_stopped(run)
    with Session.open(tmp_path / "session.h5") as session:
        kept = [capture.sha256 for capture in session.captures("first")]
    assert 2 <= len(kept) <= 16
    finished = mobilescope(*acquisition("capture"), folder=tmp_path).json()
    assert finished["slides"] == {name: {"tiles": 0, "captures": 16} for name in ("first", "second")}
    with Session.open(tmp_path / "session.h5") as session:
        assert [capture.sha256 for capture in session.captures("first")][: len(kept)] == kept
        assert session.verify() == []


def test_an_interrupt_before_the_work_begins_is_answered_too(tmp_path):
    write_job(tmp_path)
    run = signalled(*acquisition("scan"), folder=tmp_path, after="instrument: small twin", number=signal.SIGINT)
    assert run.status == 130
    assert "Traceback" not in run.errors
    assert "stopped" in run.errors.splitlines()[-1]


def test_an_interrupted_stitch_leaves_no_half_mosaic(small_job, tmp_path):
    parts_of_job(small_job, tmp_path, "session.h5")
    command = ("stitch", "session.h5", "--json")
    assert_stopped(signalled(*command, folder=tmp_path, after="measuring overlaps: 1/9", number=signal.SIGINT))
    assert [path.name for path in tmp_path.iterdir()] == ["session.h5"]
    again, undisturbed = mobilescope(*command, folder=tmp_path).json(), small_job.runs["stitch"].json()
    for told in (again, undisturbed):
        assert told.pop("seconds")["positions"] > 0
    assert again == undisturbed


def test_an_interrupted_registration_leaves_no_half_pairs(small_job, tmp_path):
    parts_of_job(small_job, tmp_path, "session.h5", "session.mosaic-*.h5")
    before = sorted(tmp_path.iterdir())
    command = ("register", "session.h5", "--json")
    assert_stopped(signalled(*command, folder=tmp_path, after="register: ", number=signal.SIGINT))
    assert sorted(tmp_path.iterdir()) == before
    assert mobilescope(*command, folder=tmp_path).json() == small_job.runs["register"].json()


@pytest.mark.parametrize("command", [
    ("register", "session.h5"),
    ("train", "session.h5", "--out", "model.pt", "--steps", STEPS, "--workers", 1),
])
def test_workers_that_have_just_been_started_leave_an_interrupt_to_the_command(small_job, tmp_path, command):
    parts_of_job(small_job, tmp_path, "session.h5", "session.mosaic-*.h5")
    if command[0] == "train":
        parts_of_job(small_job, tmp_path, "session.pairs.h5")
    assert_stopped(interrupted_at_first_worker(*command, "--json", folder=tmp_path))


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(small_job, tmp_path):
    parts_of_job(small_job, tmp_path, "session.h5", "session.pairs.h5")
    command = ("train", "session.h5", "--out", "model.pt", "--steps", STEPS, "--json")
    run = signalled(*command, folder=tmp_path, after="train: ", number=signal.SIGINT)
    assert_stopped(run)
    assert "holds the best so far" in run.errors
    _, card, _ = load_model(tmp_path / "model.pt")
    assert 1 <= card.training["steps_done"] < STEPS
    assert mobilescope(*command, folder=tmp_path).json()["steps"] == STEPS
    resumed, whole = (
        torch.load(folder / "model.last.pt", weights_only=True)["weights"] for folder in (tmp_path, small_job.folder)
    )
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights, rtol=0, atol=1e-6)


def test_an_interrupted_evaluation_leaves_no_half_report(small_job, tmp_path):
    parts_of_job(small_job, tmp_path, "session*.h5", "model.pt")
    command = ("evaluate", "model.pt", "session.h5", "--report", "report.html", "--json")
    assert_stopped(signalled(*command, folder=tmp_path, after="evaluate: 1/", number=signal.SIGINT))
    assert not list(tmp_path.glob("report*"))
    assert mobilescope(*command, folder=tmp_path).json() == small_job.runs["evaluate"].json()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with little room beside the margin that a scan keeps free, and how to free some; None if it can't."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount(f"size={DISK_MARGIN_BYTES + ROOM_BYTES}"):
        yield None
        return
    yield folder, lambda: mount(f"remount,size={2 * DISK_MARGIN_BYTES}")
    subprocess.run(["umount", str(folder)], check=True)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def test_a_scan_that_the_disk_has_no_room_for_is_refused_before_it_starts(small_disk):
    if small_disk is None:
        pytest.skip("mounting a small disk needs root")
    folder, make_room = small_disk
    write_job(folder, tiles=3, slides=1)
    run = mobilescope(*acquisition("scan"), folder=folder)
    assert run.status == 1, run.errors
    assert run.errors.splitlines()[-1].startswith("error: the scan does not fit: ")
    assert tile_digests(folder / "session.h5") == []
    assert make_room()
    finished = mobilescope(*acquisition("scan"), folder=folder).json()
    assert finished["slides"] == {"first": {"tiles": 9, "captures": 0}}


def test_a_full_disk_ends_a_scan_with_one_line_and_the_session_goes_on(tmp_path):
    folder = tmp_path
    write_job(folder, tiles=3, slides=1)
    run = mobilescope(*acquisition("scan"), folder=folder, before=limit_file_size)
    assert run.status == 1, run.errors
    lines = run.errors.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "free some space" in lines[-1]
    kept = tile_digests(folder / "session.h5")
    assert 1 <= len(kept) < 9
    facts = mobilescope("inspect", "session.h5", "--json", folder=folder).json()
    assert (facts["state"], facts["problems"]) == ("closed", [])
    finished = mobilescope(*acquisition("scan"), folder=folder).json()
    assert finished["slides"] == {"first": {"tiles": 9, "captures": 0}}
    assert tile_digests(folder / "session.h5")[: len(kept)] == kept


def test_ctrl_c_while_the_program_loads_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(
        [MOBILESCOPE, "inspect", "session.h5"], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "stopped\n")
