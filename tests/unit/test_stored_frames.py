"""Frames written past HDF5's filters are what HDF5 reads, whatever their size and however they are compressed."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import hdf5plugin
import numpy as np
import pytest
from session_samples import FOCUS, header, tile

from mobilescope.core.errors import SessionError
from mobilescope.core.protocols import TileKey
from mobilescope.data.checksums import fast_checksum, matches, sha256_of
from mobilescope.data.frames import FrameStack, chunk_shape
from mobilescope.data.schema import CODEC
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter


def pictures(shape, dtype):
    """Return a smooth picture, which compresses, and noise, which does not."""
    ramp = np.linspace(0, 200, int(np.prod(shape))).reshape(shape).astype(dtype)
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    return [ramp, noise]


@pytest.mark.parametrize("filters", [
    {}, CODEC, dict(hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.SHUFFLE)),
    dict(hdf5plugin.LZ4()), {"compression": "gzip", "shuffle": True},
], ids=["none", "session's", "blosc zstd", "not blosc", "two filters"])
@pytest.mark.parametrize(("shape", "dtype"), [
    ((1024, 1024, 3), "u1"), ((1000, 1010), "<u2"), ((1013, 1031, 3), "u1"), ((8, 9, 3), "<f4"),
])
def test_frames_come_back_through_hdf5_alone(tmp_path, shape, dtype, filters):
    given = pictures(shape, dtype)
    with h5py.File(tmp_path / "f.h5", "w") as file, ThreadPoolExecutor(3) as pool:
        dataset = file.create_dataset(
            "frames", (0, *shape), dtype, maxshape=(None, *shape), chunks=chunk_shape(shape, dtype), **filters
        )
        stack = FrameStack(dataset, pool)
        for index in (0, 1, 0):  # a frame that was never committed is overwritten by one of another length
            stack.write(index, given[index])
        stack.write(0, given[1])
        stack.write(2, given[0])
    with h5py.File(tmp_path / "f.h5", "r") as file:
        np.testing.assert_array_equal(file["frames"][:], np.stack([given[1], given[1], given[0]]))


def test_large_frames_are_split_in_whole_rows():
    assert chunk_shape((2048, 2048, 3), "u1") == (1, 256, 2048, 3)
    assert chunk_shape((3000, 4000), "<u2") == (1, 375, 4000)
    assert chunk_shape((1031, 4000, 3), "u1") == (1, 1031, 4000, 3)  # a prime number of rows
    assert chunk_shape((64, 80, 3), "u1") == (1, 64, 80, 3)


def test_without_the_encoder_hdf5_compresses(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with SessionWriter.create_or_resume(tmp_path / "run.h5", header(), margin_bytes=0) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
    with Session.open(tmp_path / "run.h5") as session:
        assert session.verify() == []
        np.testing.assert_array_equal(session.tile_pixels(session.tiles("lung-1")[0]), tile(0).pixels)


def test_checksums_find_one_bit_and_name_their_method():
    frame = tile(0).pixels
    assert fast_checksum(np.frombuffer(b"123456789", np.uint8)) == "crc32c:e3069283"  # CRC-32C's check value
    for checksum in (fast_checksum(frame), sha256_of(frame)):
        assert matches(frame, checksum)
        other = frame.copy()
        other[30, 40, 1] ^= 1
        assert not matches(other, checksum)
    assert not matches(frame, "md4:00")
    assert not matches(frame, "")


def test_without_the_fast_method_tiles_carry_sha_256(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with SessionWriter.create_or_resume(tmp_path / "run.h5", header(), margin_bytes=0) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 0), 0, tile(0), FOCUS)
    with Session.open(tmp_path / "run.h5") as session:
        assert session.tiles("lung-1")[0].checksum.startswith("sha256:")
        assert session.verify() == []


def test_a_disk_that_fails_behind_the_writers_back_is_told(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mobilescope.data.syncing._INTERVAL_BYTES", 1)
    session = SessionWriter.create_or_resume(tmp_path / "run.h5", header(), margin_bytes=0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(SessionError, match="Input/output error"):  # noqa: PT012 - told at one of the next tiles
            for index in range(1000):
                session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index), FOCUS)
    with pytest.raises(SessionError, match="an earlier write"):
        session.add_event("info", "no more")
    with pytest.raises(Exception, match="Input/output error"):
        session.close()
    with SessionWriter.create_or_resume(tmp_path / "run.h5", header(), margin_bytes=0) as session:
        assert session.has_tile(TileKey("lung-1", 0, 0))
