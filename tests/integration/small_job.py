"""A whole job that is small enough for tests, and the means to run its commands as a user does."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MOBILESCOPE = Path(sys.executable).with_name("mobilescope")
# One core for each command: threads of tests that run side by side would wait for each other.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
SLIDES = {"first": "training", "second": "validation", "third": "blind"}
STEPS = 20

INSTRUMENT = """\
name = "small twin"

[benchtop]
frame_rows = 512
frame_columns = 512

[twin]
seed = 3

[twin.phone]
bayer_rows = 320
bayer_columns = 320
""" + "".join(f'\n[twin.slides.{name}]\nspecimen = "blood"\nseed = {seed}\n' for seed, name in enumerate(SLIDES))


def plan_text(*, tiles: int = 3, captures: int = 2, slides: int = len(SLIDES)) -> str:
    """Return a plan with square grids over each of the first slides."""
    return "".join(
        f'[[slides]]\nname = "{name}"\nrole = "{role}"\n'
        f"scan = {{ rows = {tiles}, columns = {tiles}, overlap = 0.1 }}\n"
        f"capture = {{ rows = {captures}, columns = {captures}, overlap = -0.1 }}\n\n"
        for name, role in list(SLIDES.items())[:slides]
    )


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    status: int
    output: str
    errors: str

    def json(self) -> Any:
        """Return the one line of JSON that a command that did its work prints."""
        assert self.status == 0, self.errors
        assert "Traceback" not in self.errors
        (line,) = self.output.splitlines()
        return json.loads(line)


def mobilescope(*arguments: object, folder: Path, before: Callable[[], None] | None = None) -> Run:
    """Run a command to its end in a folder."""
    done = subprocess.run(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
        preexec_fn=before,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def signalled(*arguments: object, folder: Path, after: str, number: signal.Signals) -> Run:
    """Run a command and signal it, as Ctrl-C in a terminal does its whole process group, after a line of progress."""
    process = subprocess.Popen(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith(after):
            os.killpg(process.pid, number)
            break
    output, rest = process.communicate()
    assert after in said, said
    return Run(process.returncode, output, said + rest)


def interrupted_at_first_worker(*arguments: object, folder: Path) -> Run:
    """Run a command and send what Ctrl-C sends once its first worker process exists, before that has loaded itself."""
    process = psutil.Popen(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    while not any(map(is_worker, process.children(recursive=True))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    # By now it runs Python, which would turn the signal into an exception.
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    return Run(process.returncode, output, errors)


def is_worker(process: psutil.Process) -> bool:
    """Return whether a process is one that Python started to share work, and still there."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def write_job(folder: Path, **plan: int) -> None:
    """Write the instrument and the plan of a job; `plan_text` names the options."""
    (folder / "instrument.toml").write_text(INSTRUMENT)
    (folder / "plan.toml").write_text(plan_text(**plan))


def acquisition(command: str) -> tuple[str, ...]:
    """Return the arguments of `scan` or `capture` for a job's folder."""
    return "--config", "instrument.toml", command, "plan.toml", "--session", "session.h5", "--json"


@dataclass(frozen=True)
class SmallJob:
    """A finished job: its folder, and how each command ended."""

    folder: Path
    runs: dict[str, Run]

    @property
    def session(self) -> Path:
        return self.folder / "session.h5"

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"


def build(folder: Path) -> SmallJob:
    """Run a job from the scan to the report."""
    write_job(folder)
    commands: dict[str, tuple[object, ...]] = {
        "scan": acquisition("scan"),
        "capture": acquisition("capture"),
        "stitch": ("stitch", "session.h5", "--json"),
        "register": ("register", "session.h5", "--json"),
        "train": ("train", "session.h5", "--out", "model.pt", "--steps", STEPS, "--json"),
        "evaluate": ("evaluate", "model.pt", "session.h5", "--report", "report.html", "--json"),
    }
    runs = {}
    for name, arguments in commands.items():
        runs[name] = mobilescope(*arguments, folder=folder)
        assert runs[name].status == 0, f"{name}: {runs[name].errors}"
    return SmallJob(folder, runs)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }
