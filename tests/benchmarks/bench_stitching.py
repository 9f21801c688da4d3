"""How well and how fast tiles are placed, on real tissue with known positions, beside the peers.

Run ``python tests/benchmarks/bench_stitching.py [--json] [--seeds N] [--repeats N] [--peer-python PYTHON ...]``.
ASHLAR comes with the extra ``bench``; multiview-stitcher and m2stitch want packages of their own, so each peer runs in
the first interpreter given by ``--peer-python`` that has it. All are given the tiles in memory, but for our command and
"ASHLAR, files", which read them from a folder, ours as PNG, ASHLAR (whose reader takes no grey PNG) as plain TIFF; the
best time of some repeats counts, start-up not counted. Tiles of 512² overlap by 10 %, the stage errs by up to 8 px
along each axis, true positions are fractions of a pixel, and each tile has its own noise. Errors are distances after
the median offset is taken away, over the tiles that show tissue and that a chain of such tiles, sharing an edge or a
corner, ties to the largest group; the content says nothing about where the others lie, and their number is printed.
``phaseCorrelate`` is a plain baseline: OpenCV's phase correlation of the nominal overlaps, a gate, and sparse least
squares.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

SLIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wsi" / "cmu1_small_region.svs"
TILE_PX = 512
OVERLAP_PX = 51
STAGE_ERROR_PX = 8.0
NOISE = 5.0
MAX_SHIFT_PX = 24
PEER_MAX_SHIFT_PX = 30
CASES = {"5x5": (5, 0.0), "5x5, 30 % blank": (5, 0.3), "10x10": (10, 0.0), "10x10, 30 % blank": (10, 0.3)}
PEERS = {
    "ASHLAR": "ashlar.reg", "ASHLAR, files": "ashlar.fileseries",
    "multiview-stitcher": "multiview_stitcher.registration", "m2stitch": "m2stitch", "phaseCorrelate": "cv2",
}


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


def best_of(repeats: int, work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return what the work gives, and the least seconds it took."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        positions = work()
        seconds.append(time.perf_counter() - start)
    return positions, min(seconds)


def run_ours(scan: Scan, repeats: int = 1) -> tuple[np.ndarray, float, np.ndarray]:
    """Return this project's positions, the seconds they took, and which tiles it says are linked."""
    from mobilescope.imaging.stitching import solve_layout, tile_verdicts
    from mobilescope.imaging.tile_pairs import survey_tiles

    linked = np.zeros(len(scan.tiles), dtype=bool)

    def work() -> np.ndarray:
        survey = survey_tiles(
            lambda index: scan.tiles[index], scan.nominal_px, (TILE_PX, TILE_PX), max_shift_px=MAX_SHIFT_PX
        )
        layout = solve_layout(scan.nominal_px, survey.pairs)
        linked[:] = [verdict.mark == "linked" for verdict in tile_verdicts(layout, survey.blank)]
        return layout.positions_px

    return *best_of(repeats, work), linked


def run_command(scan: Scan, repeats: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Return what `mobilescope stitch` says of the tiles as PNG files: positions, its least seconds, which are linked.

    Its seconds go from the first file read to the positions solved.
    """
    side = round(len(scan.tiles) ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        write_tiles(scan.tiles, folder, "png")
        command = [
            sys.executable, "-c", "from mobilescope.app.cli import main; main()", "stitch", folder, "--grid",
            f"{side}x{side}", "--overlap", str(OVERLAP_PX / TILE_PX), "--positions-only", "--json",
        ]
        reports = [
            json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
            for _ in range(repeats)
        ]
    tiles = reports[0]["tiles"]
    return (
        np.array([(tile["row_px"], tile["column_px"]) for tile in tiles]),
        min(report["seconds"]["positions"] for report in reports),
        np.array([tile["mark"] == "linked" for tile in tiles]),
    )


def write_tiles(tiles: np.ndarray, folder: str, suffix: str) -> None:
    """Write tiles as files, numbered row by row."""
    import cv2

    for index, tile in enumerate(tiles):
        plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == "tif" else []
        cv2.imwrite(f"{folder}/tile_{index:03d}.{suffix}", tile, plain)


def run_peer(scan: Scan, peer: str, python: str, repeats: int) -> tuple[np.ndarray, float]:
    """Return a peer's positions and the seconds they took, start-up not counted, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "scan.npz"
        np.savez(place, tiles=scan.tiles, nominal=scan.nominal_px)
        write_tiles(scan.tiles, folder, "tif")
        command = [
            python, str(Path(__file__).resolve()), "--peer-worker", str(place), "--peer", peer,
            "--repeats", str(repeats),
        ]
        # Our own limit on numpy's threads is not the peers'.
        own = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=own)
    if finished.returncode != 0:
        raise RuntimeError(finished.stderr.strip().splitlines()[-1] if finished.stderr else "no message")
    answer = json.loads(finished.stdout.splitlines()[-1])
    return np.array(answer["positions"]), float(answer["seconds"])


