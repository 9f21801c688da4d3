"""How well and how fast tiles are placed, on real tissue with known positions, beside ASHLAR.

Run ``python tests/benchmarks/bench_stitching.py [--json] [--seeds N] [--peer-python PYTHON]``. ASHLAR comes with
the extra ``bench``; where it lives in another environment, ``--peer-python`` names that environment's interpreter.
Tiles of 512² overlap by 10 %, the stage errs by up to 8 px along each axis, true positions are fractions of a
pixel, and each tile has its own noise. Errors are distances after the median offset is taken away, over the tiles
that show tissue and that a chain of such tiles, sharing an edge or a corner, ties to the largest group; the content
says nothing about where the others lie, and their number is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SLIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wsi" / "cmu1_small_region.svs"
TILE_PX = 512
OVERLAP_PX = 51
STAGE_ERROR_PX = 8.0
NOISE = 5.0
MAX_SHIFT_PX = 24
PEER_MAX_SHIFT_PX = 30
CASES = {"5x5": (5, 0.0), "10x10": (10, 0.0), "10x10, 30 % blank": (10, 0.3)}


@dataclass(frozen=True, eq=False)
class Scan:
    """Tiles (count, 512, 512) uint8 with the stage's word, the truth (row, column), and which can be judged."""

    tiles: np.ndarray
    nominal_px: np.ndarray
    true_px: np.ndarray
    judged: np.ndarray
    untied: int


