"""A small program for the simulated boards, see firmware/simulator_probe.c; for tests of the simulator alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "firmware" / "simulator_probe.c"
CHIPS = {"uno": "atmega328p", "trinket": "attiny85"}
PIXELS = ("ff8001", "00007f")


def build_probe(board: str, folder: Path) -> Path:
    """Compile the program for a board into a folder and return its ELF."""
    program = folder / f"probe_{board}.elf"
    subprocess.run(
        ["avr-gcc", f"-mmcu={CHIPS[board]}", "-DF_CPU=16000000UL", "-Os", "-Wall", "-Wextra", "-Werror",
         "-o", str(program), str(SOURCE)],
        check=True,
    )  # fmt: skip
    return program
