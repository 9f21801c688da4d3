"""A scan that is killed at any instant leaves a file that opens, loses one tile at most, and is gone on with."""

from __future__ import annotations

import numpy as np
from scan_kills import finish, kill_and_go_on, mosaic_places


def test_ten_kills_lose_nothing_that_was_stored_and_move_no_tile_of_the_mosaic(tmp_path):
    assert kill_and_go_on(tmp_path, 10, seed=4, whole_s=0.4) >= 1
    undisturbed = tmp_path / "undisturbed.h5"
    finish(undisturbed)
    expected, got = mosaic_places(undisturbed), mosaic_places(tmp_path / "scan-0.h5")
    assert len(expected) == 30
    assert got.keys() == expected.keys()
    # The camera's noise differs from run to run.
    np.testing.assert_allclose([got[tile] for tile in expected], list(expected.values()), atol=0.25)
