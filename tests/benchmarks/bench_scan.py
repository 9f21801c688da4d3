"""What a scan costs beside moving, focusing and exposing, and what a hundred kills cost it.

    python tests/benchmarks/bench_scan.py [--frame 2048] [--rows 4] [--columns 5] [--kills 100]

Frames are ready beforehand; an exposure takes 20 ms, a move settles in 100 ms. Focusing is the autofocus itself, with
its moves, exposures and measures. What is left is the scan's own: checks, marks, and waiting for the session.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))

from ready_microscope import PIXEL_UM, ReadyMicroscope, ReadyStage, textured
from scan_kills import kill_and_go_on

import mobilescope.acquire.tile_taking as tile_taking
from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import FocusPlan
from mobilescope.plans.tile_areas import TileArea

EXPOSURE_S, SETTLE_S = 0.020, 0.100


def overhead(folder: Path, frame_px: int, rows: int, columns: int, every: int) -> None:
    """Scan a grid and print where the time went."""
    grid = FieldGrid(rows, columns, frame_px * PIXEL_UM, frame_px * PIXEL_UM)
    side = round(max(grid.region.width_um, grid.region.height_um) / PIXEL_UM) + 8
    stage = ReadyStage(settle_s=SETTLE_S, limit_um=1e6)
    device = ReadyMicroscope(textured(side), frame_px, stage=stage, exposure_s=EXPOSURE_S, tilt=0.0005)
    focusing, inside = [0.0], tile_taking.autofocus

    def timed(*given, **options):
        started, before = time.perf_counter(), stage.spent_s + device.spent_s
        record = inside(*given, **options)
        focusing[0] += time.perf_counter() - started - (stage.spent_s + device.spent_s - before)
        return record

    header = SessionHeader(
        slides=(SlideEntry(name="s", role="training"),), instrument={"instrument": {"name": "ready"}},
        benchtop_shape=(frame_px, frame_px), phone_shape=(4, 4),
    )
    tile_taking.autofocus = timed
    try:
        with SessionWriter.create_or_resume(folder / f"every{every}.h5", header) as writer:
            started = time.perf_counter()
            run = SlideRun("s", TileArea(grid), focus=FocusPlan(every=every))
            ScanRunner(device, writer, [run]).run()
            whole_s = time.perf_counter() - started
    finally:
        tile_taking.autofocus = inside
    own_s = whole_s - stage.spent_s - device.spent_s - focusing[0]
    tiles = rows * columns
    print(
        f"{tiles} tiles of {frame_px}², autofocus at every {every}: {whole_s:.1f} s, stage {stage.spent_s:.1f}, camera "
        f"{device.spent_s:.1f}, focus measures {focusing[0]:.1f}, own {own_s:.2f} s = {own_s / whole_s:.1%} "
        f"({1000 * own_s / tiles:.0f} ms a tile); target below 10 %"
    )


def main() -> None:
    """Measure both."""
    options = argparse.ArgumentParser()
    options.add_argument("--frame", type=int, default=2048)
    options.add_argument("--rows", type=int, default=3)
    options.add_argument("--columns", type=int, default=4)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--every", type=int, nargs="*", help="search the focus at every so-many-th tile")
    given = options.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for every in given.every or (1, 4, given.rows * given.columns):
            overhead(Path(folder), given.frame, given.rows, given.columns, every)
        if not given.kills:
            return
        started = time.perf_counter()
        scans = kill_and_go_on(Path(folder), given.kills, seed=1, whole_s=0.4)
        print(
            f"{given.kills} kills over {scans} scans of 30 tiles in {time.perf_counter() - started:.0f} s: every file "
            "opened and verified, no tile told as stored was lost, every finished scan has the positions of its plan"
        )


if __name__ == "__main__":
    main()
