"""How fast slides are enhanced from file to pyramid, and in how much memory, whatever their number of rows.

Run ``python tests/benchmarks/bench_slides.py [--json] [--side PX] [--model FILE]``. The slide is a tiled,
deflate-compressed TIFF of real tissue, repeated; each run has a process of its own, whose peak memory is its own.
Without a model, the network is R18's with random weights, which take as long as trained ones but compress worse. The
share of the network alone is that of the same tiles enhanced and thrown away.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

REGION = Path(__file__).resolve().parents[3] / "shared" / "data" / "wsi" / "cmu1_small_region.svs"
TILE_PX = 512
INPUT_UM = 0.925


def write_slide(path: Path, rows: int, columns: int) -> None:
    """Write tissue from places all over the region, tile after tile."""
    import tifffile

    from mobilescope.imaging.pixel_sources import open_pixels

    source, _ = open_pixels(REGION)
    count = -(-rows // TILE_PX) * -(-columns // TILE_PX)

    def tiles() -> Iterator[np.ndarray]:
        for index in range(count):
            yield np.ascontiguousarray(source.read(index * 131 % 2400, index * 71 % 1700, TILE_PX, TILE_PX))

    tifffile.imwrite(
        path, tiles(), shape=(rows, columns, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX), photometric="rgb",
        compression="zlib", resolution=(1e4 / INPUT_UM, 1e4 / INPUT_UM), resolutionunit="CENTIMETER",
    )


def write_model(path: Path) -> None:
    """Write R18's network with random weights."""
    from mobilescope.learn.checkpoint import ModelCard, save_model
    from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

    network = EnhancementNetwork(NetworkConfig())
    network.initialise(0)
    save_model(path, network, ModelCard(NetworkConfig(), INPUT_UM, 0.37, "none", "phone"))


def measure(model: Path, slide: Path, target: Path) -> dict[str, float | str]:
    """Enhance a slide into a pyramid, and then into nothing."""
    from mobilescope.app.enhancement.enhancing import ByBand, enhance_path
    from mobilescope.app.pictures.images import open_picture
    from mobilescope.enhance.enhancer import Enhancer

    begun = time.perf_counter()
    (done,) = enhance_path(model, slide, target).done
    seconds, peak_kb = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    picture, enhancer = open_picture(slide), Enhancer.from_checkpoint(model)
    begun = time.perf_counter()
    for _ in enhancer.stream(ByBand(picture.source), picture.shape):
        pass
    return {
        "engine": done.engine, "seconds": seconds, "network_seconds": time.perf_counter() - begun,
        "peak_mb": peak_kb / 1024, "file_mb": target.stat().st_size / 1e6,
    }


def main() -> None:
    """Measure a slide, and one of a quarter of its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", type=int, default=10_000, metavar="PX", help="of the slide before it is enhanced")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--measure", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        model = given.model or folder / "model.pt"
        if given.model is None:
            write_model(model)
        for rows in (given.side // 4, given.side):
            slide, target = folder / "slide.tif", folder / "out.ome.tif"
            write_slide(slide, rows, given.side)
            command = [sys.executable, __file__, "--measure", model, slide, target]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append({"rows": rows, "columns": given.side} | json.loads(run.stdout))
            target.unlink()
    if given.json:
        print(json.dumps(found))
        return
    for row in found:
        held = row["rows"] * row["columns"] * 2.5**2 * 3 / 2**20
        print(
            f"{row['columns']}x{row['rows']} px on {row['engine']}: {row['seconds']:.0f} s, the network alone "
            f"{row['network_seconds']:.0f} s; peak {row['peak_mb']:.0f} MB (the output held whole: {held:.0f} MB), "
            f"file {row['file_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
