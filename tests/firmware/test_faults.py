"""One byte in a hundred lost or changed, both ways: no wrong light is taken for right, and nothing locks up."""

from __future__ import annotations

import pytest
from firmware.fault_run import run_faults
from firmware.ring_benches import firmware_of

from mobilescope.core.ring_protocol import BOARDS


@pytest.mark.parametrize(("board", "commands"), [(BOARDS[0], 2000), (BOARDS[1], 200)], ids=["uno", "trinket"])
def test_mixed_commands_over_a_noisy_line(board, commands):
    report = run_faults(board, firmware_of(board), commands)
    assert report.wrong == []
    assert report.commands == commands
    assert set(report.errors) <= {"LinkError"}
    assert sum(report.errors.values()) <= commands // 100
    # The line was as bad as it should be.
    assert report.retries > commands // 5
