"""Open a file again whose writer was killed: clears HDF5's "open for writing" mark in the superblock.

HDF5 refuses to write to such a file, and its recorded end of file is older than the data; both are set right here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from mobilescope.core.errors import ForeignFileError, InputFileError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Version 3: signature, version, two sizes, flags, base, extension, end of file and root addresses, checksum.
_LAYOUT = struct.Struct("<8s4B4QI")
SUPERBLOCK_BYTES = _LAYOUT.size
# In a file that this software made, the root group follows the superblock, and there is no extension.
_UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Superblock:
    """The first 48 bytes of a version 3 HDF5 file.

    Attributes
    ----------
    flags : int
        Zero in a file that was closed properly.
    end_of_file : int
        Where the recorded contents end, in bytes.
    """

    raw: bytes
    flags: int
    end_of_file: int

    def closed_at(self, end_of_file: int) -> bytes:
        """Return the superblock of the same file closed properly with the given end, checksum included."""
        fields = list(_LAYOUT.unpack(self.raw))
        fields[4], fields[7] = 0, end_of_file
        fields[9] = lookup3(_LAYOUT.pack(*fields)[:-4])
        return _LAYOUT.pack(*fields)


def read_superblock(path: Path) -> Superblock:
    """Read and check a file's superblock.

    Raises
    ------
    InputFileError
        The file is missing, empty, truncated, damaged, or not HDF5 as this software writes it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LAYOUT.size)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise InputFileError(f"there is no file {path}", "check the path") from error
    except IsADirectoryError as error:
        raise InputFileError(f"{path} is a folder", "give a file inside it") from error
    except OSError as error:
        raise InputFileError(f"{path} can't be read ({error.strerror})", "check permissions and disk") from error
    if not raw.startswith(_SIGNATURE):
        what = "is empty" if not raw else "is not an HDF5 file"
        raise ForeignFileError(f"{path} {what}", "give a file that mobilescope wrote")
    if len(raw) < _LAYOUT.size:
        raise truncated(path)
    if raw[8] != 3 or raw[9:11] != b"\x08\x08":
        raise ForeignFileError(
            f"{path} is HDF5, but mobilescope did not write it", "give a file that mobilescope wrote"
        )
    fields = _LAYOUT.unpack(raw)
    if lookup3(raw[:-4]) != fields[9]:
        raise InputFileError(f"{path} is damaged in its first bytes", "restore it from a copy")
    if size < fields[7]:
        raise truncated(path)
    return Superblock(raw, flags=fields[4], end_of_file=fields[7])


def looks_like_hdf5(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def superblock_of(raw: bytes) -> Superblock:
    """Return a superblock from a file's first bytes, or, where they are damaged, the one that they must have been."""
    if len(raw) == _LAYOUT.size and raw[:12] == _SIGNATURE + b"\x03\x08\x08" + raw[11:12]:
        fields = _LAYOUT.unpack(raw)
        if lookup3(raw[:-4]) == fields[9]:
            return Superblock(raw, flags=fields[4], end_of_file=fields[7])
    blank = _LAYOUT.pack(_SIGNATURE, 3, 8, 8, 0, 0, _UNDEFINED, 0, _LAYOUT.size, 0)
    return Superblock(blank, flags=0, end_of_file=0)


def truncated(path: Path) -> InputFileError:
    """Return the error for a file that ends before its contents do."""
    return InputFileError(f"{path} is truncated", "copy it again from where it was written, or restore a backup")


def is_open_flagged(path: Path) -> bool:
    """Tell whether the file is marked as open for writing: a writer is at work, or was killed."""
    return read_superblock(path).flags != 0


def clear_open_flags(path: Path) -> None:
    """Mark a file as closed whose writer is gone; the caller makes sure that it is (see ``lock``).

    The recorded end of file moves up to the file's size, since a stale one would make the next close cut the file
    there. Nothing else in the file is touched, and it is never made shorter.

    Raises
    ------
    InputFileError
        As for `read_superblock`, or if the patched bytes do not read back.
    """
    superblock = read_superblock(path)
    if superblock.flags == 0:
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        patched = superblock.closed_at(max(superblock.end_of_file, os.fstat(descriptor).st_size))
        os.pwrite(descriptor, patched, 0)
        os.fsync(descriptor)
        if os.pread(descriptor, len(patched), 0) != patched:
            raise InputFileError(f"{path} could not be mended", "copy it to another disk and try there")
    finally:
        os.close(descriptor)


def check_storage(file: h5py.File, path: Path) -> None:
    """Refuse a session marked as open for writing whose frames or rows lie beyond the end of the file.

    The writer claims the room on the disk before it stores anything, so a kill never leaves such a file.
    """
    ends = [0]

    def visit(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is not None:
            item.id.chunk_iter(lambda chunk: ends.append(chunk.byte_offset + chunk.size))

    try:
        file.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise truncated(path) from error
    if max(ends) > path.stat().st_size:
        raise truncated(path)


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' lookup3 hash (``hashlittle``, start value 0), HDF5's checksum of metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    last = len(words) - 3
    for start in range(0, last, 3):
        a, b, c = (a + words[start]) & _WORD, (b + words[start + 1]) & _WORD, (c + words[start + 2]) & _WORD
        a, c = (a - c) & _WORD ^ _rotated(c, 4), (c + b) & _WORD
        b, a = (b - a) & _WORD ^ _rotated(a, 6), (a + c) & _WORD
        c, b = (c - b) & _WORD ^ _rotated(b, 8), (b + a) & _WORD
        a, c = (a - c) & _WORD ^ _rotated(c, 16), (c + b) & _WORD
        b, a = (b - a) & _WORD ^ _rotated(a, 19), (a + c) & _WORD
        c, b = (c - b) & _WORD ^ _rotated(b, 4), (b + a) & _WORD
    a, b, c = (a + words[last]) & _WORD, (b + words[last + 1]) & _WORD, (c + words[last + 2]) & _WORD
    c = ((c ^ b) - _rotated(b, 14)) & _WORD
    a = ((a ^ c) - _rotated(c, 11)) & _WORD
    b = ((b ^ a) - _rotated(a, 25)) & _WORD
    c = ((c ^ b) - _rotated(b, 16)) & _WORD
    a = ((a ^ c) - _rotated(c, 4)) & _WORD
    b = ((b ^ a) - _rotated(a, 14)) & _WORD
    return ((c ^ b) - _rotated(b, 24)) & _WORD


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _WORD
