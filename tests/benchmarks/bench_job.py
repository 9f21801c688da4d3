"""The whole job on the twin, judged by its truth: time, memory, blind scores, registration, stitching, focus, objects.

    python tests/benchmarks/bench_job.py --seeds 5 --training-seeds 5
    python tests/benchmarks/bench_job.py --seeds 5 --training-seeds 1 --steps 20   registration and stitching alone

Bicubic enlargement and bicubic + colour matrix are the peers of the network, from the same run on the same fields.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def run_one(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one demo in this process with the truth at hand, and judge it."""
    from pair_truth import registration_errors_px, stitching_errors_px, tile_truth
    from truth_metrics import object_counts

    from mobilescope.app.demo import DemoOptions, run_demo
    from mobilescope.app.terminal.console import ProgressDisplay
    from mobilescope.data.session import Session
    from mobilescope.enhance.enhancer import Enhancer
    from mobilescope.twin.truth import TruthLog

    truth = TruthLog()
    images = tuple(Path(image) for image in arguments.image)
    options = DemoOptions(
        out=Path(arguments.out), seed=arguments.seed, training_seed=arguments.training_seed, stain=arguments.stain,
        images=images, pixel_size_um=arguments.pixel_size_um, steps=arguments.steps,
    )
    with ProgressDisplay() as progress:
        result = run_demo(options, on_progress=progress, truth=truth)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    summary = result.to_json() | {"peak_memory_gb": round(peak / 1e6, 2)}
    for method in ("bicubic", "colour", "network"):
        summary["blind"][f"detail_{method}"] = round(result.evaluation.interval(method, "detail").mean, 3)
    if not truth.captures:
        return summary
    solved, blended, registration, focus = [], [], [], []
    with Session.open(result.session) as session:
        for slide in session.slides:
            solved.append(stitching_errors_px(session, result.session, truth, slide.name, blended=False))
            blended.append(stitching_errors_px(session, result.session, truth, slide.name, blended=True))
            registration.append(registration_errors_px(session, result.session, truth, slide.name))
            focus.append(np.abs(tile_truth(session, truth, slide.name)[:, 2]))
    summary["stitching_px"] = spread(np.concatenate(solved))
    summary["stitching_blended_px"] = spread(np.concatenate(blended))
    summary["registration_px"] = spread(np.concatenate(registration))
    summary["defocus_um"] = spread(np.concatenate(focus))
    if not images:
        counts = object_counts(options.out, truth, Enhancer.from_checkpoint(result.model))
        summary["objects"] = {
            method: {kind: asdict(count) for kind, count in by_kind.items()} for method, by_kind in counts.items()
        }
    return summary


def spread(values: np.ndarray) -> dict[str, float]:
    """Return median, 95th percentile and maximum."""
    return {
        "median": round(float(np.median(values)), 3), "p95": round(float(np.percentile(values, 95)), 3),
        "max": round(float(values.max()), 3),
    }


def child(**options: Any) -> dict[str, Any]:
    """Run one demo in a process of its own and return its figures."""
    command = [sys.executable, __file__, "--one"]
    for name, value in options.items():
        if value is None:
            continue
        for item in value if isinstance(value, list) else [value]:
            command += [f"--{name.replace('_', '-')}", str(item)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def report(title: str, figures: dict[str, Any]) -> None:
    """Print the figures of one run."""
    blind, seconds = figures["blind"], figures["seconds"]
    ratio = blind["cie94_raw"] / blind["cie94_network"]
    print(f"\n{title}: {blind['fields']} blind fields, pairs {figures['pairs']}")
    print(
        f"  SSIM bicubic {blind['ssim_bicubic']:.4f}, + colour matrix {blind['ssim_colour']:.4f}, "
        f"network {blind['ssim_network']:.4f}: {blind['ssim_network'] - blind['ssim_bicubic']:+.4f} and "
        f"{blind['ssim_network'] - blind['ssim_colour']:+.4f}"
    )
    print(
        f"  CIE-94 raw {blind['cie94_raw']:.2f}, network {blind['cie94_network']:.2f}: {ratio:.1f}x lower; PSNR "
        f"{blind['psnr_bicubic']:.1f} -> {blind['psnr_network']:.1f} dB; detail {blind['detail_colour']:.3f} -> "
        f"{blind['detail_network']:.3f}"
    )
    print("  seconds " + ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
          + f"; peak memory {figures['peak_memory_gb']} GB")
    for name in ("stitching_px", "stitching_blended_px", "registration_px", "defocus_um"):
        if name in figures:
            print(f"  {name} " + ", ".join(f"{key} {value}" for key, value in figures[name].items()))
    for method, kinds in figures.get("objects", {}).items():
        text = ", ".join(
            f"{kind} {c['lost']} of {c['shown']} lost" if c["shown"] else f"{c['invented']} {kind} invented"
            for kind, c in sorted(kinds.items())
        )
        print(f"  objects, {method}: {text}")
    sys.stdout.flush()


def share_data(first: Path, again: Path) -> None:
    """Make a folder that holds everything of a finished job but its model and report, without copying."""
    again.mkdir()
    for file in first.iterdir():
        if not file.name.startswith(("model", "report")):
            (again / file.name).hardlink_to(file)


def main() -> None:
    """Run the demos asked for and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the data")
    parser.add_argument("--training-seeds", type=int, default=5, help="seeds of the training, on the data of seed 0")
    parser.add_argument("--stain", default="blood")
    parser.add_argument("--steps", type=int, help="training steps; few where the scores of the network don't matter")
    parser.add_argument("--no-procedural", action="store_true", help="leave the made-up specimen out")
    parser.add_argument("--no-tissue", action="store_true", help="leave the real tissue out")
    parser.add_argument("--json", action="store_true")
    hidden = (("seed", int, 0), ("training-seed", int, 0), ("pixel-size-um", float, None), ("out", str, ""))
    for name, kind, default in hidden:
        parser.add_argument(f"--{name}", type=kind, default=default, help=argparse.SUPPRESS)
    parser.add_argument("--image", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_one(arguments)))
        return
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        def go(title: str, place: str, **options: Any) -> None:
            results[title] = child(out=f"{folder}/{place}", steps=arguments.steps, **options)
            report(title, results[title])

        def spread_over_seeds(name: str, key: str, **options: Any) -> None:
            for seed in range(arguments.seeds):
                go(f"{name}, data seed {seed}", f"{key}-data-{seed}", seed=seed, **options)
            for seed in range(1, arguments.training_seeds):
                share_data(Path(folder, f"{key}-data-0"), Path(folder, f"{key}-training-{seed}"))
                title = f"{name}, data seed 0, training seed {seed}"
                go(title, f"{key}-training-{seed}", training_seed=seed, **options)

        if not arguments.no_procedural:
            spread_over_seeds(arguments.stain, "procedural", stain=arguments.stain)
        if not arguments.no_tissue and DATA.is_dir():
            fields = sorted(str(path) for path in (DATA / "he_monuseg_train").glob("*.tif"))
            spread_over_seeds("7 H&E images", "tissue", image=fields, pixel_size_um=0.25)
            go("one slide region", "region", image=[str(DATA / "wsi" / "cmu1_small_region.svs")])
    for key in ("ssim_bicubic", "ssim_colour", "ssim_network", "cie94_raw", "cie94_network"):
        values = [figures["blind"][key] for figures in results.values()]
        print(f"{key}: {min(values):.4f} to {max(values):.4f} over {len(values)} runs")
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
