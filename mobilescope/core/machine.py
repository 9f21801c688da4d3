"""What this machine and its Python are, without importing anything slow."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CACHE_VARIABLE = "MOBILESCOPE_CACHE"
_CPU_NAMES = Path("/proc/cpuinfo")


def cache_folder() -> Path:
    """Return where caches of this software lie: ``$MOBILESCOPE_CACHE``, else ``mobilescope`` in the user's cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilescope"


def cpu_name() -> str:
    """Return the processor's name as Linux tells it, empty where it does not."""
    try:
        lines = _CPU_NAMES.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def package_version(name: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
