"""Killing a scan at random instants and going on with it; shared by a test and a benchmark."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scan_program

from mobilescope.data.session import Session

ROWS, COLUMNS, SETTLE_S = 5, 6, 0.0005


def _scan(session: str, told) -> None:
    """Scan in this process; tell of each stored tile through a pipe."""
    os.dup2(told.fileno(), 1)
    scan_program.scan(Path(session), ROWS, COLUMNS, SETTLE_S)


def _server():
    context = multiprocessing.get_context("forkserver")
    # The server imports the program once, for which it needs to find it.
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    context.set_forkserver_preload(["scan_program"])
    return context


def kill_once(session: Path, after_s: float) -> tuple[int, bool]:
    """Go on with a scan and kill it ``after_s`` after it is ready; return the tiles told, and whether it ended."""
    context = _server()
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_scan, args=(str(session), writing))
    process.start()
    writing.close()
    with os.fdopen(os.dup(reading.fileno()), "rb") as told:
        first = told.readline()
        assert first == b"ready\n", first
        time.sleep(after_s)
        process.kill()
        lines = told.read().splitlines()
    process.join()
    reading.close()
    numbers = [int(line) for line in lines if line.isdigit()]
    return (numbers[-1] if numbers else 0), process.exitcode == 0


def finish(session: Path) -> None:
    """Let a scan run to its end."""
    context = _server()
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_scan, args=(str(session), writing))
    process.start()
    writing.close()
    with os.fdopen(os.dup(reading.fileno()), "rb") as told:
        told.read()
    process.join()
    reading.close()
    assert process.exitcode == 0


def stored(session: Path) -> int:
    """Open a session as a reader does, verify it, and return how many tiles it has."""
    with Session.open(session) as opened:
        assert opened.verify() == []
        return len(opened.tiles(scan_program.SLIDE))


def places(session: Path) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the positions of a session's tiles."""
    with Session.open(session) as opened:
        return {
            (tile.row, tile.column): (tile.position.x_um, tile.position.y_um)
            for tile in opened.tiles(scan_program.SLIDE)
        }


def mosaic_places(session: Path) -> dict[str, tuple[float, float]]:
    """Return where the command that stitches puts each tile, (row, column) in pixels."""
    command = [Path(sys.executable).with_name("mobilescope"), "stitch", session, "--positions-only", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return {tile["file"]: (tile["row_px"], tile["column_px"]) for tile in json.loads(done.stdout)["tiles"]}


def kill_and_go_on(folder: Path, kills: int, *, seed: int, whole_s: float) -> int:
    """Kill scans ``kills`` times in all, each going on with the last until it is whole; return the scans finished."""
    generator = random.Random(seed)
    finished = 0
    reference = {
        (stop.row, stop.column): (stop.x_um, stop.y_um)
        for stop in scan_program.area(ROWS, COLUMNS).positions()
    }
    session = folder / "scan-0.h5"
    told_before = 0
    for _ in range(kills):
        told, ended = kill_once(session, generator.uniform(0, whole_s))
        have = stored(session)
        told_before = max(told, told_before)
        assert told_before <= have <= told_before + 2, "a tile that was told as stored is not there"
        if ended or have == len(reference):
            finish(session)
            assert places(session) == reference
            finished += 1
            session, told_before = folder / f"scan-{finished}.h5", 0
    if session.exists():
        finish(session)
        assert stored(session) == len(reference)
        got = places(session)
        assert got.keys() == reference.keys()
        np.testing.assert_allclose([got[cell] for cell in reference], [reference[cell] for cell in reference])
        finished += 1
    return finished
