"""Pictures of a live run on the disk: whole pairs, counted once, and an end of the recording that is told once."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from mobilescope.app.enhancement.live_recording import LiveRecorder, Recording
from mobilescope.core.errors import DiskSpaceError
from mobilescope.core.protocols import Frame
from mobilescope.core.whole_files import own_temporary
from mobilescope.enhance.live_values import Enhanced, LivePicture, Region
from mobilescope.enhance.provenance import ModelIdentity, record_provenance
from mobilescope.enhance.trust import TrustReport


def describe(_picture):
    report = TrustReport("caution", ("a test",), {})
    return record_provenance(ModelIdentity("ab" * 32, "ef" * 32), "cd" * 32, {}, report)


def picture(index, side=8):
    pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
    enhanced = Enhanced(np.repeat(pixels, 2, axis=0), Region.whole(pixels.shape), "full")
    return LivePicture(Frame(pixels, index, time.monotonic(), None), enhanced)


def test_a_pair_that_is_saved_again_counts_once(tmp_path):
    recorder = LiveRecorder(tmp_path, describe)
    assert recorder(picture(3)) == recorder(picture(3))
    recorder(picture(4))
    assert recorder.count == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_two_runs_that_began_in_one_second_do_not_mix_their_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _format: "20261130-120000")
    mine = LiveRecorder(tmp_path, describe)(picture(0))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert LiveRecorder(tmp_path, describe)(picture(0)) != mine
    assert len(list(tmp_path.iterdir())) == 4


def test_half_a_picture_of_a_killed_run_goes_and_one_that_another_run_is_writing_stays(tmp_path):
    (tmp_path / ".20261130-120000-77-000003-enhanced.png.part").write_bytes(b"half")
    with own_temporary(tmp_path / "20261130-120001-78-000000-input.png") as written:
        LiveRecorder(tmp_path, describe)
        assert list(tmp_path.iterdir()) == [written.path]


def test_of_a_pair_that_does_not_fit_nothing_stays(small_disk):
    recorder = LiveRecorder(small_disk, describe)
    recorder(picture(0))
    before = sorted(small_disk.iterdir())
    with pytest.raises(DiskSpaceError):
        recorder(picture(1, side=700))  # 1.5 MB, and 3 MB
    assert sorted(small_disk.iterdir()) == before
    assert recorder.count == 1


def test_a_recording_that_has_stopped_says_so_once_and_takes_no_more(tmp_path):
    folder, told = tmp_path / "kept", []
    folder.mkdir()
    recording = Recording(LiveRecorder(folder, describe), told.append)
    recording(picture(0))
    assert (recording.stopped, told) == ("", [])
    folder.rename(tmp_path / "moved")
    for index in (1, 2):
        recording(picture(index))
    assert told == [recording.stopped]
    assert "was removed, or its disk was" in recording.stopped
    assert not folder.exists()
    assert len(list((tmp_path / "moved").iterdir())) == 2
