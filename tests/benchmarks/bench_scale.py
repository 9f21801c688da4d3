"""Registration and patches of many sessions: pairs a minute by workers, and what a pair costs in bytes and seconds.

    python tests/benchmarks/bench_scale.py [--side 1024] [--captures 3] [--sessions 2] [--workers 1 2]

A session of the twin is made by the commands themselves, copied, and registered by the plain command and on a local
dask cluster in turn. Then its pairs are thinned, read as patches and exported. `docs/scale.md` counts with the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from integration.small_job import acquisition, mobilescope

from mobilescope.app.datasets.blank_patches import PatchPlan, thin_file
from mobilescope.app.datasets.exporting import export_session
from mobilescope.app.pairs.cluster import LOCAL, opened_cluster
from mobilescope.app.pairs.pair_parts import join_parts, part_path
from mobilescope.app.pairs.pairing import register_session
from mobilescope.app.pairs.scaling import register_sessions
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.learn.patches import PatchIndex, StoredPatches, factor_of

SLIDE = "smear"
BATCH = 32


def make_session(folder: Path, side: int, captures: int) -> Path:
    """Scan, capture and stitch a slide with square grids; a phone with ``side``² Bayer pixels."""
    field_um = side * 0.4625
    tiles = int(np.ceil((captures * 1.02 * field_um + 120) / (1024 * 0.37 * 0.9))) + 1
    (folder / "instrument.toml").write_text(
        'name = "twin"\n[benchtop]\nframe_rows = 1024\nframe_columns = 1024\n[twin]\nseed = 3\n'
        f"[twin.phone]\nbayer_rows = {side}\nbayer_columns = {side}\n"
        f'[twin.slides.{SLIDE}]\nspecimen = "h&e"\nseed = 1\n'
    )
    (folder / "plan.toml").write_text(
        f'[[slides]]\nname = "{SLIDE}"\nrole = "training"\n'
        f"scan = {{ rows = {tiles}, columns = {tiles}, overlap = 0.1 }}\n"
        f"capture = {{ rows = {captures}, columns = {captures}, overlap = -0.02 }}\n"
    )
    for command in (acquisition("scan"), acquisition("capture"), ("stitch", "session.h5")):
        run = mobilescope(*command, folder=folder)
        if run.status:
            raise SystemExit(run.errors)
    return folder / "session.h5"


def copied(session: Path, folder: Path, count: int) -> list[Path]:
    """Copy a session and its mosaic under names of their own."""
    folder.mkdir()
    for number in range(count):
        for path in session.parent.glob(f"{session.stem}*.h5"):
            if ".pairs" not in path.name:
                shutil.copy(path, folder / path.name.replace(session.stem, f"s{number}", 1))
    return [folder / f"s{number}.h5" for number in range(count)]


@contextmanager
def taking_time(into: dict[str, float], name: str, clock: Callable[[], float] = time.perf_counter):
    begun_s = clock()
    yield
    into[name] = clock() - begun_s


def processor_s() -> float:
    """Return the processor time of this process and of those that it started and that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def plain(sessions: list[Path], workers: int) -> dict[str, float]:
    """Register one session after the other as the command without a cluster does."""
    took: dict[str, float] = {}
    with taking_time(took, "seconds"):
        for session in sessions:
            register_session(session, workers=workers)
    return took


def on_cluster(sessions: list[Path], workers: int) -> dict[str, float]:
    """Register them on a local cluster; its start is counted apart."""
    took: dict[str, float] = {}

    @contextmanager
    def opened():
        with taking_time(took, "start"):
            opening = opened_cluster(LOCAL, workers, lambda _: None)
            crowd = opening.__enter__()
        try:
            yield crowd
        finally:
            took["closing_from"] = time.perf_counter()
            opening.__exit__(None, None, None)

    begun_s = time.perf_counter()
    outcomes = register_sessions(sessions, opened)
    whole_s = time.perf_counter() - begun_s
    if any(outcome.state != "registered" for outcome in outcomes):
        raise SystemExit(outcomes)
    took["seconds"] = took.pop("closing_from") - begun_s - took["start"]
    took["whole"] = whole_s
    return took


