"""What this machine and its Python are, without importing anything slow."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPU_NAMES = Path("/proc/cpuinfo")


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
