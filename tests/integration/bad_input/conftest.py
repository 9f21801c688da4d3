"""One bench for all tests of bad input.

The commands run in this process through the console script's own entry point, with warnings as errors.
"""

from __future__ import annotations

import shutil
import sys

import cv2
import h5py
import numpy as np
import pytest
from bad_input_bench import Bench, write_models, write_pictures, write_wrong_files
from integration.small_job import INSTRUMENT, SmallJob, digests, plan_text

from mobilescope.app.cli import main
from mobilescope.data.layout import mosaic_path, pairs_path


@pytest.fixture(scope="session")
def bench(small_job: SmallJob, tmp_path_factory) -> Bench:
    folder, out = tmp_path_factory.mktemp("bench"), tmp_path_factory.mktemp("out")
    for path in (small_job.session, small_job.model, pairs_path(small_job.session)):
        shutil.copy(path, folder)
    for slide in ("first", "second", "third"):
        shutil.copy(mosaic_path(small_job.session, slide), folder)
    for name in ("model.last.pt", "model.csv"):
        shutil.copy(small_job.folder / name, folder)
    (folder / "plan.toml").write_text(plan_text())
    (folder / "two-slides.toml").write_text(plan_text(slides=2))
    (folder / "instrument.toml").write_text(INSTRUMENT)
    cv2.imwrite(str(folder / "picture.png"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("session.h5", "model.pt", "plan.toml", "picture.png"):
        write_wrong_files(folder, folder / name)
    # Two thirds of this plan happen to end between two slides.
    (folder / "truncated.toml").write_text(plan_text()[:-20])
    write_models(folder)
    write_pictures(folder)
    shutil.copy(folder / "session.h5", folder / "newer.h5")
    with h5py.File(folder / "newer.h5", "r+", libver="v110") as file:
        file.attrs["schema_version"] = 99
    (folder / "bare").mkdir()
    shutil.copy(folder / "session.h5", folder / "bare")
    (folder / "demo").mkdir()
    (folder / "demo/instrument.toml").write_text("name = 'another'\n")
    return Bench(folder, out, digests(folder))


@pytest.fixture
def refused(bench, monkeypatch, capsys):
    """Run a command that must refuse its input and return the line that it says."""
    def run(*arguments: object, status: int = 2) -> str:
        monkeypatch.setattr(sys, "argv", ["mobilescope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == status, said.err
        assert said.out == ""
        lines = said.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:]
        assert all(line.startswith("instrument: ") for line in lines[:-1])  # which instrument is always told
        assert "; " in errors[0], "no way out is named"
        assert digests(bench.folder) == bench.digests
        assert [path for path in bench.out.rglob("*") if path.is_file()] == []
        return errors[0]

    return run
