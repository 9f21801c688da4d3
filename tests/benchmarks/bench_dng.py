"""Raw files: time and memory of our development against rawpy's own, from the file to the 16-bit picture.

    python tests/benchmarks/bench_dng.py [--quick] [--repeats 7]

Both halve the lattice, leave brightness alone and apply the camera's white balance. Times are medians of alternating
runs in this process, memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import rawpy
import tifffile

from mobilescope.imaging.defects import defects_of, without_defects
from mobilescope.imaging.dng import read_dng
from mobilescope.imaging.flat_field import clear_light, shading_of
from mobilescope.imaging.raw import develop_srgb

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw"
SYNTHETIC = (5368, 7728)
QUICK = (536, 772)

PEAK = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from bench_dng import {name}
{name}(Path({file!r}))
# What getrusage tells begins with the memory of the process that started this one.
line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(line.split()[1]) / 1024)
"""


def ours(path):
    """Develop a file with `imaging.dng`."""
    return read_dng(path).develop()


def corrected(path):
    """Develop a file with the defects and the flat field of dark frames and a clear field that are made up."""
    frame = read_dng(path)
    bayer = without_defects(frame.bayer, recipe(frame.bayer.shape)[0])
    return develop_srgb(
        bayer, cfa=frame.cfa, black_level=frame.black_level, white_level=frame.white_level,
        white_balance=frame.white_balance, shading=recipe(frame.bayer.shape)[1],
    )


@lru_cache(maxsize=1)
def recipe(shape):
    """Return the defects and the shading of a sensor with some of either."""
    dark, clear = np.full(shape, 64, np.float32), np.full(shape, 2500, np.float32)
    dark[::997, ::997] += 900
    clear *= 1 - 0.3 * np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] ** 2
    levels = {"black_level": 64, "white_level": 4095}
    shading = shading_of(clear_light(clear, cfa="RGGB", dark=dark, **levels))
    return np.concatenate(defects_of(dark, clear, **levels)), shading


def theirs(path):
    """Develop a file with LibRaw's own processing."""
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(
            half_size=True, gamma=(2.4, 12.92), no_auto_bright=True, use_camera_wb=True, output_bps=16, user_flip=0,
            output_color=rawpy.ColorSpace.raw,
        )


def synthetic(path, shape):
    """Write a DNG of smooth colours with noise, as a phone of so many pixels would."""
    rng = np.random.default_rng(0)
    rows, columns = (np.linspace(0, 1, side, dtype=np.float32) for side in shape)
    light = 600 + 2400 * rows[:, None] * columns
    mosaic = (light + rng.normal(0, 20, (64, shape[1])).astype(np.float32)[np.arange(shape[0]) % 64]).astype(np.uint16)
    tags = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True), (50708, "s", 0, "synthetic", True),
        (50714, "H", 1, 64, True), (50717, "H", 1, 4095, True),
        (50728, "2I", 3, (1, 2, 1, 1, 2, 3), True),
    ]
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags)
    return path


def seconds(function, path):
    """Return how long one call takes."""
    begun_s = time.perf_counter()
    function(path)
    return time.perf_counter() - begun_s


def peak_mib(name, path):
    """Return the greatest memory of a process that does it once."""
    code = PEAK.format(path=[str(Path(__file__).parent)], name=name, file=str(path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(ran.stdout)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a small synthetic file, once")
    options = parser.parse_args()
    repeats, shape = (1, QUICK) if options.quick else (options.repeats, SYNTHETIC)
    with tempfile.TemporaryDirectory() as folder:
        made = synthetic(Path(folder) / f"synthetic {shape[0] * shape[1] / 1e6:.1f} Mpx.dng", shape)
        files = [path for path in (DATA / "Blackmagic.dng", DATA / "laser_test.dng") if path.exists()]
        print("| file | Mpx | rawpy, s | ours, s | ratio | rawpy, MiB | ours, MiB |\n|---|---|---|---|---|---|---|")
        for path in (*files, made):
            mpx = read_dng(path).bayer.size / 1e6
            pairs = [(seconds(theirs, path), seconds(ours, path)) for _ in range(repeats)]
            rawpy_s, ours_s = (statistics.median(times) for times in zip(*pairs, strict=True))
            print(
                f"| {path.stem} | {mpx:.1f} | {rawpy_s:.3f} | {ours_s:.3f} | {ours_s / rawpy_s:.2f} | "
                f"{peak_mib('theirs', path):.0f} | {peak_mib('ours', path):.0f} |", flush=True,
            )
        begun_s = time.perf_counter()
        recipe(shape)
        found_s = time.perf_counter() - begun_s
        applied_s = statistics.median(seconds(corrected, made) for _ in range(repeats))
        print(
            f"\n{made.stem} with defects and flat field: found once in {found_s:.2f} s, then {applied_s:.3f} s a file, "
            f"{peak_mib('corrected', made):.0f} MiB with the finding"
        )


if __name__ == "__main__":
    main()
