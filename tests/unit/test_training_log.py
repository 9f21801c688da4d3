"""A training is worth more than its log: weights are written first, and a log that fails is told and left."""

from __future__ import annotations

import csv
import resource
import signal
from pathlib import Path

import pytest
import torch
from training_samples import QUICK, TINY

from mobilescope.core.errors import OutputError, TrainingError
from mobilescope.learn import logs
from mobilescope.learn.checkpoint import load_model
from mobilescope.learn.train import train

pytestmark = pytest.mark.usefixtures("one_thread")
FULL = Path("/dev/full")


@pytest.fixture
def pairs(write_pairs):
    return write_pairs(("a", "training"), ("b", "validation"))


def weights(path):
    return load_model(path)[0].state_dict()


def logged(path):
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_disk_that_takes_no_log_costs_neither_the_training_nor_its_weights(pairs, tmp_path, tensorboard):
    if tensorboard:
        pytest.importorskip("tensorboard")
        (tmp_path / "broken.tensorboard").write_text("no folder")
    whole, broken, table = tmp_path / "whole.pt", tmp_path / "broken.pt", tmp_path / "broken.csv"
    train(pairs, whole, QUICK, network=TINY)

    def fill(progress):
        if progress.done == 8:
            table.rename(tmp_path / "kept.csv")
            table.symlink_to(FULL)
            (tmp_path / "broken.panels/step-000012.png").mkdir()
        if progress.done == 14:
            table.unlink()
            (tmp_path / "kept.csv").rename(table)

    with pytest.warns(RuntimeWarning, match="log can't be written .*the training goes on") as told:
        result = train(pairs, broken, QUICK, network=TINY, tensorboard=tensorboard, on_progress=fill)
    assert len([each for each in told if "log can't be written" in str(each.message)]) == 1
    assert result.steps == QUICK.steps
    assert all(torch.equal(value, weights(broken)[name]) for name, value in weights(whole).items())
    assert logged(table) == [6, 18, 24]
    assert [each.name for each in sorted((tmp_path / "broken.panels").iterdir()) if each.is_file()] == [
        "step-000006.png", "step-000018.png", "step-000024.png",
    ]


@pytest.fixture
def file_limit():
    """Let files grow to so many bytes: what is written beyond is cut, as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size_bytes=None):
        soft = limits[0] if size_bytes is None else size_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, limits[1]))

    yield limit
    limit()
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def log(tmp_path):
    return logs.TrainingLog(tmp_path / "m.pt", validations=100)


def add(log, step):
    log.add(logs.LogRow(step, 1.0, 0.1, 0.2, 0.3, 0.4), 1, [], [])


def test_a_row_that_went_half_to_the_disk_is_taken_back(log, tmp_path, file_limit):
    add(log, 10)
    before = (tmp_path / "m.csv").read_bytes()
    file_limit(len(before) + 5)
    with pytest.warns(RuntimeWarning, match="File too large"):
        add(log, 20)
    file_limit()
    assert (tmp_path / "m.csv").read_bytes() == before
    add(log, 30)
    assert logged(tmp_path / "m.csv") == [10, 30]


def test_what_a_power_cut_left_in_the_log_does_not_bar_the_training(log, tmp_path):
    for step in (10, 20):
        add(log, step)
    with (tmp_path / "m.csv").open("ab") as file:
        file.write(b"\0\0\xff\xfe,1,2,3,4,5\n\0\0\0")
    log.go_on_from(20)
    add(log, 30)
    assert logged(tmp_path / "m.csv") == [10, 20, 30]


def test_a_full_disk_at_resuming_costs_no_row(log, tmp_path, file_limit):
    for step in (10, 20, 30):
        add(log, step)
    before = (tmp_path / "m.csv").read_bytes()
    file_limit(20)
    with pytest.warns(RuntimeWarning, match="File too large"):
        log.go_on_from(20)
    file_limit()
    assert (tmp_path / "m.csv").read_bytes() == before
    log.go_on_from(20)
    assert logged(tmp_path / "m.csv") == [10, 20]
    assert [each.name for each in tmp_path.iterdir()] == ["m.csv"]


def test_weights_are_on_the_disk_before_the_log_is_written(pairs, tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(logs, "draw_panel", fail)
    with pytest.raises(TrainingError, match="needs more memory"):
        train(pairs, tmp_path / "m.pt", QUICK, network=TINY)
    assert load_model(tmp_path / "m.last.pt")[2]["step"] == QUICK.validate_every
    assert (tmp_path / "m.pt").exists()


def test_a_file_in_the_place_of_the_panels_is_told_before_the_training(pairs, tmp_path):
    (tmp_path / "m.panels").write_text("mine")
    with pytest.raises(OutputError, match="is no folder; move it away"):
        train(pairs, tmp_path / "m.pt", QUICK, network=TINY)
    assert not (tmp_path / "m.pt").exists()