def tissue_canvas(side_px: int) -> np.ndarray:
    """Return a grey square of real tissue, mirrored at the seams so that no structure recurs within a tile's reach."""
    import cv2

    picture = cv2.imread(str(SLIDE), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{SLIDE} can't be read; the benchmark needs the shared data beside the repository")
    panel = picture[640:2960, 760:1600, 1]
    row = np.hstack([panel[:, ::-1] if k % 2 else panel for k in range(-(-side_px // panel.shape[1]))])
    column = np.vstack([row[::-1] if k % 2 else row for k in range(-(-side_px // panel.shape[0]))])
    return np.ascontiguousarray(column[:side_px, :side_px])


def cut_scan(side: int, blank: float, seed: int) -> Scan:
    """Cut a square grid of tiles from the canvas at known places."""
    import cv2
    from scipy.ndimage import label

    rng = np.random.default_rng(seed)
    pitch = TILE_PX - OVERLAP_PX
    nominal = pitch * np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    nominal = nominal.astype(np.float64)
    true = nominal + rng.uniform(-STAGE_ERROR_PX, STAGE_ERROR_PX, nominal.shape) + 40
    # OpenCV interpolates at 32nds of a pixel: on these the truth is exact.
    true = np.round(true * 32) / 32
    canvas = tissue_canvas(pitch * side + OVERLAP_PX + 80)
    empty = rng.choice(len(nominal), round(blank * len(nominal)), replace=False)
    tiles = np.empty((len(nominal), TILE_PX, TILE_PX), dtype=np.uint8)
    for index, (row, column) in enumerate(true):
        place = np.array([[1.0, 0.0, column], [0.0, 1.0, row]])
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        clean = (
            np.full((TILE_PX, TILE_PX), 242.0) if index in empty
            else cv2.warpAffine(canvas, place, (TILE_PX, TILE_PX), flags=flags).astype(np.float64)
        )
        tiles[index] = np.clip(np.rint(clean + rng.normal(0, NOISE, clean.shape)), 0, 255)
    tissue = ~np.isin(np.arange(len(nominal)), empty)
    groups = label(tissue.reshape(side, side), np.ones((3, 3)))[0].ravel()
    judged = groups == np.bincount(groups[tissue]).argmax()
    return Scan(tiles, nominal, true, judged, int((tissue & ~judged).sum()))


def errors_px(positions_px: np.ndarray, scan: Scan) -> np.ndarray:
    """Return each judged tile's distance from the truth, the median offset taken away."""
    difference = (positions_px - scan.true_px)[scan.judged]
    return np.hypot(*(difference - np.median(difference, axis=0)).T)


def run_ours(scan: Scan) -> tuple[np.ndarray, float]:
    """Return this project's positions and the seconds they took."""
    from mobilescope.imaging.stitching import solve_layout
    from mobilescope.imaging.tile_pairs import measure_pairs

    start = time.perf_counter()
    pairs = measure_pairs(
        lambda index: scan.tiles[index], scan.nominal_px, (TILE_PX, TILE_PX),
        max_shift_px=MAX_SHIFT_PX,
    )
    layout = solve_layout(scan.nominal_px, pairs)
    return layout.positions_px, time.perf_counter() - start


def run_peer(scan: Scan, python: str) -> tuple[np.ndarray, float]:
    """Return ASHLAR's positions and the seconds they took, start-up not counted, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "scan.npz"
        np.savez(place, tiles=scan.tiles, nominal=scan.nominal_px)
        command = [python, str(Path(__file__).resolve()), "--peer-worker", str(place)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if finished.returncode != 0:
        raise RuntimeError(finished.stderr.strip().splitlines()[-1] if finished.stderr else "no message")
    answer = json.loads(finished.stdout.splitlines()[-1])
    return np.array(answer["positions"]), float(answer["seconds"])


def peer_worker(place: str) -> None:
    """Run ASHLAR in this interpreter on a saved scan and print positions and seconds as JSON."""
    from ashlar import reg

    saved = np.load(place)
    tiles, nominal = saved["tiles"], saved["nominal"]

    class ScanMetadata(reg.Metadata):
        _num_images = len(tiles)
        num_channels = 1
        pixel_size = 1.0
        pixel_dtype = tiles.dtype

        def tile_position(self, i: int) -> np.ndarray:
            return nominal[i]

        def tile_size(self, i: int) -> np.ndarray:
            return np.array(tiles[i].shape)

    class ScanReader(reg.Reader):
        metadata = ScanMetadata()

        def read(self, series: int, c: int) -> np.ndarray:
            return tiles[series]

    start = time.perf_counter()
    aligner = reg.EdgeAligner(ScanReader(), max_shift=PEER_MAX_SHIFT_PX, filter_sigma=1, do_make_thumbnail=False)
    aligner.run()
    print(json.dumps({"positions": np.asarray(aligner.positions).tolist(), "seconds": time.perf_counter() - start}))


def figures(scan: Scan, positions_px: np.ndarray, seconds: float) -> dict[str, float]:
    """Return what is printed about one placement."""
    errors = errors_px(positions_px, scan)
    return {
        "median_px": float(np.median(errors)), "worst_px": float(errors.max()),
        "share_below_1px": float((errors < 1).mean()), "seconds": seconds,
    }


def peer_interpreter(asked: str | None) -> tuple[str | None, str]:
    """Return an interpreter that has ASHLAR, or None and why there is none."""
    python = asked or sys.executable
    try:
        probe = subprocess.run([python, "-c", "import ashlar.reg"], capture_output=True, text=True, check=False)
    except OSError as error:
        return None, f"ASHLAR not run: {python} can't be started ({error})"
    if probe.returncode == 0:
        return python, ""
    return None, f"ASHLAR not run: {python} has none; install the extra 'bench' or give --peer-python"


def main() -> None:
    """Run all cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Placement of tiles with known positions, ours beside ASHLAR.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seeds", type=int, default=1, help="scans per case")
    parser.add_argument("--peer-python", help="interpreter that has ASHLAR")
    # The peer's interpreter runs this same file and need not have our packages: they are imported where used.
    parser.add_argument("--peer-worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer_worker:
        peer_worker(options.peer_worker)
        return
    python, why_not = peer_interpreter(options.peer_python)
    # The first call pays for OpenCV's and SciPy's start.
    run_ours(cut_scan(2, 0.0, 0))
    results = []
    for name, (side, blank) in CASES.items():
        for seed in range(options.seeds):
            scan = cut_scan(side, blank, seed)
            ours = figures(scan, *run_ours(scan))
            result = {"case": name, "seed": seed, "untied": scan.untied, "ours": ours, "peer": None}
            if python:
                try:
                    result["peer"] = figures(scan, *run_peer(scan, python))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    result["peer_failure"] = str(error)
            results.append(result)
    if options.json:
        print(json.dumps({"benchmark": "stitching", "peer": "ashlar", "peer_not_run": why_not, "results": results}))
        return
    print_table(results)
    if why_not:
        print(why_not)


def print_table(results: list[dict]) -> None:
    """Print one line per scan and tool, and the ratio of theirs to ours."""
    print(f"{'case':20}{'seed':>5}{'untied':>7}  {'tool':8}{'median px':>10}{'worst px':>10}{'< 1 px':>8}{'s':>8}")
    for result in results:
        for tool in ("ours", "peer"):
            row = result[tool]
            if row is None:
                continue
            print(
                f"{result['case']:20}{result['seed']:5}{result['untied']:7}  {'ASHLAR' if tool == 'peer' else tool:8}"
                f"{row['median_px']:10.3f}{row['worst_px']:10.3f}{row['share_below_1px']:8.3f}{row['seconds']:8.2f}"
            )
        if result["peer"]:
            ratio = {key: result["peer"][key] / result["ours"][key] for key in ("median_px", "worst_px", "seconds")}
            print(
                f"{'':34}{'ratio':8}{ratio['median_px']:9.1f}x{ratio['worst_px']:9.1f}x{'':8}{ratio['seconds']:7.1f}x"
            )
        elif "peer_failure" in result:
            print(f"{'':34}ASHLAR failed: {result['peer_failure']}")


if __name__ == "__main__":
    main()
