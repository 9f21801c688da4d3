"""Building the ring's firmware: make, the sizes of what came out and their limits, and whether it is current."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilescope.app.firmware.hexfile import read_hex
from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.firmware_files import firmware_build, firmware_folder
from mobilescope.core.ring_protocol import BOARDS, BoardKind

DEFAULT_PIXELS = 12
COMPILER_PACKAGES = ("make", "gcc-avr", "avr-libc", "binutils-avr")

_TOOLS = ("make", "avr-gcc", "avr-objcopy", "avr-size")
_SOURCE_FOLDERS = ("ring", "boards")
_OPTIONS_FILE = "options"
_PIXELS = re.compile(r"PIXELS=(\d+)")
_BUILD_S = 240
_RAM_SECTIONS = (".data", ".bss", ".noinit")


@dataclass(frozen=True)
class SizeLimits:
    """What a build may take, below what the chip has: the bootloader and the stack need the rest."""

    flash_bytes: int
    ram_bytes: int


LIMITS = {"uno": SizeLimits(12_288, 1024), "trinket": SizeLimits(5_200, 256)}


@dataclass(frozen=True)
class FirmwareBuild:
    """A built program and what it takes of the chip."""

    board: BoardKind
    pixels: int
    hex_file: Path
    elf_file: Path
    flash_bytes: int
    ram_bytes: int

    @property
    def limits(self) -> SizeLimits:
        """What it may take."""
        return LIMITS[self.board.name]

    def to_json(self) -> dict[str, Any]:
        """Return the build as plain values."""
        return {
            "board": self.board.name, "pixels": self.pixels, "hex": str(self.hex_file), "elf": str(self.elf_file),
            "flash_bytes": self.flash_bytes, "flash_limit": self.limits.flash_bytes,
            "ram_bytes": self.ram_bytes, "ram_limit": self.limits.ram_bytes,
        }


def board_named(name: str) -> BoardKind:
    """Return a board by its name; UserError lists the boards."""
    found = next((board for board in BOARDS if board.name == name), None)
    if found is None:
        raise UserError(f"there is no board {name!r}", f"the boards are {', '.join(board.name for board in BOARDS)}")
    return found


def build_firmware(board: BoardKind, *, pixels: int | None = None) -> FirmwareBuild:
    """Build a board's firmware where its sources are newer than its program.

    Parameters
    ----------
    pixels : int, optional
        Pixels of the ring, when nothing else is stored on the board; without it as it was built last, at first 12.

    Raises
    ------
    UserError
        The compiler is missing, or the board does not take so many pixels.
    DeviceError
        The build failed, or it is larger than it may be.
    """
    wanted = wanted_pixels(board, pixels)
    if not is_current(board, wanted):
        _make(board, wanted)
    return _described(board, wanted)


def wanted_pixels(board: BoardKind, pixels: int | None) -> int:
    """Return for how many pixels a build is made; UserError where the board does not take so many."""
    wanted = pixels if pixels is not None else _pixels_built(board) or DEFAULT_PIXELS
    if not 1 <= wanted <= board.max_pixels:
        raise UserError(f"{board.title} takes 1 to {board.max_pixels} pixels, not {wanted}", "give another --pixels")
    return wanted


def make_command(board: BoardKind, pixels: int) -> list[str]:
    """Return the command that builds a board's firmware."""
    return ["make", "-C", str(firmware_folder()), board.name, f"PIXELS={pixels}"]


def is_current(board: BoardKind, pixels: int) -> bool:
    """Tell whether a board's program is there, newer than its sources, and for that many pixels."""
    program = firmware_build(board.name) / "ring.hex"
    if not program.is_file() or not program.with_suffix(".elf").is_file() or _pixels_built(board) != pixels:
        return False
    built_s = program.stat().st_mtime
    return all(source.stat().st_mtime <= built_s for source in _sources())


def _sources() -> list[Path]:
    folder = firmware_folder()
    found = [folder / "Makefile"]
    for part in _SOURCE_FOLDERS:
        found += (folder / part).rglob("*")
    return [path for path in found if path.is_file()]


def _pixels_built(board: BoardKind) -> int | None:
    """Return for how many pixels a board's firmware was built last, as the makefile wrote it down."""
    options = firmware_build(board.name) / _OPTIONS_FILE
    found = _PIXELS.search(options.read_text("ascii", errors="replace")) if options.is_file() else None
    return int(found[1]) if found else None


def _make(board: BoardKind, pixels: int) -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"the firmware can't be built: {', '.join(missing)} not found",
            f"install the compiler: sudo apt install {' '.join(COMPILER_PACKAGES)}",
        )
    command = make_command(board, pixels)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_BUILD_S
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"the build took longer than {_BUILD_S} s", "see what keeps the machine busy") from error
    if done.returncode != 0:
        raise DeviceError(
            f"the firmware did not build: {_first_error(done.stderr)}", f"see all of it: {' '.join(command)}"
        )


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b|\*\*\*", line, re.IGNORECASE)]
    return (errors or lines or ["make said nothing"])[0]


def _described(board: BoardKind, pixels: int) -> FirmwareBuild:
    folder = firmware_build(board.name)
    build = FirmwareBuild(
        board, pixels, folder / "ring.hex", folder / "ring.elf",
        flash_bytes=read_hex(folder / "ring.hex").end, ram_bytes=_ram_bytes(folder / "ring.elf"),
    )
    limits = build.limits
    if build.flash_bytes > limits.flash_bytes or build.ram_bytes > limits.ram_bytes:
        raise DeviceError(
            f"{build.hex_file} takes {build.flash_bytes} B flash and {build.ram_bytes} B RAM, more than the "
            f"{limits.flash_bytes} B and {limits.ram_bytes} B of {board.name}",
            "build for fewer pixels, or take something out",
        )
    return build


def _ram_bytes(elf: Path) -> int:
    """Return the static RAM of a program."""
    if shutil.which("avr-size") is None:
        raise UserError("avr-size is not installed", "install it: sudo apt install binutils-avr")
    done = subprocess.run(["avr-size", "-A", str(elf)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeviceError(f"avr-size can't read {elf}: {done.stderr.strip()}", "build the firmware again")
    words = [line.split() for line in done.stdout.splitlines()]
    return sum(int(line[1]) for line in words if len(line) > 1 and line[0] in _RAM_SECTIONS)
