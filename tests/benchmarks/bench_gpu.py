"""How fast a CUDA GPU enhances pictures, upload and download of 8 bits included, and where its time goes.

Run ``python tests/benchmarks/bench_gpu.py [--model MODEL] [--repeats N] [--json]`` on a machine with a GPU; it needs no
more than ``learn`` and ``enhance`` do. Peers are the plain network in torch, eager, in fp32 and in bf16 channels-last,
on the same pictures in the same run. ``compute`` is the time of the recorded launches alone; its share of the chip's
dense bf16 peak counts the plain network's operations, whatever is really multiplied.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.learn.checkpoint import ModelCard, load_model, save_model
from mobilescope.learn.networks import EnhancementNetwork

TFLOP_PER_MPX = 1.92 / (2048**2 / 1e6)  # the plain R18 network
# Dense bf16 peaks by name, TFLOP/s (NVIDIA's data sheets).
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
SIZES = ((2048, 2048), (1080, 1920))
KINDS = {
    "convolutions": ("conv", "xmma", "gemm", "implicit", "cutlass", "sm90", "sm80", "nchw", "nhwc"),
    "sums of features": ("add",),
}
Job = Callable[[np.ndarray], np.ndarray]


def eager(network: EnhancementNetwork, dtype: torch.dtype) -> Job:
    """Return the plain network as a user of torch would run it."""
    device = torch.device("cuda")
    placed = EnhancementNetwork(network.config).eval()
    placed.load_state_dict(network.state_dict())
    placed = placed.to(device)
    half = dtype != torch.float32
    if half:
        placed = placed.to(memory_format=torch.channels_last)

    def run(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half):
            batch = torch.from_numpy(picture).to(device)[None].permute(0, 3, 1, 2).float() / 255
            batch = batch.contiguous(memory_format=torch.channels_last if half else torch.contiguous_format)
            output = placed(batch).float().clamp(0, 1).mul(255).round().to(torch.uint8)
            return output[0].permute(1, 2, 0).contiguous().cpu().numpy()

    return run


def best_s(job: Callable[[], Any], repeats: int) -> float:
    """Return the best wall-clock time of a call."""
    for _ in range(2):
        job()
    torch.cuda.synchronize()
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        job()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def kinds_of_kernels(replay: Callable[[], Any]) -> dict[str, float]:
    """Return milliseconds on the GPU by kind of kernel."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        replay()
        torch.cuda.synchronize()
    found: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        matching = (kind for kind, words in KINDS.items() if any(word in event.key.lower() for word in words))
        kind = next(matching, "moves and rounding")
        found[kind] += event.device_time_total / 1e3
        print(f"    {event.device_time_total / 1e3:7.3f} ms ×{event.count:<3} {event.key[:100]}")
    return dict(found)


def measure(path: Path, repeats: int) -> list[dict[str, Any]]:
    """Print and return the rows of every size."""
    network, _, _ = load_model(path)
    chip, rows_found = torch.cuda.get_device_name(), []
    peak = next((tflops for part, tflops in PEAKS.items() if part in chip), math.nan)
    for rows, columns in SIZES:
        picture = np.random.default_rng(0).integers(60, 200, (rows, columns, 3), dtype=np.uint8)
        jobs: dict[str, Job] = {
            "torch eager fp32": eager(network, torch.float32), "torch eager bf16": eager(network, torch.bfloat16),
        }
        for precision in ("bf16", "fp16"):
            jobs[f"ours {precision}"] = Enhancer.from_checkpoint(path, "cuda", precision)
        jobs["ours bf16, every unit"] = Enhancer.from_checkpoint(path, "cuda", "bf16", whole=True)
        wanted = jobs["torch eager fp32"](picture).astype(np.float64)
        base = math.nan
        print(f"\n{chip}, {columns}×{rows} to {columns * 5 // 2}×{rows * 5 // 2}, 8 bits in and out")
        for name, job in jobs.items():
            seconds = best_s(partial(job, picture), repeats)
            base = seconds if math.isnan(base) else base
            error = float(np.mean((job(picture) - wanted) ** 2))
            row = {
                "chip": chip, "rows": rows, "columns": columns, "name": name, "ms": seconds * 1e3,
                "times": base / seconds, "psnr_db": math.inf if error == 0 else 10 * math.log10(255**2 / error),
            }
            text = f"{name:24} {seconds * 1e3:8.2f} ms {base / seconds:6.1f}× {1 / seconds:6.0f}/s"
            engine = getattr(job, "_engine", None)
            if isinstance(engine, TorchEngine):
                replay = next(reversed(engine._graphs.values()))._graph.replay
                compute = best_s(replay, repeats)
                share = TFLOP_PER_MPX * rows * columns / 1e6 / compute / peak
                row |= {"compute_ms": compute * 1e3, "share_of_peak": share}
                text += f"  compute {compute * 1e3:6.2f} ms, {share:.0%} of the peak"
            print(f"{text}  {row['psnr_db']:.1f} dB", flush=True)
            if name in ("ours bf16", "ours bf16, every unit") and isinstance(engine, TorchEngine):
                row["kernels_ms"] = kinds_of_kernels(replay)
                print("    " + ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in row["kernels_ms"].items()))
            rows_found.append(row)
        del jobs
        torch.cuda.empty_cache()
    return rows_found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA GPU is here: nothing was measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "random.pt"
        if options.model is None:
            network = EnhancementNetwork()
            network.initialise(0)
            save_model(path, network, ModelCard(network.config, 0.925, 0.37, "random weights", "phone"))
        found = measure(path, options.repeats)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
