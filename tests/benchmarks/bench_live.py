"""How fast the live view is: delay to the screen before enhancement, rate and delay on each rung, full HD.

    python tests/benchmarks/bench_live.py [--json] [--model MODEL] [--fast-model MODEL] [--seconds S] [--full-hd-only]

Without models the weights are random, which takes as long. Rates are those of a source that always has a next frame;
delays those of one that gives 10 frames a second. The delay to the screen is measured until Qt has painted, on an X
server in memory, where PyQt5 and Xvfb are installed; a real screen adds up to one of its own periods. Full HD is shown
there at 60 frames a second with a network that takes no time, which is what is left of the way when a GPU computes;
where there is a GPU, with the network as well. The rest needs no more than torch, numpy and OpenCV.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilescope.core.pacing import Pace
from mobilescope.core.protocols import Frame
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.ladder import Ladder, Network
from mobilescope.enhance.live import LivePipeline
from mobilescope.enhance.live_values import LivePicture, LiveSnapshot, Picture, Region, Verdict
from mobilescope.enhance.rung_controller import Rung
from mobilescope.enhance.trust import TrustAssessor
from mobilescope.learn.checkpoint import ModelCard, read_reference, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

Judge = Callable[[Frame], Verdict]

SIZES = ((256, 256), (480, 640))
FULL_HD = (1080, 1920)
FULL_HD_FPS = 60.0
DELAY_FPS = 10.0
# 24 channels, 4 layers: about the size that `mobilescope train --distil` gives.
SMALL = NetworkConfig(first_width=24, blocks=1, growth=0)
PREVIEW_TARGET_MS = 50.0
WARM_UP_FRAMES = 5


class Synthetic:
    """Gives noise at a rate, or whenever it is asked: eight frames in turn, so that making them takes no time."""

    name = "synthetic"

    def __init__(self, size: tuple[int, int], fps: float | None) -> None:
        generator = np.random.default_rng(0)
        self._pictures = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(8)]
        self._pace = Pace(None if fps is None else 1 / fps)
        self._index = -1
        self.on_demand = fps is None

    def read(self) -> Frame | None:
        index = self._pace.wait_after(self._index)
        if index is None:
            return None
        self._index = index
        return Frame(self._pictures[index % len(self._pictures)], index, time.monotonic(), None)

    def close(self) -> None:
        self._pace.close()


def write_random(path: Path, config: NetworkConfig) -> Path:
    """Write a model that nobody trained."""
    network = EnhancementNetwork(config)
    network.initialise(0)
    with torch.no_grad():
        network.exit.bias.fill_(0.5)
    save_model(path, network, ModelCard(config, 0.925, 0.37, "random weights", "phone"))
    return path


def run_for(pipeline: LivePipeline, seconds: float) -> LiveSnapshot:
    """Run a pipeline for a while and return what it measured over its last frames."""
    with pipeline:
        pipeline.wait(seconds)
        return pipeline.snapshot()


def ladder(full: Enhancer, small: Enhancer, rung: Rung, size: tuple[int, int]) -> Ladder:
    """Return a ladder that stays on a rung, warmed up: its colours learnt, its graphs built."""
    made = Ladder(
        full, factor=full.card.network.factor, frames_per_s=DELAY_FPS, distilled=small, rung=rung,
        region=Region.centre_half(size),
    )
    picture = np.zeros((*size, 3), np.uint8)
    for _ in range(WARM_UP_FRAMES):
        made(picture)
    return made


def ignore(_picture: LivePicture) -> None:
    """Show nothing."""


def on_rungs(full: Enhancer, small: Enhancer, seconds: float) -> list[dict[str, Any]]:
    """Return rate and delay of every rung at each size."""
    found = []
    print(f"\nengine: {full.engine}")
    print(f"{'size':>10} {'rung':10} {'frames/s':>9} {'delay ms':>9} {'p95 ms':>8} {'enhance':>8}")
    for size, rung in itertools.product(SIZES, Rung):
        fastest = run_for(LivePipeline(Synthetic(size, None), ladder(full, small, rung, size), ignore), seconds)
        calm = run_for(LivePipeline(Synthetic(size, DELAY_FPS), ladder(full, small, rung, size), ignore), seconds)
        total, enhance = calm.delays["total"], calm.delays["enhance"]
        print(
            f"{size[1]}x{size[0]:<6} {rung:10} {fastest.fps_shown:9.1f} {total.median_ms:9.1f} {total.p95_ms:8.1f} "
            f"{enhance.median_ms:8.1f}",
            flush=True,
        )
        found.append({
            "rows": size[0], "columns": size[1], "rung": rung.value, "fps": fastest.fps_shown,
            "delay_ms": total.median_ms, "delay_p95_ms": total.p95_ms, "enhance_ms": enhance.median_ms,
        })
    return found


@contextmanager
def display() -> Iterator[bool]:
    """Run an X server in memory; yields whether there is one."""
    if shutil.which("Xvfb") is None or importlib.util.find_spec("PyQt5") is None:
        yield False
        return
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            os.environ["DISPLAY"] = f":{told.readline().strip()}"
        os.environ["QT_QPA_PLATFORM"] = "xcb"
        try:
            yield True
        finally:
            server.terminate()


class _Driven:
    """What the window shows and steers."""

    title = "synthetic"
    trouble = ""

    def __init__(self, pipeline: LivePipeline, rungs: Ladder) -> None:
        self.pipeline, self.ladder = pipeline, rungs

    def save(self, picture: LivePicture) -> Path:
        raise NotImplementedError("a benchmark saves nothing")


def to_the_screen(full: Enhancer, small: Enhancer, seconds: float) -> list[dict[str, Any]]:
    """Return the delay from frame to screen, of frames as they came and of enhanced ones."""
    from mobilescope_gui.live_window import LiveWindow, application, run_until_closed

    found = []
    print(f"\nframe to screen, 30 frames/s{'':4} {'as it came ms':>14} {'p95':>7} {'enhanced ms':>12} {'p95':>7}")
    with application():
        for size, rung in itertools.product((*SIZES, FULL_HD), (Rung.COLOUR, Rung.FULL)):
            window = LiveWindow()
            rungs = ladder(full, small, rung, size)
            with LivePipeline(
                Synthetic(size, 30.0), rungs, window.show_enhanced, preview=window.show_input
            ) as pipeline:
                window.drive(_Driven(pipeline, rungs))
                run_until_closed(window, threading.Event(), seconds=seconds)
            delays = pipeline.snapshot().delays
            preview, total = delays["preview"], delays["total"]
            print(
                f"{size[1]}x{size[0]:<6} {rung:20} {preview.median_ms:14.1f} {preview.p95_ms:7.1f} "
                f"{total.median_ms:12.1f} {total.p95_ms:7.1f}",
                flush=True,
            )
            found.append({
                "rows": size[0], "columns": size[1], "rung": rung.value, "preview_ms": preview.median_ms,
                "preview_p95_ms": preview.p95_ms, "enhanced_ms": total.median_ms,
            })
    worst = max(row["preview_ms"] for row in found)
    print(f"worst median before enhancement {worst:.1f} ms (target below {PREVIEW_TARGET_MS:.0f} ms)")
    return found


def ready_made(picture: Picture) -> Picture:
    """Stand in for a network: return a picture 2.5 times as large that was there already."""
    return _READY[picture.shape[:2]]


_READY = {
    size: np.random.default_rng(1).integers(0, 256, (size[0] * 5 // 2, size[1] * 5 // 2, 3), dtype=np.uint8)
    for size in (FULL_HD, (160, 160))  # the second is the corner that the colour rung learns from
}


def full_hd_in_windows(network: Network, judge: Judge | None, seconds: float) -> list[dict[str, Any]]:
    """Return the rate at which windows show full HD enlarged 2.5 times by a network, 60 frames a second offered.

    As in a live run, a judge works beside it a fifth of the time, where the model has what one needs.
    """
    from mobilescope_gui.live_window import LiveWindow, application, run_until_closed

    found = []
    with application():
        for width, height in ((1180, 720), (1920, 1160)):
            window = LiveWindow()
            window.resize(width, height)
            rungs = Ladder(network, factor=2.5, frames_per_s=FULL_HD_FPS, rung=Rung.FULL)
            with LivePipeline(
                Synthetic(FULL_HD, FULL_HD_FPS), rungs, window.show_enhanced, preview=window.show_input, judge=judge
            ) as pipeline:
                window.drive(_Driven(pipeline, rungs))
                run_until_closed(window, threading.Event(), seconds=seconds)
            found.append(told(f"in a window of {width}x{height}", pipeline.snapshot()))
    return found


def full_hd_in_memory(network: Network, seconds: float) -> dict[str, Any]:
    """Return the rate from frames in memory to enhanced frames in memory, 1920x1080 to 4800x2700."""
    rungs = Ladder(network, factor=2.5, frames_per_s=FULL_HD_FPS, rung=Rung.FULL)
    return told("in memory", run_for(LivePipeline(Synthetic(FULL_HD, None), rungs, ignore), seconds))


def told(where: str, snapshot: LiveSnapshot) -> dict[str, Any]:
    """Print and return what a run measured."""
    delays = {stage: delay.median_ms for stage, delay in snapshot.delays.items()}
    print(
        f"{where}: {snapshot.fps_shown:.1f} frames/s, {snapshot.dropped} dropped, "
        f"ms: {', '.join(f'{stage} {delay:.1f}' for stage, delay in delays.items())}",
        flush=True,
    )
    return {"where": where, "fps": snapshot.fps_shown, "dropped": snapshot.dropped, "delay_ms": delays}


def judge_of(model: Path) -> Judge | None:
    """Return what judges frames as `mobilescope live` does; None for a model that nobody trained."""
    if not read_reference(model):
        return None
    assessor = TrustAssessor.from_checkpoint(model, device="cpu")
    return lambda frame: assessor.assess(frame.pixels, pixel_size_um=frame.pixel_size_um)


def full_hd(model: Path, seconds: float, *, screen: bool) -> dict[str, list[dict[str, Any]]]:
    """Return full HD's rates: in windows without a network, and with it where there is a GPU."""
    networks: dict[str, Network] = {"ready-made pictures": ready_made} if screen else {}
    if torch.cuda.is_available():
        for precision in ("bf16", "fp16"):
            name = f"{torch.cuda.get_device_name()} {precision}"
            networks[name] = Enhancer.from_checkpoint(model, "cuda", precision)  # type: ignore[arg-type]
    judge = judge_of(model)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, network in networks.items():
        for _ in range(WARM_UP_FRAMES):
            network(np.zeros((*FULL_HD, 3), np.uint8))
        print(f"\n1920x1080 to 4800x2700, {name}")
        found[name] = full_hd_in_windows(network, judge, seconds) if screen else []
        if network is not ready_made:
            found[name].append(full_hd_in_memory(network, seconds))
    return found


def without_nan(value: Any) -> Any:
    """Return a result with null where too few frames were shown to tell."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--fast-model", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row")
    parser.add_argument("--full-hd-only", action="store_true", help="leave the rungs and small pictures out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_random(Path(folder) / "full.pt", NetworkConfig())
        fast_model = options.fast_model or write_random(Path(folder) / "small.pt", SMALL)
        full, small = Enhancer.from_checkpoint(model), Enhancer.from_checkpoint(fast_model)
        results: dict[str, Any] = {}
        if not options.full_hd_only:
            results["rungs"] = on_rungs(full, small, options.seconds)
        with display() as there:
            if not there:
                print("PyQt5 or Xvfb is not installed: the delay to the screen is left out", file=sys.stderr)
            elif not options.full_hd_only:
                results["screen"] = to_the_screen(full, small, options.seconds)
            results["full_hd"] = full_hd(model, options.seconds, screen=there)
    if options.json:
        print(json.dumps(without_nan(results)))


if __name__ == "__main__":
    main()
