"""Every tile, every fourth, or a surface: what each way to focus costs a scan, and how far its tiles are out of focus.

    python tests/benchmarks/bench_focus_policies.py [--side 11] [--seeds 2]

The twin with a smear, its focus drive with 1 µm of play. The truth is the twin's. Time is counted, not taken, since the
twin renders its pictures: 100 ms for each move, 20 ms for each exposure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_autofocus import Drive
from memory_sink import MemorySink

from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.core.config import BenchtopConfig
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import FocusPlan
from mobilescope.plans.tile_areas import TileArea
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

MOVE_S, EXPOSURE_S, TOLERANCE_UM = 0.100, 0.020, 0.49
FRAME_PX, PIXEL_UM = 256, 0.37
# Pitch of the tiles, and the slide's surface.
SLIDES = {
    "neighbouring tiles, 1 x 1 mm, the twin's own surface": (90.0, {}),
    "tiles 1.4 mm apart, 4 µm of tilt a mm, 2 µm of warp": (
        1400.0, {"tilt_um_per_mm": 4.0, "waviness_um": 2.0, "wavelength_mm": 20.0},
    ),
}
POLICIES = {
    "every tile": FocusPlan(every=1),
    "every fourth tile": FocusPlan(every=4),
    "surface, 25 points": FocusPlan(mode="surface", points=25),
}


class CountingDrive(Drive):
    """A stage in memory that counts its moves."""

    moves = 0

    def move_xy(self, x_um: float, y_um: float) -> None:
        self.moves += 1
        super().move_xy(x_um, y_um)

    def move_z(self, z_um: float) -> None:
        self.moves += 1
        super().move_z(z_um)


def scanned(focus: FocusPlan, side: int, pitch_um: float, surface: dict[str, float], seed: int) -> tuple:
    """Scan once; return errors, searches, their images, and moves."""
    parameters = load_parameters({"stage": {"z_backlash_um": 1.0}, "surface": surface})
    rack = SlideRack({"s": SlideSpec(specimen="blood", seed=seed)}, parameters.surface)
    truth, drive = TruthLog(), CountingDrive()
    frame = BenchtopConfig(frame_rows=FRAME_PX, frame_columns=FRAME_PX, pixel_size_um=PIXEL_UM)
    scope = TwinBenchtop(drive, rack, parameters, frame, seed=seed, truth=truth)
    field_um = FRAME_PX * PIXEL_UM
    area = TileArea(FieldGrid(side, side, field_um, field_um, overlap=1 - pitch_um / field_um))
    sink = MemorySink()
    ScanRunner(scope, sink, [SlideRun("s", area, focus=focus, approach_um=2.0)]).run()
    whole = [tile.defocus_um for tile in truth.tiles if tile.whole]
    # Of tiles that were taken again, the second picture holds.
    last = {(key.row, key.column): number for number, (key, *_) in enumerate(sink.order)}
    records = [taken[-1][2] for taken in sink.attempts.values()]
    searches = sum(record.images_taken > 0 for record in records)
    errors = np.abs([whole[number] for number in last.values()])
    return errors, searches, len(truth.tiles) - len(whole), drive.moves, len(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=11)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    for name, (pitch_um, surface) in SLIDES.items():
        print(f"{name}, {given.side}x{given.side} tiles, {given.seeds} slides")
        for policy, focus in POLICIES.items():
            errors, counts = [], np.zeros(4)
            for seed in range(given.seeds):
                found, *numbers = scanned(focus, given.side, pitch_um, surface, seed)
                errors.append(found)
                counts += numbers
            error = np.concatenate(errors)
            searches, images, moves, frames = counts / given.seeds
            seconds = moves * MOVE_S + (images + frames) * EXPOSURE_S
            print(
                f"  {policy:20} within {TOLERANCE_UM} µm {np.mean(error <= TOLERANCE_UM):6.1%}  "
                f"95 % within {np.percentile(error, 95):5.2f} µm  worst {error.max():5.2f} µm  "
                f"searches {searches:.0f}  focus images {images:.0f}  moves {moves:.0f}  counted time {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
