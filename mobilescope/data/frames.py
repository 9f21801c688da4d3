"""Frames to HDF5 chunks and past HDF5's filters: encoded by as many threads as there are cores, written as they are.

HDF5 compresses in one thread, copies once more, and lets nothing else run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

MIN_BAND_BYTES = 1024**2
MAX_BANDS = 8
_BLOSC_FILTER = 32001
_BLOSC_COMPRESSORS = (b"blosclz", b"lz4", b"lz4hc", b"snappy", b"zlib", b"zstd")

Encoder = Callable[[NDArray[Any]], Any]


def chunk_shape(shape: tuple[int, ...], dtype: str) -> tuple[int, ...]:
    """Return the chunks to store frames of a shape in: a few bands of whole rows, each of one MiB at least."""
    row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    bands = max(
        count for count in range(1, MAX_BANDS + 1)
        if shape[0] % count == 0 and (count == 1 or shape[0] // count * row_bytes >= MIN_BAND_BYTES)
    )
    return 1, shape[0] // bands, *shape[1:]


class FrameStack:
    """The dataset of a stack of frames, written one frame at a time."""

    def __init__(self, dataset: h5py.Dataset, pool: Executor) -> None:
        self._dataset = dataset
        self._pool = pool
        self._band_rows = int(dataset.chunks[1])
        self._encode = _encoder(dataset)

    @property
    def count(self) -> int:
        """How many frames there is a place for by now."""
        return int(self._dataset.shape[0])

    def write(self, index: int, frame: NDArray[Any]) -> None:
        """Store a contiguous frame of the stack's type and shape, and hand it to the system."""
        if self.count <= index:
            self._dataset.resize(index + 1, axis=0)
        rows = frame.shape[0]
        if self._encode is None or rows % self._band_rows:
            self._dataset[index] = frame
        else:
            starts = range(0, rows, self._band_rows)
            bands = [frame[start:start + self._band_rows] for start in starts]
            across = (0,) * (frame.ndim - 1)
            for start, data in zip(starts, self._encoded(self._encode, bands), strict=True):
                self._dataset.id.write_direct_chunk((index, start, *across), data)
        self._dataset.flush()

    def _encoded(self, encode: Encoder, bands: list[NDArray[Any]]) -> Any:
        return map(encode, bands) if encode is _as_is or len(bands) == 1 else self._pool.map(encode, bands)


def _as_is(band: NDArray[Any]) -> NDArray[Any]:
    return band


def _encoder(dataset: h5py.Dataset) -> Encoder | None:
    """Return what makes a chunk of a band as the dataset's filters would; None if only HDF5 itself can."""
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters() == 0:
        return _as_is
    code, _flags, values, _name = properties.get_filter(0)
    if properties.get_nfilters() > 1 or code != _BLOSC_FILTER or len(values) < 7:
        return None
    try:
        from numcodecs import blosc  # the very library that the filter calls
    except ImportError:
        return None
    level, shuffle, compressor = values[4:7]
    return partial(_blosc_chunk, blosc.compress, _BLOSC_COMPRESSORS[compressor], level, shuffle)


def _blosc_chunk(compress: Any, compressor: bytes, level: int, shuffle: int, band: NDArray[Any]) -> Any:
    return compress(band, compressor, level, shuffle)
