"""Ten kills at random instants of a process that writes: nothing acknowledged is lost, and the same call resumes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mobilescope.core.protocols import TileKey
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

SHAPE = (512, 512)
COLUMNS = 10_000
TESTS = Path(__file__).resolve().parents[1]


def write_forever(path: Path) -> None:
    from session_samples import FOCUS, capture, header, tile

    with SessionWriter.create_or_resume(path, header(benchtop=SHAPE), margin_bytes=0) as session:
        for index in range(COLUMNS):
            if not session.has_tile(TileKey("lung-1", 0, index)):
                session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index, SHAPE), FOCUS)
                print("tile", index, flush=True)
            if not session.has_capture("lung-2", 0, index):
                session.add_phone_capture("lung-2", index, 0, index, capture(index))
                print("capture", index, flush=True)


def run_and_kill(path: Path, delay_s: float) -> list[str]:
    """Return what the process acknowledged before it was killed ``delay_s`` after its first word."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(TESTS)},
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    said += process.communicate()[0]
    return said.splitlines()


def test_ten_kills_lose_nothing_acknowledged(tmp_path):
    from session_samples import capture, tile

    path, generator = tmp_path / "run.h5", random.Random(11)
    acknowledged: set[str] = set()
    follower = None
    for _ in range(10):
        said = run_and_kill(path, generator.uniform(0, 0.25))
        assert said
        assert not acknowledged.intersection(said)
        acknowledged.update(said)
        with Session.open(path) as session:
            tiles, captures = session.tiles("lung-1"), session.captures("lung-2")
            stored = {f"tile {t.index}" for t in tiles} | {f"capture {c.index}" for c in captures}
            assert acknowledged <= stored
            assert len(stored - acknowledged) <= 10  # one unspoken commit a kill at most
            assert [t.index for t in tiles] == list(range(len(tiles)))
            assert session.summary()["state"] == "interrupted"
        follower = follower or Session.open(path)  # one reader stays open across all later kills and resumes
        assert len(follower.tiles("lung-1")) == len(tiles)
    assert follower is not None
    follower.close()
    with Session.open(path) as session:
        assert session.verify() == []
        for record in (tiles[0], tiles[-1]):
            np.testing.assert_array_equal(session.tile_pixels(record), tile(record.index, SHAPE).pixels)
        assert session.jpeg(captures[-1]) == capture(captures[-1].index).jpeg


def test_another_process_reads_while_one_writes(tmp_path):
    path = tmp_path / "run.h5"
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(TESTS)},
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        counts = []
        with Session.open(path) as session:
            for _ in range(5):
                for _ in range(6):
                    process.stdout.readline()
                tiles = session.tiles("lung-1")
                counts.append(len(tiles))
                assert np.ptp(session.tile_pixels(tiles[-1])) > 200
            assert session.summary()["state"] == "being written"
        assert counts == sorted(counts)
        assert counts[-1] > counts[0]
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    write_forever(Path(sys.argv[1]))
