"""A full disk is an error with a name: what was stored before stays readable, half-made files vanish."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from session_samples import FOCUS, header, tile

from mobilescope.core.errors import DiskSpaceError
from mobilescope.core.protocols import TileKey
from mobilescope.data.mosaics import MosaicWriter
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.recovery import is_open_flagged
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

Usage = namedtuple("Usage", "total used free")
SHAPE = (512, 512)


@pytest.fixture(params=["6m", "9m", "12m"])
def small_disk(request, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> int:
    """Store tiles until the disk is full; return how many were stored."""
    stored = 0
    with SessionWriter.create_or_resume(path, header(benchtop=SHAPE), margin_bytes=0) as session:
        try:
            while stored < 100:
                session.add_benchtop_tile(TileKey("lung-1", 0, stored), stored, tile(stored, SHAPE), FOCUS)
                stored += 1
        except DiskSpaceError as error:
            assert "full" in str(error)  # noqa: PT017 - the loop must be left at its first failure
            with Session.open(path) as reader:
                assert len(reader.tiles("lung-1")) == stored
    return stored


def test_a_full_disk_stops_a_session_and_leaves_it_whole(small_disk, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, 10**12))  # so that the early check lets it pass
    path = small_disk / "run.h5"
    stored = fill(path)
    assert 3 < stored < 100
    assert not is_open_flagged(path)
    with Session.open(path) as reader:
        assert len(reader.tiles("lung-1")) == stored
        assert reader.verify() == []


def test_a_file_size_limit_is_met_like_a_full_disk(tmp_path):
    path = tmp_path / "run.h5"
    script = (
        "import resource, sys, test_session_full_disk as test\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))\n"
        "print(test.fill(test.Path(sys.argv[1])))\n"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], env={"PYTHONPATH": folders}, capture_output=True, text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    with Session.open(path) as reader:
        assert len(reader.tiles("lung-1")) == int(run.stdout) > 3
        assert reader.verify() == []


def test_a_full_disk_leaves_no_half_made_mosaic(small_disk):
    generator = np.random.default_rng(0)

    def write():
        with MosaicWriter(small_disk / "run.h5", "lung-1", (4000, 2000), 0.37, (0, 0), {}, [[0, 0]]) as mosaic:
            for _ in range(40):
                band = generator.integers(0, 256, (100, 2000, 3), dtype=np.uint8)
                mosaic.write_band(band, np.ones((100, 2000), bool))

    with pytest.raises(DiskSpaceError, match="full"):
        write()
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_leaves_no_half_made_pairs(small_disk):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 65536, (256, 256, 3), dtype=np.uint16)
    label = generator.integers(0, 256, (640, 640, 3), dtype=np.uint8)

    def write():
        with PairWriter(small_disk / "run.pairs.h5", {}) as writer:
            for capture in range(20):
                writer.add(
                    pixels, label, slide="lung-1", role="training", capture=capture, row=0, column=0, accepted=True,
                    reason="", quality={}, warp="phone", origin_px=(0.0, 0.0), window=None,
                )

    with pytest.raises(DiskSpaceError, match="full"):
        write()
    assert list(small_disk.iterdir()) == []
