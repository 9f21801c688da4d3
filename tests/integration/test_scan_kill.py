"""A scan that is killed at any instant leaves a file that opens, loses one tile at most, and is gone on with."""

from __future__ import annotations

from scan_kills import kill_and_go_on


def test_ten_kills_lose_nothing_that_was_stored(tmp_path):
    assert kill_and_go_on(tmp_path, 10, seed=4, whole_s=0.4) >= 1
