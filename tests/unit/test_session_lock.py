"""One writer at a time; disks and folders that can't be written are refused with a reason and left as they are."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from session_samples import FOCUS, header, tile

from mobilescope.core.errors import OutputError, SessionLockedError
from mobilescope.core.protocols import TileKey
from mobilescope.data.lock import is_being_written, lock_path
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

TESTS = Path(__file__).resolve().parents[1]
NOBODY = 65534


def writer(path):
    return SessionWriter.create_or_resume(path, header(), margin_bytes=0)


def add(session, index):
    session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index), FOCUS)


@pytest.fixture
def filled():
    """A session in a folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "run.h5"
        with writer(path) as session:
            add(session, 0)
        yield path


@pytest.fixture
def unprivileged():
    """Be a user to whom file permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def hold(path: Path) -> None:
    with writer(path) as session:
        print("held", flush=True)
        sys.stdin.readline()
        add(session, 1)


def test_two_processes_cannot_write_one_session(filled):
    process = subprocess.Popen(
        [sys.executable, __file__, str(filled)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )
    try:
        assert process.stdout.readline() == "held\n"
        assert is_being_written(filled)
        with pytest.raises(SessionLockedError, match=f"process {process.pid}"):
            writer(filled)
        process.communicate("\n")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert not is_being_written(filled)
    with writer(filled) as session:  # the refused one disturbed nothing, and may go on now
        assert session.has_tile(TileKey("lung-1", 0, 1))
        add(session, 2)
    with Session.open(filled) as session:
        assert session.verify() == []


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_is_refused_for_writing_and_read(filled, number, monkeypatch):
    def refuse(_descriptor, _operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = filled.read_bytes()
    for path in (filled, filled.with_name("new.h5")):
        with pytest.raises(OutputError, match=r"no file locks.*copy the session afterwards"):
            writer(path)
    assert filled.read_bytes() == before
    assert list(filled.parent.iterdir()) == [filled]
    with Session.open(filled) as session:
        assert len(session.tiles("lung-1")) == 1
        assert session.summary()["state"] == "closed"


def test_a_read_only_folder_is_read_and_refused_for_writing(filled, request):
    filled.parent.chmod(0o555)
    request.getfixturevalue("unprivileged")
    with Session.open(filled) as session:
        assert session.verify() == []
    for path in (filled, filled.with_name("new.h5")):
        with pytest.raises(OutputError, match=r"can't be written \(Permission denied\)"):
            writer(path)
    assert list(filled.parent.iterdir()) == [filled]


def test_a_read_only_file_is_read_and_refused_for_writing(filled, request):
    before = filled.read_bytes()
    filled.chmod(0o444)
    filled.parent.chmod(0o777)
    request.getfixturevalue("unprivileged")
    with pytest.raises(OutputError, match=r"run\.h5 can't be written \(Permission denied\)"):
        writer(filled)
    with Session.open(filled) as session:
        np.testing.assert_array_equal(session.tile_pixels(session.tiles("lung-1")[0]), tile(0).pixels)
    assert filled.read_bytes() == before
    assert not lock_path(filled).exists()


def test_a_disk_mounted_read_only_is_refused_by_name(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")
    try:
        with writer(folder / "run.h5") as session:
            add(session, 0)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(OutputError, match=r"can't be written \(Read-only file system\)"):
            writer(folder / "run.h5")
        with Session.open(folder / "run.h5") as session:
            assert session.verify() == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


if __name__ == "__main__":
    hold(Path(sys.argv[1]))
