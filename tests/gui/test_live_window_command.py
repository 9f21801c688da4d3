"""The command opens the window where there is a display; Ctrl-C and the end of the stream close it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

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
