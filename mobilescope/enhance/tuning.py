"""Measures which engine and size of tile enhance fastest on a device."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np

from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.enhance.engines import EngineName
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.tuned import Tuning, remember
from mobilescope.learn.device import Precision, pick_device

_CPU_TILES, _GPU_TILES = (256, 512, 768), (1024, 2048, 4096)
_CPU_SIDE, _GPU_SIDE = 768, 4096
_REPEATS = 2


def tune(
    model: Path,
    device: str = "auto",
    precision: Precision = "auto",
    *,
    side_px: int | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> list[Tuning]:
    """Time what could compute a model, first the engines, then the tiles of the faster one, and keep the fastest.

    Parameters
    ----------
    side_px : int, optional
        Side of the picture that is enhanced again and again; what suits the device without.

    Returns
    -------
    list of Tuning
        All that was measured, the fastest first.
    """
    place, stop = pick_device(device), stop or StopToken()
    on_gpu = place.type == "cuda"
    tiles = _GPU_TILES if on_gpu else _CPU_TILES
    side = side_px or (_GPU_SIDE if on_gpu else _CPU_SIDE)
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    has_openvino = importlib.util.find_spec("openvino") is not None
    engines: list[EngineName] = ["torch"] if on_gpu or not has_openvino else ["openvino", "torch"]
    total, done = len(engines) + len(tiles) - 1, 0
    found: list[Tuning] = []
    key = ""

    def measure(engine: EngineName, tile_px: int) -> None:
        nonlocal done, key
        stop.raise_if_requested("tuning")
        enhancer = Enhancer.from_checkpoint(model, device, precision, engine=engine, tile_px=tile_px)
        key = enhancer.tuning_key
        enhancer(picture)
        seconds = []
        for _ in range(_REPEATS):
            begun_s = time.perf_counter()
            enhancer(picture)
            seconds.append(time.perf_counter() - begun_s)
        found.append(Tuning(engine, tile_px, min(seconds) * 1e9 / side**2))
        done += 1
        on_progress(Progress("tune", done, total, f"{engine}, tiles of {tile_px} px"))

    for engine in engines:
        measure(engine, tiles[1])
    best: EngineName = "openvino" if min(found, key=_time).engine == "openvino" else "torch"
    for tile_px in (tiles[0], tiles[2]):
        measure(best, tile_px)
    found.sort(key=_time)
    remember(key, found[0])
    return found


def _time(tuning: Tuning) -> float:
    return tuning.ms_per_mpx
