"""A slide-sized mosaic: memory and time of `mobilescope stitch`, beside reading the tiles and writing a pyramid alone.

Run ``python tests/benchmarks/bench_mosaic.py [--side 13] [--tile 2048] [--format ome.tif] [--blend seam]
[--folder FOLDER]``.
Colour tiles of real tissue, mirrored at the seams, overlap by 10 % and lie up to 8 px off; they take about 2 GB. The
plain way pastes each tile's own share, reading and writing through the same functions, with no thought of where it
belongs. Targets: at most 1.5 GiB, at most 3 times the plain way.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

SLIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wsi" / "cmu1_small_region.svs"
STAGE_ERROR_PX = 8
OVERLAP = 0.1
NOISE = 3.0
WORKER = "from mobilescope.app.cli import main; main()"


def make_tiles(folder: Path, side: int, tile_px: int) -> np.ndarray:
    """Write the tiles and their table, and return the true positions (row, column), shape (tiles, 2)."""
    import cv2

    whole = cv2.imread(str(SLIDE), cv2.IMREAD_COLOR)
    if whole is None:
        raise SystemExit(f"{SLIDE} can't be read; the benchmark needs the shared data beside the repository")
    picture = whole[640:2960, 760:1600, ::-1]
    rng = np.random.default_rng(0)
    pitch = round(tile_px * (1 - OVERLAP))
    folder.mkdir(parents=True, exist_ok=True)
    mirrored = [np.concatenate([np.arange(n), np.arange(n)[::-1]]) for n in picture.shape[:2]]
    true = []
    with (folder / "tiles.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "x_um", "y_um"))
        for row in range(side):
            for column in range(side):
                place = np.array((row, column)) * pitch + rng.integers(0, 2 * STAGE_ERROR_PX + 1, 2)
                true.append(place)
                rows, columns = (
                    m[(np.arange(tile_px) + start) % len(m)] for m, start in zip(mirrored, place, strict=True)
                )
                clean = picture[np.ix_(rows, columns)].astype(np.float32)
                noise = NOISE * rng.standard_normal(clean.shape, dtype=np.float32)
                name = f"tile_{row}_{column}.tif"
                tifffile.imwrite(folder / name, np.clip(clean + noise, 0, 255).astype(np.uint8))
                table.writerow((name, column * pitch * 0.25, row * pitch * 0.25))
    return np.array(true, dtype=np.float64)


def plain_way(folder: Path, target: Path, side: int, tile_px: int) -> None:
    """Paste the tiles at nominal places, the lower and right ones without their overlap."""
    from mobilescope.app.mosaics.mosaic_output import MosaicPicture, write_mosaic
    from mobilescope.app.mosaics.tile_folders import read_tile
    from mobilescope.imaging.bands import Piece

    pitch = round(tile_px * (1 - OVERLAP))
    size = pitch * side

    def bands():
        for row in range(side):
            tiles = [read_tile(folder / f"tile_{row}_{column}.tif")[:pitch, :pitch] for column in range(side)]
            for start in range(0, pitch, 512):
                yield Piece(row * pitch + start, 0, np.hstack([tile[start:start + 512] for tile in tiles]))

    write_mosaic(target, bands(), MosaicPicture((size, size, 3), np.uint8, 0.25, (0.0, 0.0), {}))


def measured(arguments: list[str]) -> tuple[str, float, float]:
    """Run Python and return its output, its seconds and its peak memory in MiB."""
    start = time.perf_counter()
    code = (
        "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, "
        "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(r.stdout); "
        "sys.exit(r.returncode)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    peak, _, output = finished.stdout.partition("\n")
    return output, time.perf_counter() - start, int(peak) / 1024


def main() -> None:
    """Make the tiles, stitch them both ways, print a table or JSON."""
    parser = argparse.ArgumentParser(description="Memory and time of a slide-sized mosaic.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--side", type=int, default=13, help="tiles along each side")
    parser.add_argument("--tile", type=int, default=2048, help="pixels along each side of a tile")
    parser.add_argument("--format", default="ome.tif", choices=("ome.tif", "ome.zarr"))
    parser.add_argument("--blend", default="feather", choices=("feather", "seam"))
    parser.add_argument("--folder", type=Path, help="where a folder of tiles is made for the while")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain_way(options.plain, options.plain / f"plain.{options.format}", options.side, options.tile)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        true = make_tiles(folder, options.side, options.tile)
        out = folder / f"mosaic.{options.format}"
        text, seconds, peak = measured([
            "-c", WORKER, "stitch", str(folder), "--positions", str(folder / "tiles.csv"), "--pixel-size-um", "0.25",
            "--blend", options.blend, "--out", str(out), "--json",
        ])
        report = json.loads(text)
        _, plain_s, plain_peak = measured([
            __file__, "--plain", str(folder), "--side", str(options.side), "--tile", str(options.tile),
            "--format", options.format,
        ])
    found = np.array([(tile["row_px"], tile["column_px"]) for tile in report["tiles"]])
    difference = found - true
    errors = np.hypot(*(difference - np.median(difference, axis=0)).T)
    result = {
        "benchmark": "mosaic", "tiles": len(true), "format": options.format, "blend": options.blend, "seconds": seconds,
        **{f"{key}_s": value for key, value in report["seconds"].items()}, "plain_s": plain_s,
        "ratio": seconds / plain_s, "peak_mib": peak, "plain_peak_mib": plain_peak,
        "median_px": float(np.median(errors)), "worst_px": float(errors.max()),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{len(true)} tiles of {options.tile}² to {options.format}: {seconds:.1f} s (positions "
        f"{result['positions_s']:.1f}, mosaic {result['mosaic_s']:.1f}), plain {plain_s:.1f} s, ratio "
        f"{result['ratio']:.2f}; peak {peak:.0f} MiB (plain {plain_peak:.0f}); median {result['median_px']:.3f} px, "
        f"worst {result['worst_px']:.3f} px"
    )


if __name__ == "__main__":
    main()
