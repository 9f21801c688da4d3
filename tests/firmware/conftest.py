"""The boards' programs, built once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"


@pytest.fixture(scope="session")
def built() -> dict[str, Path]:
    """Make both programs and return their ELFs by the board's name."""
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), "uno", "trinket", "PIXELS=12"], check=True)
    return {board: FIRMWARE / "build" / board / "ring.elf" for board in ("uno", "trinket")}
