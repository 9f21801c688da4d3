"""Finding a session's parts in the bytes of its file, where HDF5's own directory of them is damaged.

Records are known by a slide's name at their start and their checksum at their end; compressed chunks by Blosc's header,
and a frame by the checksum that its record holds. Frames that are not compressed bear no mark and are not found.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mobilescope.data.checksums import checksum_by, method_of
from mobilescope.data.records import Row, is_sound
from mobilescope.data.schema import SessionHeader

_HEADER_START = b'{"slides":['
_MAX_HEADER_BYTES = 1024**2
# Version, its format's version, flags, bytes of a sample, bytes unpacked, of a block, packed.
_BLOSC_HEADER = struct.Struct("<4B3I")


class Carver:
    """The bytes of a damaged session; a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bytes.close()
        self._file.close()

    def header(self) -> SessionHeader | None:
        """Return the session's header: the one that is found twice, or else the first."""
        found: list[SessionHeader] = []
        for start in self._found(_HEADER_START):
            text = self._bytes[start:start + _MAX_HEADER_BYTES].decode("utf-8", "replace")
            try:
                header = SessionHeader.model_validate(json.JSONDecoder().raw_decode(text)[0])
            except (json.JSONDecodeError, ValidationError):
                continue
            if header in found:
                return header
            found.append(header)
        return found[0] if found else None

    def rows(self, header: SessionHeader, row_type: np.dtype[Any]) -> list[Row]:
        """Return the records of a type that match their checksum, in the order of their table."""
        room = row_type["slide"].itemsize
        found: dict[int, Row] = {}
        for slide in header.slides:
            for start in self._found(slide.name.encode("utf-8").ljust(room, b"\0")):
                if start + row_type.itemsize <= len(self._bytes):
                    data = self._bytes[start:start + row_type.itemsize]
                    if zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"):
                        found[start] = np.frombuffer(bytearray(data), row_type)[0]
        return [found[start] for start in sorted(found) if is_sound(found[start])]

    def frame_places(self, wanted: set[str], chunk: tuple[int, ...], dtype: str, bands: int) -> dict[str, list[int]]:
        """Return where the chunks of frames stand, by the frame's checksum.

        Parameters
        ----------
        wanted : set of str
            Checksums of the frames to look for.
        chunk, dtype, bands
            The shape of a chunk, its samples, and how many of them make a frame; they stand in order in the file.
        """
        methods = {method_of(checksum) for checksum in wanted}
        places: dict[str, list[int]] = {}
        recent: deque[tuple[int, NDArray[Any]]] = deque(maxlen=bands)
        for start in self._chunks(chunk, dtype):
            band = self._unpacked(start, chunk, dtype)
            if band is None:
                continue
            recent.append((start, band))
            if len(recent) == bands:
                frame = np.concatenate([part for _, part in recent])
                for checksum in {checksum_by(method, frame) for method in methods} & wanted:
                    places[str(checksum)] = [place for place, _ in recent]
        return places

    def frame(self, places: list[int], chunk: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return the frame whose chunks `frame_places` found."""
        bands = [self._unpacked(start, chunk, dtype) for start in places]
        return np.concatenate([band for band in bands if band is not None])

    def _found(self, pattern: bytes) -> Iterator[int]:
        start = self._bytes.find(pattern)
        while start >= 0:
            yield start
            start = self._bytes.find(pattern, start + 1)

    def _chunks(self, chunk: tuple[int, ...], dtype: str) -> Iterator[int]:
        """Yield where a Blosc header of such a chunk stands."""
        sample_bytes = np.dtype(dtype).itemsize
        chunk_bytes = int(np.prod(chunk)) * sample_bytes
        for place in self._found(struct.pack("<I", chunk_bytes)):
            start = place - 4
            if start < 0 or start + _BLOSC_HEADER.size > len(self._bytes):
                continue
            version, _, _, sample, _, block_bytes, packed_bytes = _BLOSC_HEADER.unpack_from(self._bytes, start)
            if (
                version in (1, 2) and sample == sample_bytes and 0 < block_bytes <= chunk_bytes
                and _BLOSC_HEADER.size < packed_bytes <= min(
                    chunk_bytes + _BLOSC_HEADER.size, len(self._bytes) - start
                )
            ):
                yield start

    def _unpacked(self, start: int, chunk: tuple[int, ...], dtype: str) -> NDArray[Any] | None:
        from numcodecs import blosc

        packed_bytes = _BLOSC_HEADER.unpack_from(self._bytes, start)[-1]
        try:
            data = blosc.decompress(self._bytes[start:start + packed_bytes])
        except (RuntimeError, ValueError):
            return None
        return np.frombuffer(data, dtype).reshape(chunk[1:])
