"""Killing a paired session at random instants and going on with it; shared by a test and a benchmark."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pair_program

from mobilescope.core.pair_link import PairLink
from mobilescope.data.link_records import current_fields
from mobilescope.data.session import Session


@dataclass(frozen=True)
class Stored:
    """What a reader finds after a kill."""

    links: list[PairLink]
    captures: int
    tiles: int


def _pair(session: str, rows: int, columns: int, told) -> None:
    os.dup2(told.fileno(), 1)
    pair_program.pair(Path(session), rows, columns)


def _server():
    context = multiprocessing.get_context("forkserver")
    # The server imports the program once, for which it needs to find it.
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    context.set_forkserver_preload(["pair_program"])
    return context


def run(session: Path, rows: int, columns: int, kill_after_s: float | None = None) -> tuple[int, bool, float]:
    """Go on with a session, to its end or until it is killed so long after it is ready.

    Returns the fields told as done, whether it ended by itself, and the seconds since it was ready.
    """
    context = _server()
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_pair, args=(str(session), rows, columns, writing))
    process.start()
    writing.close()
    with os.fdopen(os.dup(reading.fileno()), "rb") as told:
        assert told.readline() == b"ready\n"
        started = time.monotonic()
        if kill_after_s is not None:
            process.join(kill_after_s)
            process.kill()
        lines = told.read().splitlines()
    process.join()
    reading.close()
    seconds = time.monotonic() - started
    numbers = [int(line) for line in lines if line.isdigit()]
    return (numbers[-1] if numbers else 0), process.exitcode == 0, seconds


def stored(session: Path) -> Stored:
    """Open a session as a reader does, check that it is whole and holds no half pair, and return what it has."""
    with Session.open(session) as opened:
        assert opened.verify() == []  # which names half pairs
        links, captures = opened.pair_links(pair_program.SLIDE), opened.captures(pair_program.SLIDE)
        by_index = {capture.index: capture for capture in captures}
        assert len(by_index) == len(captures)
        for link in links:
            assert (by_index[link.index].row, by_index[link.index].column) == (link.row, link.column)
        return Stored(links, len(captures), len(opened.tiles(pair_program.SLIDE)))


def kill_and_go_on(folder: Path, kills: int, *, seed: int, rows: int, columns: int) -> tuple[int, int]:
    """Kill paired sessions ``kills`` times in all, each going on with the last until it is whole.

    Returns the sessions finished, and the kills that left a capture without its link.
    """
    generator = random.Random(seed)
    finished = halves = 0
    _, _, whole_s = run(folder / "measured.h5", rows, columns)
    session, before = folder / "pair-0.h5", Stored([], 0, 0)
    for _ in range(kills):
        told, ended, _ = run(session, rows, columns, generator.uniform(0, whole_s))
        now = stored(session)
        # By their words, since figures that are no numbers do not equal themselves.
        assert repr(now.links[: len(before.links)]) == repr(before.links), "a committed pair is gone or changed"
        assert len(now.links) >= len(before.links) + told, "a pair that was told as done is not there"
        assert now.captures <= len(now.links) + 1, "more than the capture in flight has no pair"
        halves += now.captures > len(now.links)
        before = now
        if ended or len(current_fields(now.links)) == rows * columns:
            _check_whole(session, rows, columns)
            finished += 1
            session, before = folder / f"pair-{finished}.h5", Stored([], 0, 0)
    if session.exists():
        _check_whole(session, rows, columns)
        finished += 1
    return finished, halves


def _check_whole(session: Path, rows: int, columns: int) -> None:
    """Let a session run to its end: every field has one pair, and no capture is without."""
    run(session, rows, columns)
    whole = stored(session)
    assert sorted((link.row, link.column) for link in whole.links) == [
        (row, column) for row in range(rows) for column in range(columns)
    ]
    assert {link.verdict for link in whole.links} == {"accepted"}
    assert whole.captures == len(whole.links)
