"""What `mobilescope enhance --tune` measured on this machine, kept for every later run.

A file in the user's cache holds, for each processor, set of libraries, number of threads and shape of network, the
engine and the size of tile that were the fastest. It may be deleted at any time; a damaged one counts as none.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mobilescope.core.machine import cache_folder, cpu_name, package_version
from mobilescope.core.whole_files import own_temporary
from mobilescope.learn.device import Precision
from mobilescope.learn.networks import NetworkConfig

_FILE = "tuning.json"


@dataclass(frozen=True)
class Tuning:
    """The fastest way to compute, and what it took: milliseconds for a million input pixels."""

    engine: str
    tile_px: int
    ms_per_mpx: float


def tuning_key(config: NetworkConfig, units: int, device: torch.device, precision: Precision) -> str:
    """Return what a measurement holds for."""
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name() or platform.machine()
    libraries = ", ".join(f"{name} {package_version(name)}" for name in ("torch", "openvino"))
    return (
        f"{place}, {torch.get_num_threads()} threads, {libraries}, {precision}, "
        f"{config.model_dump_json()}, {units} units"
    )


def remembered(key: str) -> Tuning | None:
    """Return what was measured for a key, None where nothing was."""
    try:
        return Tuning(**_read()[key])
    except (KeyError, TypeError):
        return None


def remember(key: str, tuning: Tuning) -> Path:
    """Keep a measurement, and return the file; OSError where it can't be written."""
    path = cache_folder() / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_read() | {key: asdict(tuning)}, indent=1)
    with own_temporary(path) as temporary:
        temporary.path.write_text(text, encoding="utf-8")
        return temporary.path.replace(path)


def _read() -> dict[str, Any]:
    try:
        found = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
