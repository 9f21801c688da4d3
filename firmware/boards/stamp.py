"""Write a linked program's end and CRC into its ``program_stamp``, for the self-test FLASH (ring/selftest.c).

``python3 stamp.py ring.elf``: changes the ELF in place; needs nothing beyond Python and avr-nm.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from binascii import crc_hqx
from pathlib import Path

_UNSTAMPED = 0xFFFF
_STAMP = struct.Struct("<HHH")


def main(elf: Path) -> None:
    """Stamp one program."""
    contents = bytearray(elf.read_bytes())
    symbols = _symbols(elf)
    stamp, end = symbols["program_stamp"], symbols["__data_load_end"]
    sections = _sections(contents)
    text, data = sections[".text"], sections.get(".data", (0, 0))
    program = bytes(contents[text[0] : sum(text)] + contents[data[0] : sum(data)])
    if len(program) != end:
        raise SystemExit(f"{elf}: .text and .data are {len(program)} bytes, but the program ends at {end}")
    begin, *unstamped = _STAMP.unpack_from(program, stamp)
    if unstamped != [_UNSTAMPED, _UNSTAMPED]:
        raise SystemExit(f"{elf}: it is stamped already")
    crc = crc_hqx(program[begin:stamp] + program[stamp + _STAMP.size :], 0xFFFF)
    _STAMP.pack_into(contents, text[0] + stamp, begin, end, crc)
    elf.write_bytes(contents)


def _symbols(elf: Path) -> dict[str, int]:
    listed = subprocess.run(["avr-nm", str(elf)], check=True, capture_output=True, text=True).stdout
    words = (line.split() for line in listed.splitlines())
    return {line[2]: int(line[0], 16) for line in words if len(line) == 3}


def _sections(elf: bytes) -> dict[str, tuple[int, int]]:
    """Return offset and size in the file of each section of a 32-bit little-endian ELF."""
    (table,) = struct.unpack_from("<I", elf, 0x20)
    entry, count, names = struct.unpack_from("<HHH", elf, 0x2E)
    headers = [struct.unpack_from("<10I", elf, table + number * entry) for number in range(count)]
    names_at = headers[names][4]

    def name(header: tuple[int, ...]) -> str:
        start = names_at + header[0]
        return elf[start : elf.index(0, start)].decode("ascii")

    return {name(header): (header[4], header[5]) for header in headers}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
