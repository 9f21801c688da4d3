"""Whoever writes a file at the same time as another, or is killed at it: what stands under the final name is whole."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import torch
import zarr
from small_models import save_small_model

from mobilescope.app.mosaics.ome_zarr import write_ome_zarr
from mobilescope.app.mosaics.pyramids import write_pyramid
from mobilescope.app.pictures.images import read_rgb
from mobilescope.core.errors import DiskSpaceError, OutputError
from mobilescope.core.whole_files import folder_replaced_when_written, replaced_when_written
from mobilescope.data.files import replaced_when_whole
from mobilescope.imaging.bands import Piece
from mobilescope.learn.checkpoint import load_model

SHAPE = (600, 500, 3)
# Writes half, says so, and the rest when it is told to.
OTHER_PROGRAM = """
import sys
from pathlib import Path
from mobilescope.core.whole_files import replaced_when_written
with replaced_when_written(Path(sys.argv[1])) as temporary, temporary.open("w") as file:
    file.write("oth")
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
    file.write("er")
"""


@contextmanager
def plain(path, text):
    """Write a text in two halves, the block between them."""
    with replaced_when_written(path) as temporary, temporary.open("w") as file:
        file.write(text[:1])
        file.flush()
        yield
        file.write(text[1:])


@contextmanager
def hdf5(path, text):
    with replaced_when_whole(path, "a test", 1) as new:
        new.file["begin"] = text[:1]
        yield
        new.file["end"] = text[1:]


@contextmanager
def in_folder(path, text):
    with folder_replaced_when_written(path) as temporary:
        (temporary / "begin").write_text(text[:1])
        yield
        (temporary / "end").write_text(text[1:])


def content(path):
    """Return the text that one of the above wrote."""
    if path.is_dir():
        return (path / "begin").read_text() + (path / "end").read_text()
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            return (file["begin"][()] + file["end"][()]).decode()
    return path.read_text()


@pytest.mark.parametrize("writing", [plain, hdf5, in_folder])
def test_of_two_writers_at_once_the_last_ones_file_stays(tmp_path, writing):
    path = tmp_path / "out"
    with writing(path, "first"):
        with writing(path, "second"):
            assert not path.exists()
        assert content(path) == "second"
    assert content(path) == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writing", [plain, hdf5, in_folder])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("broken")])
def test_a_writer_that_fails_or_is_stopped_takes_nothing_from_another(tmp_path, writing, failure):
    path = tmp_path / "out"
    with writing(path, "earlier"):
        pass
    with writing(path, "first"):
        with pytest.raises((DiskSpaceError, OSError, KeyboardInterrupt, ValueError)), writing(path, "second"):
            raise failure
        assert content(path) == "earlier"
    assert content(path) == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_another_program_at_the_same_file_ends_well_or_leaves_nothing_that_stays(tmp_path, number):
    path = tmp_path / "out"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROGRAM, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "half\n"
        with plain(path, "first"):
            pass
        assert path.read_text() == "first"
        if number is not None:
            other.send_signal(number)
    if number is None:
        assert path.read_text() == "other"
    else:
        assert path.read_text() == "first"
        with plain(path, "again"):
            pass
        assert path.read_text() == "again"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writing", [plain, hdf5, in_folder])
def test_a_disk_without_locks_takes_files_too(tmp_path, monkeypatch, writing):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    for name in ("fcntl", "flock"):
        monkeypatch.setattr(fcntl, name, none)
    path = tmp_path / "out"
    with writing(path, "first"):
        with writing(path, "second"):
            pass
        assert content(path) == "second"
    assert content(path) == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_covers_no_byte_that_is_written(tmp_path):
    """On a Windows share it would keep the writer itself from its file, which it opens a second time."""
    path = tmp_path / "out"
    with replaced_when_written(path) as temporary, temporary.open("wb") as file:
        probe = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 2**61, 0)
        answer = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_OFD_GETLK, probe))
        assert answer[0] == fcntl.F_UNLCK
        whole = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        assert struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_OFD_GETLK, whole))[0] == fcntl.F_WRLCK


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"out can't be written \(No such file or directory\)"), \
            replaced_when_written(tmp_path / "none" / "out"):
        pass


def pyramid(path, bands):
    write_pyramid(path, bands, SHAPE, np.uint8, pixel_size_um=None, note="{}", summary="")


def ome_zarr(path, bands):
    write_ome_zarr(path, bands, SHAPE, np.uint8, pixel_size_um=None, name="a")


def pixels(path):
    if path.suffix == ".tif":
        return read_rgb(path)
    return np.moveaxis(zarr.open_group(path, mode="r")["0"][:], 0, 2)


def even(grey, between=lambda: None):
    """Yield the bands of an even picture; call ``between`` in the middle."""
    for row in (0, 200, 400):
        yield Piece(row, 0, np.full((200, *SHAPE[1:]), grey, np.uint8))
        if row == 200:
            between()


@pytest.mark.parametrize(("write", "name"), [(pyramid, "out.ome.tif"), (ome_zarr, "out.ome.zarr")])
def test_two_slides_written_to_one_name_at_once_are_each_whole(tmp_path, write, name):
    path = tmp_path / name

    def other():
        write(path, even(50))
        assert (pixels(path) == 50).all()

    write(path, even(200, other))
    assert (pixels(path) == 200).all()
    assert list(tmp_path.iterdir()) == [path]


def test_two_trainings_that_save_one_model_at_once_leave_it_whole(tmp_path, monkeypatch):
    path, save = tmp_path / "model.pt", torch.save

    def meanwhile(content, file):
        monkeypatch.setattr(torch, "save", save)
        save_small_model(path, seed=1)
        assert load_model(path)[0].config.first_width == 4
        save(content, file)

    monkeypatch.setattr(torch, "save", meanwhile)
    save_small_model(path, seed=2)
    load_model(path)
    assert list(tmp_path.iterdir()) == [path]
