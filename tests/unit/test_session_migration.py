"""A session of an earlier version is read as it is, and brought up to date when it is gone on with."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from old_sessions import write_old
from session_samples import FOCUS, capture, header, tile

from mobilescope.core.errors import InputFileError, OutputError, UserError
from mobilescope.core.protocols import TileKey
from mobilescope.data.migration import backup_path
from mobilescope.data.schema import SCHEMA_VERSION
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(params=[1, 2, 3])
def old(request, tmp_path):
    return write_old(tmp_path / "run.h5", request.param)


def resume(path, **changes):
    return SessionWriter.create_or_resume(path, header(**changes), margin_bytes=0)


def check_contents(path, tiles=5, shape=(64, 80)):
    with Session.open(path) as session:
        assert session.verify() == []
        records = session.tiles("lung-1")
        assert [record.index for record in records] == list(range(tiles))
        for record in records:
            np.testing.assert_array_equal(session.tile_pixels(record), tile(record.index, shape).pixels)
            assert (record.channel, record.plane, record.attempt, record.mark) == ("", 0, 0, "")
            assert (record.time_s, record.focus) == (1.7e9 + record.index, FOCUS)
        for record in session.captures("lung-2"):
            np.testing.assert_array_equal(session.bayer(record), capture(record.index).bayer)
            assert session.jpeg(record) == capture(record.index).jpeg
        assert session.flat_field("phone").mean() == 500.5
        return session.schema_version, session.digest()


def test_an_old_session_is_read_and_not_touched(old):
    before = old.read_bytes()
    check_contents(old)
    assert old.read_bytes() == before


def test_going_on_with_an_old_session_brings_it_up_to_date_and_keeps_the_old_one(old):
    before, (version, digest) = old.read_bytes(), check_contents(old)
    with resume(old) as session:
        assert session.has_tile(TileKey("lung-1", 0, 4))
        assert not session.has_tile(TileKey("lung-1", 0, 5))
    assert check_contents(old) == (SCHEMA_VERSION, digest)
    assert backup_path(old, version).name == f"run.v{version}.h5"
    assert backup_path(old, version).read_bytes() == before
    with resume(old) as session:
        session.add_benchtop_tile(TileKey("lung-1", 0, 5), 5, tile(5), FOCUS, mark="blank")
        session.add_phone_capture("lung-2", 5, 0, 5, capture(5))
    with Session.open(old) as session:
        assert session.verify() == []
        assert session.tiles("lung-1")[5].mark == "blank"
        assert f"version {version} to {SCHEMA_VERSION}" in session.events()[1].text
        assert len(session.events()) == 2
    assert sorted(file.name for file in old.parent.iterdir()) == ["run.h5", f"run.v{version}.h5"]


def test_bringing_up_to_date_says_how_far_it_is(old):
    seen = []
    with SessionWriter.create_or_resume(old, header(), margin_bytes=0, on_progress=seen.append):
        pass
    assert [(told.done, told.total) for told in seen] == [(done, 11) for done in range(1, 12)]


def test_another_plan_changes_nothing(old):
    before = old.read_bytes()
    with pytest.raises(UserError, match="begun differently"):
        resume(old, phone=(48, 64))
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


def test_a_damaged_old_session_is_not_brought_up_to_date(old):
    with h5py.File(old, "r") as file:
        place = file["benchtop/frames"].id.get_chunk_info(2).byte_offset
    with old.open("r+b") as file:
        file.seek(place + 200)
        file.write(b"damage")
    before = old.read_bytes()
    with pytest.raises(InputFileError, match=r"frame 2 .*mobilescope repair"):
        resume(old)
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


def test_a_strange_file_under_the_backups_name_is_left_alone(old):
    with Session.open(old) as session:
        backup = backup_path(old, session.schema_version)
    backup.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        resume(old)
    assert backup.read_text() == "mine"
    check_contents(old)


def test_where_there_are_no_hard_links_the_old_session_is_copied(old, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    before = old.read_bytes()
    monkeypatch.setattr(os, "link", refuse)
    with resume(old):
        pass
    check_contents(old)
    (backup,) = set(old.parent.iterdir()) - {old}
    assert backup.read_bytes() == before


def migrate_here(path: Path) -> None:
    print("ready", flush=True)
    with SessionWriter.create_or_resume(path, header(benchtop=(256, 256)), margin_bytes=0):
        print("done", flush=True)


def run_migration(path: Path, kill_after_s: float | None = None) -> float:
    """Migrate in a process of its own, killed so long after its start if at all; return the seconds it took."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, __file__, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    if kill_after_s is None:
        assert process.stdout.readline() == "done\n"
    else:
        time.sleep(kill_after_s)
        process.kill()
    whole_s = time.monotonic() - begun
    process.communicate()
    return whole_s


def test_kills_at_any_instant_of_a_migration_lose_nothing(tmp_path):
    tiles, shape = 30, (256, 256)
    path = write_old(tmp_path / "run.h5", 1, tiles=tiles, shape=shape)
    before, generator, backup = path.read_bytes(), random.Random(5), backup_path(path, 1)
    whole_s = run_migration(path)
    for _ in range(10):
        if check_contents(path, tiles, shape)[0] == SCHEMA_VERSION:
            assert backup.read_bytes() == before
            backup.replace(path)  # begin again
        run_migration(path, generator.uniform(0, whole_s))
    with resume(path, benchtop=shape):
        pass
    assert check_contents(path, tiles, shape)[0] == SCHEMA_VERSION
    assert backup.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"run.h5", "run.v1.h5"}


if __name__ == "__main__":
    migrate_here(Path(sys.argv[1]))
