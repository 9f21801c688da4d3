"""Checksums of stored pixels, as text that names its own method: ``crc32c:0a1b2c3d`` or ``sha256:`` and 64 digits.

Tiles carry a CRC-32C: it finds damage as surely as storage needs, at a twentieth of the time that SHA-256 takes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError

SHA256, CRC32C = "sha256:", "crc32c:"


def fast_checksum(frame: NDArray[Any]) -> str:
    """Return the checksum to keep with a frame; the array must be contiguous."""
    try:
        import google_crc32c  # not among what a bare server needs that trains only
    except ImportError:
        return sha256_of(frame)
    if google_crc32c.implementation != "c":  # in plain Python it is slower than SHA-256 by far
        return sha256_of(frame)
    return _crc32c(google_crc32c, frame)


def sha256_of(frame: NDArray[Any]) -> str:
    """Return a frame's SHA-256 as `matches` compares it; the array must be contiguous."""
    return SHA256 + hashlib.sha256(frame.data).hexdigest()


def matches(frame: NDArray[Any], checksum: str) -> bool:
    """Tell whether a frame has the checksum stored with it; a method that is not known counts as damage."""
    return checksum_by(method_of(checksum), frame) == checksum


def method_of(checksum: str) -> str:
    """Return how a checksum was made: `SHA256`, `CRC32C`, or an empty string where that is not known."""
    return next((method for method in (SHA256, CRC32C) if checksum.startswith(method)), "")


def checksum_by(method: str, frame: NDArray[Any]) -> str | None:
    """Return a frame's checksum by one of the methods; None for an unknown one."""
    whole = np.ascontiguousarray(frame)
    if method == SHA256:
        return sha256_of(whole)
    if method == CRC32C:
        try:
            import google_crc32c
        except ImportError as error:
            raise UserError("checking tiles needs the package google-crc32c", "pip install google-crc32c") from error
        return _crc32c(google_crc32c, whole)
    return None


def _crc32c(library: Any, frame: NDArray[Any]) -> str:
    return f"{CRC32C}{library.value(frame):08x}"
