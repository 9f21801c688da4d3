"""Files that are damaged, cut short, foreign, newer or not there are named as what they are."""

from __future__ import annotations

import os

import h5py
import pytest
from session_samples import FOCUS, tile, writer

from mobilescope.core.errors import ForeignFileError, InputFileError, NewerVersionError, OutputError
from mobilescope.core.protocols import TileKey
from mobilescope.data.session import Session


def test_verify_finds_damaged_pixels_and_rows(path):
    with writer(path, compress=False) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index), FOCUS)
    with h5py.File(path, "r") as file:
        frame = file["benchtop/frames"].id.get_chunk_info(1).byte_offset
        row = file["benchtop/rows"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(frame + 100)
        file.write(b"damage")
        file.seek(row + 70)
        file.write(b"\xff\xff")
    with Session.open(path) as session:
        assert len(session.verify()) == 2
        assert any("frame 1 (slide lung-1, index 1)" in problem for problem in session.verify())
        assert any("row 0" in problem for problem in session.verify())


@pytest.mark.parametrize("contents", [b"", b"not HDF5 at all" * 100, b"\x89HDF\r\n\x1a\n\x03"])
def test_foreign_and_stub_files_are_refused_by_name(path, contents):
    path.write_bytes(contents)
    for opening in (Session.open, writer):
        with pytest.raises(InputFileError, match=r"run\.h5"):
            opening(path)
    assert path.read_bytes() == contents


def test_foreign_hdf5_is_refused(path):
    for version in ("earliest", "latest"):
        with h5py.File(path, "w", libver=version) as file:
            file["data"] = 1
        for opening in (Session.open, writer):
            with pytest.raises(ForeignFileError, match="mobilescope did not write it"):
                opening(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_files_are_refused(filled, kept):
    os.truncate(filled, int(filled.stat().st_size * kept))
    for opening in (Session.open, writer):
        with pytest.raises(InputFileError, match="truncated") as refused:
            opening(filled)
        assert not isinstance(refused.value, ForeignFileError)  # it is ours


def test_missing_files_and_folders_are_named(path, tmp_path):
    with pytest.raises(InputFileError, match="there is no file"):
        Session.open(path)
    with pytest.raises(InputFileError, match="is a folder"):
        Session.open(tmp_path)
    with pytest.raises(OutputError, match="nowhere"):
        writer(tmp_path / "nowhere" / "run.h5")


def test_a_newer_schema_is_refused(filled):
    with h5py.File(filled, "r+") as file:
        file.attrs["schema_version"] = 99
    for opening in (Session.open, writer):
        with pytest.raises(NewerVersionError, match="version 99"):
            opening(filled)


def test_a_damaged_directory_is_an_error_and_no_endless_wait(filled):
    with h5py.File(filled, "r") as file:
        place = h5py.h5o.get_info(file["phone"].id).addr
    with filled.open("r+b") as file:
        file.seek(place + 20)
        file.write(b"\x5a" * 8)
    with Session.open(filled) as session, pytest.raises(InputFileError, match=r"run\.h5 is damaged: phone"):
        session.verify()
    with pytest.raises(InputFileError, match=r"run\.h5"):
        writer(filled)
