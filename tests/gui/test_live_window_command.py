"""The command opens the window where there is a display; Ctrl-C and the end of the stream close it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from gui.x_server import x_server

from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

MOBILESCOPE = Path(sys.executable).with_name("mobilescope")


@pytest.fixture
def folder(tmp_path):
    network = EnhancementNetwork(NetworkConfig(first_width=8, blocks=1, growth=2))
    network.initialise(0)
    save_model(tmp_path / "model.pt", network, ModelCard(network.config, 0.925, 0.37, "a test", "phone"))
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), np.full((96, 96, 3), 90 + number, np.uint8))
    return tmp_path


def start(folder, *arguments):
    return subprocess.Popen(
        [MOBILESCOPE, "live", "model.pt", "--source", "pictures", *arguments, "--json"], cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def ended(process):
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "no window" not in errors
    return json.loads(output)


def test_the_window_shows_frames_as_they_came_too_and_ends_with_the_stream(display, folder):
    result = ended(start(folder, "--fps", "5"))
    assert result["state"] == "ended"
    assert result["delay_ms"]["preview"]["median"] > 0


def test_ctrl_c_closes_the_window(display, folder):
    process = start(folder, "--loop", "--fps", "20")
    for line in process.stderr:
        if line.startswith("engine: "):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert ended(process)["state"] == "stopped"


@pytest.fixture
def own_display(monkeypatch):
    """An X server of the test's own, that it may kill."""
    with x_server() as (server, name):
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
        yield server


def test_a_display_that_dies_leaves_nothing_running_and_every_recorded_picture_whole(own_display, folder):
    """Qt ends the process then, while the threads of a network at work stand in the way of the libraries' endings."""
    process = psutil.Popen(
        [MOBILESCOPE, "live", "model.pt", "--source", "twin", "--rung", "full", "--record", "kept", "--json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        while not list((folder / "kept").glob("*-enhanced.png")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        others = process.children(recursive=True)
        own_display.kill()
        output, errors = process.communicate(timeout=20)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert (process.returncode, output) == (1, ""), errors
    assert errors.endswith("error: the display was lost; what was recorded is kept, start the same command again\n")
    left = psutil.wait_procs(others, timeout=20)[1]
    assert all(each.status() == psutil.STATUS_ZOMBIE for each in left)  # nobody may have asked how it ended
    pictures = [path for path in (folder / "kept").iterdir() if not path.name.startswith(".")]
    assert pictures
    assert all(cv2.imread(str(path)) is not None for path in pictures)
