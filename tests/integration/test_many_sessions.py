"""Many sessions on a dask cluster of real processes: workers die, sessions are broken, Ctrl-C and kills come.

The sessions are small ones of the twin, made in this process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from integration.small_job import ENVIRONMENT, MOBILESCOPE, Run, mobilescope
from twin_sessions import stitched_session

from mobilescope import __version__
from mobilescope.app.pairs import pairing
from mobilescope.app.pairs.pair_parts import (
    Counted,
    PartJob,
    begin_parts,
    join_parts,
    make_part,
    part_path,
    parts_folder,
)
from mobilescope.app.pairs.pairing import plan_pairing, register_session
from mobilescope.app.pairs.scaling import register_sessions
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import ClusterError, MobilescopeError
from mobilescope.data.datasets import Dataset
from mobilescope.data.pairs import PairStore
from mobilescope.data.variants import PairVariant
from mobilescope.imaging.distortion import DistortionMap
from mobilescope.imaging.quality import GateThresholds
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan

SLIDE, PAIRS = "smear", 6
PLAN = JobPlan(slides=(
    SlidePlan(
        name=SLIDE, role="training", scan=GridPlan(rows=2, columns=3, overlap=0.1),
        capture=GridPlan(rows=2, columns=3, overlap=0.25),
    ),
))


@pytest.fixture(scope="module")
def session(make_twin, tmp_path_factory):
    """A stitched session of six fields, and its pairs as the plain command makes them."""
    twin = make_twin({SLIDE: "blood"}, frame_px=512, phone={"bayer_rows": 320, "bayer_columns": 320})
    path = stitched_session(tmp_path_factory.mktemp("many") / "run.h5", twin, PLAN)
    register_session(path, workers=1)
    return path


@pytest.fixture
def copies(session, tmp_path):
    """The session under two names, and one that is cut short."""
    for name in ("one", "two"):
        shutil.copy(session, tmp_path / f"{name}.h5")
        shutil.copy(session.with_name(f"run.mosaic-{SLIDE}.h5"), tmp_path / f"{name}.mosaic-{SLIDE}.h5")
    (tmp_path / "broken.h5").write_bytes(session.read_bytes()[:3000])
    return tmp_path


@pytest.fixture
def cluster(tmp_path_factory):
    """A scheduler and two workers as processes of their own: the address, and the workers."""
    folder = tmp_path_factory.mktemp("dask")
    environment = ENVIRONMENT | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    told = folder / "scheduler.json"
    common = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    started = [subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", told], **common
    )]
    workers = [
        subprocess.Popen(
            [*dask, "worker", "--scheduler-file", told, "--nthreads", "1", "--no-nanny", "--no-dashboard"], **common
        )
        for _ in range(2)
    ]
    started += workers
    try:
        yield told, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def address_in(told: Path) -> str:
    end_s = time.monotonic() + 60
    while not told.exists() or not told.read_text().strip():
        assert time.monotonic() < end_s, "the scheduler did not start"
        time.sleep(0.1)
    return json.loads(told.read_text())["address"]


def started(*arguments, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )


def said_until(process: subprocess.Popen, start: str) -> str:
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith(start):
            return said
    raise AssertionError(said)


def assert_same_pairs(path: Path, reference: Path) -> None:
    with PairStore.open(path) as store, PairStore.open(reference) as other:
        assert store.records == other.records
        for index in range(len(store.records)):
            np.testing.assert_array_equal(store.input(index), other.input(index))
            np.testing.assert_array_equal(store.label(index), other.label(index))
            np.testing.assert_array_equal(store.map(index), other.map(index))


def test_no_more_pairs_are_made_than_are_soon_written(session, tmp_path, monkeypatch):
    ahead, given = [], []

    class Counting(ProcessPoolExecutor):
        def submit(self, *arguments, **options):
            given.append(arguments)
            return super().submit(*arguments, **options)

    monkeypatch.setattr(pairing, "ProcessPoolExecutor", Counting)
    register_session(
        session, workers=1, out=tmp_path / "pairs.h5", on_progress=lambda at: ahead.append(len(given) - at.done)
    )
    assert (len(given), len(ahead), max(ahead)) == (PAIRS, PAIRS, 2)
    assert_same_pairs(tmp_path / "pairs.h5", session.with_name("run.pairs.h5"))


def test_a_worker_that_dies_and_a_broken_session_do_not_end_the_rest(session, copies, cluster, command):
    told, workers = cluster
    address = address_in(told)
    process = started("register", "one.h5", "broken.h5", "two.h5", "--cluster", address, "--json", folder=copies)
    said = said_until(process, "register: ")
    workers[0].kill()
    output, rest = process.communicate(timeout=240)
    run = Run(process.returncode, output, said + rest)
    assert run.status == 1
    assert "Traceback" not in run.errors
    assert f"at {address}, dashboard: " in run.errors
    assert "1 of 3 failed: broken.h5" in run.errors
    for name in ("one", "two"):
        assert_same_pairs(copies / f"{name}.pairs.h5", session.with_name("run.pairs.h5"))
    assert sorted(path.name for path in copies.iterdir() if path.name.startswith(".")) == []

    # What is done needs no cluster.
    again = register_sessions([copies / "one.h5", copies / "two.h5"], lambda: pytest.fail("a cluster was opened"))
    assert [(each.state, each.accepted, each.made) for each in again] == [("done before", PAIRS, 0)] * 2

    # The worker that is left looks through pair files; what comes of it is what this process finds.
    for options in ((), ("--cluster", address)):
        status, _, said = command("dataset", copies / "one.h5", "--out", copies / f"set{len(options)}.h5", *options)
        assert status == 0, said
    assert Dataset.read(copies / "set0.h5").digest == Dataset.read(copies / "set2.h5").digest


def test_ctrl_c_and_a_kill_keep_the_pairs_that_are_done(session, copies):
    arguments = ("register", "one.h5", "--cluster", "local", "--workers", "1", "--json")
    process = started(*arguments, folder=copies)
    said = said_until(process, "register: ")
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, said + rest
    assert "Traceback" not in said + rest
    assert "run the same command again; what was finished is kept" in rest
    assert not (copies / "one.pairs.h5").exists()

    process = started(*arguments, folder=copies)
    said_until(process, "register: ")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(children, timeout=60)[1], "workers outlive their cluster"
    kept = sorted((copies / ".one.pairs.h5.parts").glob("0*.h5"))
    assert 2 <= len(kept) <= PAIRS
    kept[0].unlink()
    (outcome,) = mobilescope(*arguments, folder=copies).json()["sessions"]
    made = PAIRS - len(kept) + 1
    assert (outcome["state"], outcome["accepted"], outcome["made"]) == ("registered", PAIRS, made)
    assert_same_pairs(copies / "one.pairs.h5", session.with_name("run.pairs.h5"))


def test_pairs_of_other_settings_are_not_taken_and_a_damaged_one_is_made_anew(session, copies):
    target, plan = copies / "one.pairs.h5", plan_pairing(session, PairVariant(), GateThresholds())
    folder, key = parts_folder(target), plan.provenance["made_of"]
    assert begin_parts(folder, key) == set()
    for number in range(2):
        slide, capture = plan.jobs[number]
        job = PartJob(
            session, folder, number, capture, plan.cells[slide, capture.index], "training", PairVariant(),
            GateThresholds(), None,
        )
        assert make_part(job, __version__)
    with pytest.raises(ClusterError, match="install the same version"):
        make_part(job, "0.0.1")
    part_path(folder, 1).write_bytes(part_path(folder, 1).read_bytes()[:100])  # a power cut may leave that
    with pytest.raises(MobilescopeError, match="it makes this pair anew"):
        join_parts(folder, 2, target, plan.provenance)
    assert not target.exists()
    assert begin_parts(folder, key) == {0}
    assert make_part(job, __version__)
    assert join_parts(folder, 2, target, plan.provenance) == Counted(2, 0)
    assert not folder.exists()
    begin_parts(folder, key)
    make_part(job, __version__)
    assert begin_parts(folder, "of something else") == set()


def test_many_sessions_are_developed_and_straightened_as_one_is(session, copies, command):
    lens = copies / "lens.npz"
    status, _, said = command("calibrate", "phone", session, "--out", lens)
    assert status == 0, said
    options = ("--white-balance", "1.2,1,1.4", "--distortion", lens)
    status, _, said = command("register", copies / "one.h5", "--out", copies / "plain.h5", *options)
    assert status == 0, said
    cluster = ("--cluster", "local", "--workers", "1")
    status, _, said = command("register", copies / "one.h5", copies / "two.h5", *options, *cluster)
    assert status == 0, said
    assert not (copies / "two.pairs.h5").exists()  # it is another's: that of the session's own white balance
    target = copies / "two.pairs-wb1.2-1-1.4.h5"
    assert_same_pairs(target, copies / "plain.h5")
    with PairStore.open(target) as store, PairStore.open(session.with_name("run.pairs.h5")) as usual:
        assert store.provenance["distortion_pairs"] == PAIRS
        assert store.provenance["development"]["white_balance"] == [1.2, 1.0, 1.4]
        assert not np.array_equal(store.input(0), usual.input(0))
    assert not list(copies.glob(".*.parts"))

    status, _, said = command("register", copies / "one.h5", copies / "two.h5", "--white-balance", "warm")
    assert status == 2
    assert "there is no white balance 'warm'" in said.splitlines()[-1]


LENS = DistortionMap(np.zeros((160, 160, 2), np.float32), np.zeros((160, 160), np.float32), 0.925, 5)
OTHERS = {
    "factor": {"variant": PairVariant(factor=2)},
    "warp": {"variant": PairVariant("benchtop")},
    "JPEG": {"variant": PairVariant(jpeg_ratio=21)},
    "white balance": {"variant": PairVariant(development=DevelopmentConfig(white_balance=(1.2, 1.0, 1.4)))},
    "crops": {"variant": PairVariant(development=DevelopmentConfig(crops="square"))},
    "defects": {"variant": PairVariant(development=DevelopmentConfig(defects=False))},
    "flat field": {"variant": PairVariant(development=DevelopmentConfig(flat_field=False))},
    "a limit of the gate": {"thresholds": GateThresholds(least_inliers=16)},
    "search": {"search": False},
    "a lens": {"distortion": LENS},
    "another lens": {"distortion": replace(LENS, displacement_yx=LENS.displacement_yx + np.float32(0.1))},
}


def made_of(session, **changes):
    given = {"variant": PairVariant(), "thresholds": GateThresholds()} | changes
    return plan_pairing(session, given.pop("variant"), given.pop("thresholds"), **given).provenance["made_of"]


def test_every_setting_that_decides_a_pair_is_in_its_digest(session):
    digests = {name: made_of(session, **changes) for name, changes in OTHERS.items()}
    digests["as it was"] = made_of(session)
    assert digests["as it was"] == made_of(session)
    assert len(set(digests.values())) == len(digests)


def test_joining_again_after_a_worker_died_at_its_end_gives_the_same(copies):
    session = copies / "one.h5"
    target, plan = copies / "one.pairs.h5", plan_pairing(session, PairVariant(), GateThresholds())
    register_session(session, workers=1)
    folder = parts_folder(target)
    begin_parts(folder, plan.provenance["made_of"])
    whole = target.read_bytes()
    assert join_parts(folder, PAIRS, target, plan.provenance) == Counted(PAIRS, 0)
    assert not folder.exists()
    assert target.read_bytes() == whole


def test_what_makes_no_sense_on_a_cluster_is_refused(copies, command, monkeypatch):
    monkeypatch.chdir(copies)
    for arguments, words in (
        (("one.h5", "two.h5", "--out", "p.h5"), "--out names one pair file"),
        (("one.h5", "--workers", "2"), "--workers is for a cluster"),
        (("one.h5", "one.h5"), "is given twice"),
        (("one.h5", "picture.png"), "is a session, and the other is none"),
        (("one.h5", "--cluster", "tcp://127.0.0.1:9", "--workers", "2"), "--workers is for a local cluster"),
        (("one.h5", "--cluster", "head"), "'head' is no scheduler's address (missing port number"),
        (("one.h5", "--cluster", "http://head:8786"), "no scheduler's address (unknown address scheme 'http'"),
    ):
        status, output, said = command("register", *arguments)
        assert (status, output) == (2, ""), said
        assert words in said.splitlines()[-1]
    status, _, said = command("register", "one.h5", "--cluster", "tcp://127.0.0.1:9")
    assert status == 1
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in said.splitlines()[-1]
