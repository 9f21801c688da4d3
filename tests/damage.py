"""Damage as disks and copies do it: bytes that are not what was written."""

from __future__ import annotations

import h5py


def flip(path, offset, count=4):
    """Turn over all bits of some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in data))


def chunk_of(path, name, index):
    """Return where a chunk of a dataset lies in its file (``byte_offset``, ``size``)."""
    with h5py.File(path, "r") as file:
        return file[name].id.get_chunk_info(index)


def flip_in_chunk(path, name, index=0):
    """Turn over a bit in the middle of a chunk."""
    chunk = chunk_of(path, name, index)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
