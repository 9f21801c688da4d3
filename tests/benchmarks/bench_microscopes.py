"""Micro-Manager: what a picture costs beside the bare core's, and how true the stage's calibration is.

    python tests/benchmarks/bench_microscopes.py
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from micromanager_demo import demo_benchtop, demo_config, demo_link, no_question
from picturing_core import PicturingCore, texture

from mobilescope.acquire.stage_calibration import calibrate_stage
from mobilescope.core.errors import CalibrationError
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop

PICTURES = 15
FRAME_PX = 2048
TURNS = ((0.0, False), (3.0, False), (-17.0, True), (90.0, False), (-135.0, True), (178.0, True))
PIXEL_UM = 0.8


def median_ms(act) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(PICTURES):
        started_s = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - started_s))
    return statistics.median(times)


def pictures() -> None:
    """Print the time of a picture with each backend, and that of the core's own calls for it."""
    print(f"{FRAME_PX}x{FRAME_PX} colour, exposure 1 ms; median ms")
    print(f"{'backend':<8} {'snap':>8} {'bare core':>10} {'384 px square':>14} {'move z':>8}")
    for backend in ("python", "java"):
        with demo_benchtop(backend, exposure_ms=1.0, frame_px=FRAME_PX) as microscope:
            link = microscope._link

            def bare(link=link):
                link.call("take a picture", "snap_image")
                link.call("read it", "get_image")

            print(
                f"{backend:<8} {median_ms(microscope.snap):8.1f} {median_ms(bare):10.1f} "
                f"{median_ms(lambda: microscope.snap(roi_px=384)):14.1f} "
                f"{median_ms(lambda: microscope.stage.move_z(1.0)):8.2f}"
            )


def calibrations() -> None:
    """Print the error of calibrations with cameras turned, mirrored and with play in the stage."""
    size, angle, play, refused = [], [], [], 0
    with demo_link("python") as link:
        for seed in range(3):
            specimen = texture(seed)
            for rotation_deg, mirrored in TURNS:
                camera = PicturingCore(
                    link, specimen, pixel_size_um=PIXEL_UM, rotation_deg=rotation_deg, mirrored=mirrored, play_um=4.0
                )
                config = demo_config(frame_px=512, pixel_size_um=1.1)
                link.call("go home", "set_xy_position", "XY", 0.0, 0.0)
                try:
                    found = calibrate_stage(MicroManagerBenchtop(camera, config, ask_mount=no_question))
                except CalibrationError as error:
                    print(f"refused: {error}")
                    refused += 1
                    continue
                size.append(abs(found.affine.pixel_size_um / PIXEL_UM - 1))
                angle.append(float(np.abs(found.affine.device_to_stage - camera.device_to_stage).max()))
                play.append(float(np.abs(np.array(found.backlash_um) - 4.0).max()))
    print(
        f"calibrations: {len(size)} of {len(size) + refused}, pixel size off by {max(size):.4%} at most, "
        f"matrix by {max(angle):.5f}, play by {max(play):.3f} µm"
    )


if __name__ == "__main__":
    pictures()
    calibrations()