def per_pair(session: Path, folder: Path) -> dict[str, float]:
    """Return bytes and seconds of processor time of one pair on each step after the registration."""
    pairs = session.with_name(f"{session.stem}.pairs.h5")
    took: dict[str, float] = {}
    with Session.open(session) as opened:
        captures, raw = len(opened.captures(SLIDE)), opened.captures(SLIDE)[0]
        raw_bytes = opened.bayer(raw).nbytes + raw.jpeg_length
    with PairStore.open(pairs) as store:
        count, factor = len(store.records), factor_of(store)
        accepted = [index for index, record in enumerate(store.records) if record.accepted]
        shapes = [store.records[index].shape for index in accepted]
        parts = folder / "parts"
        parts.mkdir()
        for number in range(count):
            with PairWriter(part_path(parts, number), store.provenance) as writer:
                writer.adopt(store, number)
    with taking_time(took, "join_s", time.process_time):
        join_parts(parts, count, folder / "joined.pairs.h5", {"factor": float(factor), "made_of": "a benchmark"})
    with taking_time(took, "thin_s", time.process_time):
        thinned = thin_file(pairs, frozenset([SLIDE]), PatchPlan())
    index = PatchIndex.over(shapes, 60, 36, factor)
    reader = StoredPatches([(pairs, each) for each in accepted], index)
    random, batches = np.random.default_rng(0), 24
    with taking_time(took, "read_s", time.process_time):
        for _ in range(batches):
            reader.read(random.integers(0, len(index), BATCH), np.zeros(BATCH, np.int64))
    reader.close()
    with taking_time(took, "export_s", time.process_time):
        files = export_session(pairs, folder / "folders", "tiff")
    exported = sum(path.stat().st_size for path in files if path.suffix == ".tif")
    patches = sum(thinned.patches.values())
    pixels = float(np.mean([rows * columns for rows, columns in shapes]))
    return {
        "pairs": count, "accepted": len(accepted), "input_Mpx": pixels / 1e6,
        "captured_MB": raw_bytes / 1e6, "session_MB": session.stat().st_size / captures / 1e6,
        "pair_file_MB": pairs.stat().st_size / count / 1e6, "tiff_MB": exported / max(1, len(accepted)) / 1e6,
        "patches": patches / max(1, len(accepted)), "join_s": took["join_s"] / count,
        "join_MB_per_s": pairs.stat().st_size / took["join_s"] / 1e6, "thin_s": took["thin_s"] / max(1, len(accepted)),
        "patches_read_per_s": batches * BATCH / took["read_s"], "export_s": took["export_s"] / max(1, len(accepted)),
    }


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="Bayer pixels along each side of a capture")
    parser.add_argument("--captures", type=int, default=3, help="fields along each side of the slide")
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        session = make_session(folder, given.side, given.captures)
        pairs = given.sessions * given.captures**2
        ways: dict[str, Callable[[list[Path]], dict[str, float]]] = {}
        for workers in given.workers:
            ways[f"plain, {workers} worker(s)"] = partial(plain, workers=workers)
            ways[f"cluster, {workers} worker(s)"] = partial(on_cluster, workers=workers)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        last: list[Path] = []
        for repeat in range(given.repeats):
            for number, (name, way) in enumerate(ways.items()):
                last = copied(session, folder / f"run{repeat}-{number}", given.sessions)
                before_s = processor_s()
                took = way(last)
                runs[name].append(took | {"cpu": processor_s() - before_s})
                print(f"{name}: {runs[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
        speeds = {
            name: {
                "pairs_per_minute": 60 * pairs / statistics.median(run["seconds"] for run in took),
                "cpu_s_per_pair": statistics.median(run["cpu"] for run in took) / pairs,
                "start_s": statistics.median(run.get("start", 0.0) for run in took),
            }
            for name, took in runs.items()
        }
        costs = per_pair(last[0], folder)
    if given.json:
        print(json.dumps({"speeds": speeds, "pair": costs}))
        return
    print(f"{given.sessions} sessions, {pairs} pairs of {costs['input_Mpx']:.3f} Mpx")
    for name, row in speeds.items():
        print(
            f"{name:24}{row['pairs_per_minute']:8.1f} pairs/min, {row['cpu_s_per_pair']:.2f} s of processor time "
            f"a pair, start {row['start_s']:.1f} s"
        )
    for name, value in costs.items():
        print(f"{name:24}{value:10.3f}")


if __name__ == "__main__":
    main()
