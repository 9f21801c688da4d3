"""Five kills at random instants of a paired session: no half pair, nothing accepted is lost, the same call goes on."""

from __future__ import annotations

from pair_kills import kill_and_go_on


def test_five_kills_leave_whole_pairs_only(tmp_path):
    finished, _ = kill_and_go_on(tmp_path, 5, seed=3, rows=1, columns=2)
    assert finished >= 1
