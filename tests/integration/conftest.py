from __future__ import annotations

import shutil
import sys

import pytest
from integration.small_job import SmallJob, build

from mobilescope.app.cli import main


@pytest.fixture(scope="session")
def small_job(tmp_path_factory) -> SmallJob:
    """A finished job; tests leave its files as they are."""
    return build(tmp_path_factory.mktemp("job"))


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process and return its status, output and errors."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mobilescope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def copied_job(small_job, tmp_path):
    """The job's folder, free to be changed."""
    folder = tmp_path / "job"
    shutil.copytree(small_job.folder, folder)
    return folder
