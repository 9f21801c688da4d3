"""A damaged session gives back what is whole, bit for bit, in a new file; the damaged one stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from damage import chunk_of, flip
from session_samples import FOCUS, capture, header, tile

from mobilescope.app.cli import main
from mobilescope.core.errors import InputFileError, NewerVersionError, OutputError, SessionLockedError
from mobilescope.core.protocols import TileKey
from mobilescope.data.lock import lock_path
from mobilescope.data.repair import repair, repaired_path
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

SHAPE = (96, 128)
TILES = 24


def write(path, *, compress=True, after=None):
    with SessionWriter.create_or_resume(path, header(benchtop=SHAPE), margin_bytes=0, compress=compress) as session:
        session.add_flat_field("benchtop", np.full((*SHAPE, 3), 230, np.uint8))
        for index in range(TILES):
            key = TileKey("lung-1", 0, index)
            session.add_benchtop_tile(key, index, tile(index, SHAPE), FOCUS, mark="saturated" if index == 3 else "")
            session.add_phone_capture("lung-2", index, 0, index, capture(index))
        session.add_benchtop_tile(TileKey("lung-1", 0, 3), 3, tile(99, SHAPE), FOCUS, attempt=1)
        session.add_event("info", "all taken")
        if after is not None:
            after()
    return path


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def whole(request, tmp_path):
    return write(tmp_path / "run.h5", compress=request.param)


def recovered(path):
    """Check that a repaired session is whole and holds nothing but what was stored; return the columns of its tiles."""
    with Session.open(path) as session:
        assert session.verify() == []
        for record in session.tiles("lung-1"):
            seed = 99 if record.attempt else record.column
            np.testing.assert_array_equal(session.tile_pixels(record), tile(seed, SHAPE).pixels)
            assert (record.time_s, record.position) == (1.7e9 + seed, tile(seed, SHAPE).position)
        for record in session.captures("lung-2"):
            np.testing.assert_array_equal(session.bayer(record), capture(record.index).bayer)
            assert session.jpeg(record) in (b"", capture(record.index).jpeg)
        return sorted(record.column for record in session.tiles("lung-1"))


def test_a_whole_session_is_left_alone(whole):
    report = repair(whole)
    assert (report.out, report.lost, report.notes) == ("", [], [])
    assert report.kept == {"tiles": TILES, "captures": TILES, "flat_fields": 1, "events": 1}
    assert not repaired_path(whole).exists()


def test_a_flipped_byte_in_a_tile_costs_that_tile(whole):
    flip(whole, chunk_of(whole, "benchtop/frames", 5).byte_offset + 300)
    before = whole.read_bytes()
    report = repair(whole)
    assert report.kept == {"tiles": TILES, "captures": TILES, "flat_fields": 1, "events": 1}  # 25 attempts, one lost
    (line,) = report.lost
    assert "tile row 0, column 5 of slide lung-1" in line
    assert recovered(repaired_path(whole)) == [column for column in range(TILES) if column != 5]
    assert whole.read_bytes() == before
    with Session.open(repaired_path(whole)) as session:
        assert "repaired from run.h5" in session.events()[-1].text


def test_an_earlier_attempt_stands_where_the_last_is_lost(whole):
    flip(whole, chunk_of(whole, "benchtop/frames", TILES).byte_offset + 300)
    repair(whole)
    with Session.open(repaired_path(whole)) as session:
        kept = {record.column: record for record in session.tiles("lung-1")}
        assert (kept[3].attempt, kept[3].mark) == (0, "saturated")


def test_flipped_bytes_in_a_record_cost_its_image(whole):
    start = chunk_of(whole, "benchtop/rows", 0).byte_offset
    with h5py.File(whole, "r") as file:
        size = file["benchtop/rows"].dtype.itemsize
    flip(whole, start + 2 * size + 70)
    flip(whole, start + 3 * size + 70)
    report = repair(whole)
    assert report.lost == ["tiles: records 2 to 3 and what belongs to them"]
    assert recovered(repaired_path(whole)) == [column for column in range(TILES) if column != 2]


def test_a_damaged_jpeg_leaves_the_raw_frame(whole):
    flip(whole, chunk_of(whole, "phone/jpeg", 0).byte_offset + 100)
    report = repair(whole)
    assert report.lost == ["capture number 0 of slide lung-2: its JPEG; the raw frame was kept"]
    assert report.kept["captures"] == TILES
    with Session.open(repaired_path(whole)) as session:
        assert session.verify() == []
        jpegs = [session.jpeg(record) for record in session.captures("lung-2")]
        assert jpegs == [b"", *(capture(index).jpeg for index in range(1, TILES))]
        np.testing.assert_array_equal(session.bayer(session.captures("lung-2")[0]), capture(0).bayer)


@pytest.mark.parametrize("share", [0.98, 0.8, 0.5])
def test_a_truncated_session_gives_back_what_was_left(whole, share):
    os.truncate(whole, int(whole.stat().st_size * share))
    with pytest.raises(InputFileError, match="truncated"):
        Session.open(whole)
    report = repair(whole)
    columns = recovered(repaired_path(whole))
    assert TILES * (share - 0.35) < len(columns) < TILES + (share > 0.9)
    assert report.kept["tiles"] >= len(columns)
    assert (report.lost != []) == (len(columns) < TILES or share > 0.9)


def test_a_session_cut_while_its_writer_was_at_work_is_repaired(tmp_path):
    path, left = tmp_path / "run.h5", tmp_path / "left.h5"
    write(path, after=lambda: shutil.copy(path, left))
    os.truncate(left, left.stat().st_size - 1_200_000)
    assert repair(left).lost
    assert recovered(repaired_path(left))


def test_a_superblock_in_ruins_loses_nothing(whole):
    flip(whole, 0, 48)
    repair(whole)
    assert recovered(repaired_path(whole)) == list(range(TILES))


@pytest.mark.parametrize("part", ["/", "header", "benchtop", "benchtop/frames", "benchtop/rows", "phone"])
def test_ruined_directories_lose_no_compressed_image(tmp_path, part):
    path = write(tmp_path / "run.h5")
    with h5py.File(path, "r") as file:
        place = h5py.h5o.get_info(file[part].id).addr
    flip(path, place + 5, 24)
    report = repair(path)
    assert recovered(repaired_path(path)) == list(range(TILES))
    assert (report.kept["tiles"], report.kept["captures"]) == (TILES + 1, TILES)
    with Session.open(repaired_path(path)) as session:
        assert {record.column: record.attempt for record in session.tiles("lung-1")}[3] == 1


def test_a_ruined_index_of_frames_loses_no_compressed_image(tmp_path):
    path = write(tmp_path / "run.h5")
    data = path.read_bytes()
    for sign in (b"EAHD", b"EAIB", b"EADB"):  # HDF5's extensible arrays, which say where chunks are
        for place in [place for place in range(len(data)) if data[place:place + 4] == sign]:
            flip(path, place + 8)
    repair(path)
    assert recovered(repaired_path(path)) == list(range(TILES))


def test_large_frames_in_several_chunks_are_found_too(tmp_path):
    path, shape = tmp_path / "run.h5", (1024, 1024)
    with SessionWriter.create_or_resume(path, header(benchtop=shape), margin_bytes=0) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", 0, index), index, tile(index, shape), FOCUS)
    with h5py.File(path, "r") as file:
        assert file["benchtop/frames"].chunks[1] < 1024
        places = [h5py.h5o.get_info(file[name].id).addr for name in ("benchtop/frames", "benchtop/rows")]
        frame = file["benchtop/frames"].id.get_chunk_info(4).byte_offset
    for place in [*(place + 5 for place in places), frame + 5000]:
        flip(path, place)
    report = repair(path)
    assert len(report.lost) == 1
    with Session.open(repaired_path(path)) as session:
        for record in session.tiles("lung-1"):
            np.testing.assert_array_equal(session.tile_pixels(record), tile(record.column, shape).pixels)
        assert [record.column for record in session.tiles("lung-1")] == [0, 1]


@pytest.mark.parametrize("name", ["header", "header_copy"])
def test_a_damaged_header_is_found_out_and_its_copy_stands(whole, name):
    flip(whole, whole.read_bytes().index(b'"role":"training"', 0 if name == "header" else start_of_copy(whole)) + 9)
    with Session.open(whole) as session:
        assert session.header.slides == header().slides
        assert session.verify() == [f"{name}: does not match its checksum"]
    assert repair(whole).lost == []
    assert recovered(repaired_path(whole)) == list(range(TILES))


def start_of_copy(path):
    data = path.read_bytes()
    return data.index(b'"slides"', data.index(b'"slides"') + 1)


def test_a_repaired_session_is_gone_on_with(whole):
    flip(whole, chunk_of(whole, "benchtop/frames", 5).byte_offset + 300)
    out = repaired_path(whole)
    repair(whole)
    with SessionWriter.create_or_resume(out, header(benchtop=SHAPE), margin_bytes=0) as session:
        assert not session.has_tile(TileKey("lung-1", 0, 5))
        session.add_benchtop_tile(TileKey("lung-1", 0, 5), 5, tile(5, SHAPE), FOCUS)
    assert recovered(out) == list(range(TILES))


def test_nothing_is_overwritten(whole):
    flip(whole, chunk_of(whole, "benchtop/frames", 5).byte_offset + 300)
    repaired_path(whole).write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        repair(whole)
    assert repaired_path(whole).read_text() == "mine"
    with pytest.raises(OutputError, match="exists already"):
        repair(whole, whole)


def test_a_session_that_is_being_written_is_not_touched(tmp_path):
    path = tmp_path / "run.h5"
    with SessionWriter.create_or_resume(path, header(), margin_bytes=0), pytest.raises(SessionLockedError):
        repair(path)


def test_a_lock_file_of_a_dead_writer_is_told(whole):
    lock_path(whole).write_text("1\n")
    (note,) = repair(whole).notes
    assert "locks nothing" in note


@pytest.mark.parametrize("contents", [b"", b"\x89HDF\r\n\x1a\n", None], ids=["empty", "stub", "random"])
def test_what_is_no_session_is_refused(tmp_path, contents):
    path = tmp_path / "run.h5"
    path.write_bytes(np.random.default_rng(1).bytes(300_000) if contents is None else contents)
    with pytest.raises(InputFileError, match=r"run\.h5"):
        repair(path)
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_and_newer_ones_are_refused(whole, tmp_path):
    with pytest.raises(InputFileError, match="no file"):
        repair(tmp_path / "missing.h5")
    with h5py.File(whole, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(NewerVersionError):
        repair(whole)


def run(monkeypatch, capsys, *arguments):
    """Run a command; return its exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["mobilescope", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, " ".join(said.err.split())


def test_the_command_says_what_was_kept_and_lost(whole, tmp_path, monkeypatch, capsys):
    status, out, said = run(monkeypatch, capsys, "repair", whole, "--json")
    assert (status or 0, json.loads(out)["out"]) == (0, "")
    assert "whole" in said
    flip(whole, chunk_of(whole, "benchtop/frames", 5).byte_offset + 300)
    status, _, said = run(monkeypatch, capsys, "inspect", whole)
    assert status == 1
    assert f"mobilescope repair {whole}" in said
    target = tmp_path / "saved.h5"
    status, out, said = run(monkeypatch, capsys, "repair", whole, "--out", target, "--json")
    assert status == 1
    facts = json.loads(out)
    assert (facts["out"], facts["kept"]["tiles"], len(facts["lost"])) == (str(target), TILES, 1)
    assert "lost: tile row 0, column 5 of slide lung-1" in said
    assert (run(monkeypatch, capsys, "inspect", target)[0] or 0) == 0
    status, _, said = run(monkeypatch, capsys, "repair", whole, "--out", target)
    assert (status, "exists already" in said) == (2, True)


@pytest.mark.parametrize("command", ["inspect", "stitch", "register"])
def test_commands_point_to_repair_for_a_truncated_session(whole, monkeypatch, capsys, command):
    os.truncate(whole, int(whole.stat().st_size * 0.7))
    status, _, said = run(monkeypatch, capsys, command, whole)
    assert status == 2
    assert "truncated" in said
    assert f"mobilescope repair {whole}" in said


def test_what_is_no_session_is_told_from_one_that_is_lost(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no session")
    with pytest.raises(InputFileError, match="is no session"):
        repair(text)
    with pytest.raises(InputFileError, match="is a folder"):
        repair(tmp_path)


def test_a_repair_tells_how_far_it_is(whole):
    flip(whole, chunk_of(whole, "benchtop/frames", 5).byte_offset + 40)
    told = []
    repair(whole, on_progress=told.append)
    tiles = [progress for progress in told if progress.stage == "repair tiles"]
    assert [progress.done for progress in tiles] == list(range(1, tiles[0].total + 1))


@pytest.mark.parametrize("lost", ["frame", "jpeg"])
def test_of_a_capture_without_raw_the_jpeg_is_what_counts(tmp_path, lost):
    path = tmp_path / "run.h5"
    done, data = cv2.imencode(".jpg", np.full((48, 60, 3), 90, np.uint8))
    assert done
    with SessionWriter.create_or_resume(path, header(), margin_bytes=0, compress=False) as session:
        for index in range(2):
            given = replace(capture(index), bayer=None, cfa="", jpeg=data.tobytes() + bytes(index))
            session.add_phone_capture("lung-2", index, 0, index, given)
    with h5py.File(path, "r") as file:
        place = file["phone/jpeg" if lost == "jpeg" else "phone/frames"].id.get_chunk_info(0).byte_offset
    flip(path, place + 30)
    report = repair(path)
    with Session.open(repaired_path(path)) as session:
        kept = session.captures("lung-2")
        assert session.verify() == []
        assert [record.index for record in kept] == ([0, 1] if lost == "frame" else [1])
        assert all(session.jpeg(record).startswith(data.tobytes()) for record in kept)
    assert len(report.lost) == (lost == "jpeg")
