"""How fast tiles go into a session, compared with writing the same bytes to a plain file in the same run.

Run ``python tests/benchmarks/bench_session.py [--json]``. Each repeat writes all variants in turn, each into a new
file; the medians are reported, once handed to the system and once with the final fsync.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopImage, LightState, PositionUm, TileKey
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter

TISSUE = Path(__file__).resolve().parents[3] / "shared" / "data" / "he_monuseg_train"
SIDE = 2048
IMAGE_PX = 1000
MAX_TILES = 12
# Here the system takes 1 MiB at a time several times as fast as 12 MiB; the ratios are those to the faster way.
PIECE_BYTES = 1024**2
LIGHT = LightState(on=True, red=255, green=255, blue=255, brightness=1.0, source="lamp")
Tile = NDArray[np.uint8]


def tissue_tiles(count: int) -> list[Tile]:
    """Return stained tissue in 2048² RGB tiles, each of four images of 1000², mirrored at their edges."""
    images = []
    for file in sorted(TISSUE.glob("*.tif")):
        read = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if read is None:
            raise SystemExit(f"{file} can't be read")
        image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)[:IMAGE_PX, :IMAGE_PX]
        margin = (0, SIDE // 2 - IMAGE_PX)
        images.append(np.pad(image, (margin, margin, (0, 0)), mode="reflect"))
    if not images:
        raise SystemExit(f"no images under {TISSUE}")
    tiles = []
    for start in range(min(count, MAX_TILES)):
        four = [images[(4 * start + i) % len(images)] for i in range(4)]
        tiles.append(np.ascontiguousarray(np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])))
    return [tiles[i % len(tiles)] for i in range(count)]


def write_plain(path: Path, tiles: list[Tile], piece_bytes: int) -> float:
    """Append every tile to one file, in pieces; return the seconds until the system had them all."""
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for tile in tiles:
            data = memoryview(tile).cast("B")
            for begin in range(0, len(data), piece_bytes):
                file.write(data[begin:begin + piece_bytes])
    return time.perf_counter() - start


def write_session(path: Path, tiles: list[Tile], *, compress: bool) -> float:
    """Add every tile to a new session; return the seconds from the first add to the last."""
    header = SessionHeader(
        slides=(SlideEntry(name="tissue", role="training"),), instrument={}, benchtop_shape=(SIDE, SIDE),
        phone_shape=(64, 64),
    )
    focus = FocusRecord("focused", 0.0, 1.0)
    with SessionWriter.create_or_resume(path, header, compress=compress) as session:
        start = time.perf_counter()
        for index, tile in enumerate(tiles):
            image = BenchtopImage(tile, 0.37, PositionUm(index, 0, 0), time.time(), 5.0, LIGHT, "benchmark")
            session.add_benchtop_tile(TileKey("tissue", 0, index), index, image, focus)
        return time.perf_counter() - start


def measure(folder: Path, tiles: list[Tile], repeats: int) -> dict[str, dict[str, float]]:
    """Return for each variant MB/s of pixels, with and without fsync, ratios to the plain file, CPU time, and size."""
    variants: dict[str, Callable[[Path], float]] = {
        "plain file": lambda path: write_plain(path, tiles, PIECE_BYTES),
        "plain, frame in one go": lambda path: write_plain(path, tiles, tiles[0].nbytes),
        "session, uncompressed": lambda path: write_session(path, tiles, compress=False),
        "session, compressed": lambda path: write_session(path, tiles, compress=True),
    }
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in variants}
    sizes: dict[str, int] = {}
    for repeat in range(repeats + 1):
        for name in random.Random(repeat).sample(list(variants), len(variants)):
            path = folder / "run.h5"
            start, cpu = time.perf_counter(), time.process_time()
            handed_s = variants[name](path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            seconds[name].append((handed_s, time.perf_counter() - start, time.process_time() - cpu))
            sizes[name] = path.stat().st_size
            path.unlink()
            os.sync()  # so that no variant pays for throwing away another's file
    megabytes = sum(tile.nbytes for tile in tiles) / 1e6
    medians = {  # the first repeat warms the system's page cache
        name: [statistics.median(column) for column in zip(*runs[1:], strict=True)] for name, runs in seconds.items()
    }
    plain = medians["plain file"]
    return {
        name: {
            "MB_per_s": megabytes / handed_s, "ratio": plain[0] / handed_s,
            "fsynced_MB_per_s": megabytes / synced_s, "fsynced_ratio": plain[1] / synced_s,
            "frames_per_s": len(tiles) / synced_s, "cpu_ms_per_frame": 1e3 * cpu_s / len(tiles),
            "size_ratio": sizes[name] / sizes["plain file"],
        }
        for name, (handed_s, synced_s, cpu_s) in medians.items()
    }


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tiles", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(Path(folder), tissue_tiles(options.tiles), options.repeats)
    if options.json:
        print(json.dumps({"tiles": options.tiles, "repeats": options.repeats, "variants": result}, indent=2))
        return
    print(f"{'':24}{'MB/s':>8}{'ratio':>8}{'fsynced MB/s':>14}{'ratio':>8}{'frames/s':>10}{'CPU ms':>8}{'size':>8}")
    for name, row in result.items():
        print(
            f"{name:24}{row['MB_per_s']:8.0f}{row['ratio']:8.2f}{row['fsynced_MB_per_s']:14.0f}"
            f"{row['fsynced_ratio']:8.2f}{row['frames_per_s']:10.1f}{row['cpu_ms_per_frame']:8.1f}{row['size_ratio']:8.2f}"
        )


if __name__ == "__main__":
    main()
