"""Running the ring's commands as a user does, and a simulated ring whose every frame is kept."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.small_job import MOBILESCOPE, Run

from mobilescope.twin.ring_simulator import simulator_missing

needs_simulator = pytest.mark.skipif(simulator_missing() is not None, reason=str(simulator_missing()))
DARK = ["000000"] * 12


def run(*arguments: object, environment: dict[str, str] | None = None) -> Run:
    """Run a command to its end."""
    done = subprocess.run(
        [MOBILESCOPE, *map(str, arguments)], env=os.environ | (environment or {}), capture_output=True, text=True,
        check=False, timeout=120,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def refused(*arguments: object, status: int = 2, environment: dict[str, str] | None = None) -> str:
    """Run a command that must fail with one line, and return that line."""
    failed = run(*arguments, environment=environment)
    assert failed.status == status, failed
    assert failed.output == ""
    (line,) = [line for line in failed.errors.splitlines() if line.startswith("error: ")]
    assert failed.errors.splitlines()[-1] == line
    assert "Traceback" not in failed.errors
    return line


class Background:
    """A command that runs until it is signalled; its lines are kept with the time at which they came."""

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [MOBILESCOPE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | (environment or {}), start_new_session=True,
        )
        self.pid = self._process.pid
        self.errors = ""
        self._lines: queue.Queue[tuple[float, str] | None] = queue.Queue()
        self._threads = [threading.Thread(target=work) for work in (self._read_output, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end()

    def _read_output(self) -> None:
        for line in self._process.stdout:
            self._lines.put((time.monotonic(), line))
        self._lines.put(None)

    def _read_errors(self) -> None:
        for line in self._process.stderr:
            self.errors += line

    def line(self, timeout_s: float = 60.0) -> tuple[float, Any]:
        """Return when the next line came, and its JSON."""
        came = self._lines.get(timeout=timeout_s)
        assert came is not None, f"it ended: {self.errors}"
        return came[0], json.loads(came[1])

    def waiting(self) -> int:
        """Return how many lines have come and were not taken."""
        return self._lines.qsize()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Signal it, its whole process group where it is Ctrl-C, and return its exit status."""
        if number == signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)
        try:
            status = self._process.wait(timeout=30)
        finally:
            # One that does not end must not keep its port from the tests after it.
            self._process.kill()
        for thread in self._threads:
            thread.join()
        self._process.stdout.close()
        self._process.stderr.close()
        return status


class SimulatedRing(Background):
    """`mobilescope firmware simulate --json`, whose frames are looked for."""

    def __init__(self, *options: object, environment: dict[str, str] | None = None) -> None:
        super().__init__("firmware", "simulate", "--json", *options, environment=environment)
        self.first = self.line()[1]
        self.port = self.first["port"]

    def until(self, wanted: Callable[[list[str]], bool], timeout_s: float = 20.0) -> tuple[float, dict[str, Any]]:
        """Return when the next frame came whose pixels are wanted, and the frame; the ones before it are dropped."""
        until_s = time.monotonic() + timeout_s
        while True:
            came_s, frame = self.line(until_s - time.monotonic())
            if wanted(frame["pixels"]):
                return came_s, frame

    def until_dark(self) -> float:
        """Return when the ring went dark."""
        return self.until(lambda pixels: pixels == DARK)[0]

    def settle(self) -> None:
        """Wait until light that was left has gone out, and forget the frames before."""
        time.sleep(0.2)
        while self.waiting():
            self.line()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
