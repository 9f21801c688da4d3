"""Where the illumination firmware's sources and builds are."""

from __future__ import annotations

import os
from pathlib import Path

from mobilescope.core.errors import UserError

FIRMWARE_VARIABLE = "MOBILESCOPE_FIRMWARE"


def firmware_folder() -> Path:
    """Return the folder ``firmware`` of this checkout, or the one that MOBILESCOPE_FIRMWARE names.

    Raises
    ------
    UserError
        An installation without the sources.
    """
    named = os.environ.get(FIRMWARE_VARIABLE)
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "firmware"
    if not (folder / "protocol.toml").is_file():
        raise UserError(
            f"there are no firmware sources in {folder}",
            f"work in a checkout of Mobilescope, or set {FIRMWARE_VARIABLE} to its folder 'firmware'",
        )
    return folder


def firmware_build(board: str) -> Path:
    """Return the folder with a board's builds, ``ring.elf`` and ``ring.hex``; it need not exist yet."""
    return firmware_folder() / "build" / board