def peer_worker(peer: str, place: str, repeats: int) -> None:
    """Run a peer in this interpreter on a saved scan and print positions and seconds as JSON."""
    saved = np.load(place)
    work = {
        "ASHLAR": ashlar, "ASHLAR, files": partial(ashlar_of_files, str(Path(place).parent)),
        "multiview-stitcher": multiview, "m2stitch": m2stitch, "phaseCorrelate": plain_baseline,
    }[peer](saved["tiles"], saved["nominal"])
    positions, seconds = best_of(repeats, work)
    print(json.dumps({"positions": np.asarray(positions).tolist(), "seconds": seconds}))


def ashlar(tiles: np.ndarray, nominal: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a run of ASHLAR."""
    from ashlar import reg

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

    def work() -> np.ndarray:
        aligner = reg.EdgeAligner(
            ScanReader(), max_shift=PEER_MAX_SHIFT_PX, filter_sigma=1, do_make_thumbnail=False
        )
        aligner.run()
        return aligner.positions

    return work


def ashlar_of_files(folder: str, tiles: np.ndarray, _nominal: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a run of ASHLAR that reads the tiles from files, with its own reader."""
    from ashlar import reg
    from ashlar.fileseries import FileSeriesReader

    side = round(len(tiles) ** 0.5)

    def work() -> np.ndarray:
        reader = FileSeriesReader(
            folder, pattern="tile_{series:3}.tif", overlap=OVERLAP_PX / TILE_PX, width=side, height=side
        )
        aligner = reg.EdgeAligner(reader, max_shift=PEER_MAX_SHIFT_PX, filter_sigma=1, do_make_thumbnail=False)
        aligner.run()
        return aligner.positions

    return work


def multiview(tiles: np.ndarray, nominal: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a run of multiview-stitcher."""
    from multiview_stitcher import msi_utils, registration
    from multiview_stitcher import spatial_image_utils as images

    def work() -> np.ndarray:
        scenes = [
            msi_utils.get_msim_from_sim(
                images.get_sim_from_array(
                    tile, dims=["y", "x"], scale={"y": 1.0, "x": 1.0}, translation={"y": row, "x": column},
                    transform_key="stage",
                ),
                scale_factors=[],
            )
            for tile, (row, column) in zip(tiles, nominal, strict=True)
        ]
        # Without 1:1 it works on coarser pixels.
        found = registration.register(
            scenes, transform_key="stage", new_transform_key="found", reg_channel_index=0,
            registration_binning={"y": 1, "x": 1},
        )
        moves = np.array([np.asarray(move).reshape(3, 3)[:2, 2] for move in found])
        return nominal + moves

    return work


def m2stitch(tiles: np.ndarray, nominal: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a run of m2stitch."""
    import m2stitch as peer

    side = round(len(tiles) ** 0.5)
    rows, columns = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    images = tiles.astype(np.float32) - tiles.mean()

    def work() -> np.ndarray:
        frame, _ = peer.stitch_images(
            images, rows, columns, position_initial_guess=nominal, row_col_transpose=False, ncc_threshold=0.1
        )
        return frame[["y_pos", "x_pos"]].to_numpy(dtype=np.float64)

    return work


def plain_baseline(tiles: np.ndarray, nominal: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a run of phase correlations of the nominal overlaps, gated, and sparse least squares."""
    import cv2
    import scipy.sparse
    import scipy.sparse.linalg

    side, overlap = round(len(tiles) ** 0.5), OVERLAP_PX

    def work() -> np.ndarray:
        links, offsets = [], []
        for first in range(len(tiles)):
            for step, last in ((1, first % side == side - 1), (side, first // side == side - 1)):
                if last:
                    continue
                one, other = tiles[first].astype(np.float32), tiles[first + step].astype(np.float32)
                one, other = (one[:, -overlap:], other[:, :overlap]) if step == 1 else (one[-overlap:], other[:overlap])
                one, other = one - one.mean(), other - other.mean()
                window = cv2.createHanningWindow(one.shape[::-1], cv2.CV_32F)
                (dx, dy), _ = cv2.phaseCorrelate(one, other, window)
                moved = cv2.warpAffine(other, np.array([[1, 0, -dx], [0, 1, -dy]]), one.shape[::-1])
                if np.corrcoef(one.ravel(), moved.ravel())[0, 1] > 0.3:
                    links.append((first, first + step))
                    offsets.append(nominal[first + step] - nominal[first] - (dy, dx))
        ends, count = np.array(links), len(links)
        equations = scipy.sparse.coo_array(
            (np.repeat([-1.0, 1.0], count), (np.tile(np.arange(count), 2), ends.T.ravel())), shape=(count, len(tiles))
        )
        held = scipy.sparse.vstack([equations, 1e-3 * scipy.sparse.eye_array(len(tiles))]).tocsr()
        wanted = np.concatenate([offsets, 1e-3 * nominal])
        return np.column_stack([scipy.sparse.linalg.lsqr(held, wanted[:, axis])[0] for axis in (0, 1)])

    return work


OURS = {"ours": run_ours, "ours, the command": run_command}


def figures(scan: Scan, positions_px: np.ndarray, seconds: float) -> dict[str, float]:
    """Return what is printed about one placement."""
    errors = errors_px(positions_px, scan)
    return {
        "median_px": float(np.median(errors)), "worst_px": float(errors.max()),
        "share_below_1px": float((errors < 1).mean()), "seconds": seconds,
    }


def peer_interpreters(given: list[str]) -> dict[str, str]:
    """Return for each peer the first interpreter that has it; peers that none has are left out."""
    found = {}
    for peer, module in PEERS.items():
        for python in (sys.executable, *given):
            probe = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
            if probe.returncode == 0:
                found[peer] = python
                break
    return found


def main() -> None:
    """Run all cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Placement of tiles with known positions, ours beside the peers.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seeds", type=int, default=1, help="scans per case")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the quickest counts")
    parser.add_argument("--peer-python", action="append", default=[], help="interpreter with peers; repeat it")
    # A peer's interpreter runs this same file and need not have our packages: they are imported where used.
    parser.add_argument("--peer-worker", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer_worker:
        peer_worker(options.peer, options.peer_worker, options.repeats)
        return
    interpreters = peer_interpreters(options.peer_python)
    # The first call pays for OpenCV's and SciPy's start.
    run_ours(cut_scan(2, 0.0, 0))
    results = []
    for name, (side, blank) in CASES.items():
        for seed in range(options.seeds):
            scan = cut_scan(side, blank, seed)
            result = {"case": name, "seed": seed, "untied": scan.untied, "tools": {}, "failures": {}}
            for tool, run in OURS.items():
                positions, seconds, linked = run(scan, options.repeats)
                wrong = {"wrong_unmarked": wrong_unmarked(scan, positions, linked)}
                result["tools"][tool] = figures(scan, positions, seconds) | wrong
            for peer, python in interpreters.items():
                try:
                    result["tools"][peer] = figures(scan, *run_peer(scan, peer, python, options.repeats))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    result["failures"][peer] = str(error)
            results.append(result)
    not_run = [peer for peer in PEERS if peer not in interpreters]
    if options.json:
        print(json.dumps({"benchmark": "stitching", "peers_not_run": not_run, "results": results}))
        return
    print_table(results)
    if not_run:
        print(f"not run, found in no interpreter (--peer-python): {', '.join(not_run)}")


def wrong_unmarked(scan: Scan, positions_px: np.ndarray, linked: np.ndarray) -> int:
    """Return how many tiles are more than 1.5 px off and yet said to be linked."""
    difference = positions_px - scan.true_px
    errors = np.hypot(*(difference - np.median(difference[linked], axis=0)).T)
    return int((linked & (errors > 1.5)).sum())


def print_table(results: list[dict]) -> None:
    """Print one line per scan and tool, with the ratios of a peer's figures to ours."""
    print(
        f"{'case':19}{'seed':>5}{'untied':>7}  {'tool':19}{'median px':>10}{'worst px':>10}{'< 1 px':>8}{'s':>9}"
        "   against ours: median, worst, time, time of the command"
    )
    for result in results:
        ours, command = (result["tools"][tool] for tool in OURS)
        for tool, row in result["tools"].items():
            line = (
                f"{result['case']:19}{result['seed']:5}{result['untied']:7}  {tool:19}"
                f"{row['median_px']:10.3f}{row['worst_px']:10.3f}{row['share_below_1px']:8.3f}{row['seconds']:9.3f}"
            )
            if tool in OURS:
                line += f"   wrong and unmarked: {row['wrong_unmarked']}"
            else:
                ratios = [row[key] / ours[key] for key in ("median_px", "worst_px", "seconds")]
                ratios.append(row["seconds"] / command["seconds"])
                line += "   {:6.1f}x{:7.1f}x{:8.1f}x{:8.1f}x".format(*ratios)
            print(line)
        for peer, why in result["failures"].items():
            print(f"{result['case']:19}{result['seed']:5}{'':9}{peer} failed: {why}")


if __name__ == "__main__":
    main()
