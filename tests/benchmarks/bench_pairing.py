"""What a field of a paired session takes, and what fifty kills cost one.

    python tests/benchmarks/bench_pairing.py [--side 3] [--kills 50]

Both instruments are the twin's at their usual sizes: the phone's 512 px, the benchtop's 1024 px. The twin's rendering
is told apart, since a real camera does not render. A field is found in the stitched mosaic, or in tiles that are taken
around it with autofocus.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))

from pair_kills import kill_and_go_on

from mobilescope.app.acquisition.acquiring import open_writer, scan_job
from mobilescope.app.instruments.instrument import Instruments, build_instruments
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.app.paired_sessions.pair_opening import place_finder
from mobilescope.app.paired_sessions.pair_operator import StandIn
from mobilescope.app.paired_sessions.pair_session import PairRequest, SessionPairing
from mobilescope.core.config import InstrumentConfig
from mobilescope.data.session import Session
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan
from mobilescope.plans.scan_plans import GridScan

CONFIG = InstrumentConfig.model_validate({"twin": {"slides": {"s": {"specimen": "h&e", "seed": 3}}}})


class Rendering:
    """Counts the seconds, and those of the processor, that the twin spends on making pictures."""

    def __init__(self, instruments: Instruments) -> None:
        self.seconds = self.cpu_s = 0.0
        for device, name in ((instruments.phone, "capture"), (instruments.benchtop, "snap")):
            setattr(device, name, self._timed(getattr(device, name)))

    def _timed(self, take):
        def timed(*given, **options):
            started, cpu = time.perf_counter(), time.process_time()
            try:
                return take(*given, **options)
            finally:
                self.seconds += time.perf_counter() - started
                self.cpu_s += time.process_time() - cpu

        return timed


def fields(folder: Path, side: int, *, stitched: bool) -> None:
    """Pair a grid of fields and print what one took."""
    plan = JobPlan(slides=(SlidePlan(
        name="s", role="training", scan=GridScan(rows=side + 1, columns=side + 1),
        capture=GridPlan(rows=side, columns=side, overlap=0.0),
    ),))
    session = folder / f"{'mosaic' if stitched else 'live'}.h5"
    with build_instruments(CONFIG, source="benchmark") as instruments:
        if stitched:
            with open_writer(session, plan, instruments) as writer:
                scan_job(writer, plan, instruments)
            stitch_slide(session, "s")
        rendering = Rendering(instruments)
        with open_writer(session, plan, instruments) as writer:
            started, cpu = time.perf_counter(), time.process_time()
            SessionPairing(
                writer, plan, instruments, StandIn(), PairRequest(), place_finder
            ).pair()
            whole_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    with Session.open(session) as opened:
        links, tiles = opened.pair_links("s"), len(opened.tiles("s"))
    accepted = sum(link.accepted for link in links)
    own_s = (whole_s - rendering.seconds) / len(links)
    print(
        f"{len(links)} fields {'in the stitched mosaic' if stitched else f'live, {tiles} tiles taken around them'}: "
        f"{accepted} accepted; {whole_s / len(links):.2f} s a field (median "
        f"{statistics.median(link.seconds for link in links):.2f}), {own_s:.2f} s without the twin's rendering, or "
        f"{(cpu_s - rendering.cpu_s) / len(links):.2f} s of one core"
    )


def main() -> None:
    """Measure both."""
    options = argparse.ArgumentParser()
    options.add_argument("--side", type=int, default=3, help="fields along each side of the grid")
    options.add_argument("--kills", type=int, default=50)
    given = options.parse_args()
    cv2.setNumThreads(1)
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as folder:
        for stitched in (True, False):
            fields(Path(folder), given.side, stitched=stitched)
        started = time.perf_counter()
        finished, halves = kill_and_go_on(Path(folder), given.kills, seed=1, rows=1, columns=3)
        print(
            f"{given.kills} kills over {finished} sessions of 3 fields in {time.perf_counter() - started:.0f} s: every "
            f"file opened and verified, no half pair, no committed pair lost; {halves} kills left a capture whose pair "
            "was not committed yet, and the next run paired it"
        )


if __name__ == "__main__":
    main()
